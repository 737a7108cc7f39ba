"""VGG, ResNet and ViT against the originals in torch, with random weights copied over: outputs and gradients of the input.

ResNet and ViT are those of transformers. VGG is written out below after torchvision's definition. torch is imported within
functions, so that the file can be collected where there is none.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.encoders.resnet import ResNet
from mmjax.encoders.vgg import VGG
from mmjax.encoders.vit import ViT
from mmjax.nn.conv import adaptive_mean_pool, max_pool
from mmjax.nn.norm import BatchNorm

pytestmark = pytest.mark.parity


def randomised(model, seed=0):
    """Every parameter and statistic of a torch model drawn anew, so that none is a zero or a one that hides a mistake."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith("running_var"):
                value.copy_(0.5 + noise.abs())
            elif value.ndim > 1:
                value.copy_(noise * (2 / value[0].numel()) ** 0.5)
            else:  # a weight of one dimension is a norm's scale
                value.copy_((1 if name.endswith("weight") else 0) + 0.2 * noise)
    return model.eval()


def weights(model):
    return {name: value.detach().numpy() for name, value in model.state_dict().items()}


def conv(w, name):
    """A torch convolution's kernel [o c h w] and bias as ours."""
    ours = {"kernel": w[f"{name}.weight"].transpose(2, 3, 1, 0)}
    return ours | ({"bias": w[f"{name}.bias"]} if f"{name}.bias" in w else {})


def dense(w, name):
    return {"kernel": w[f"{name}.weight"].T, "bias": w[f"{name}.bias"]}


def norm(w, name):
    return {"scale": w[f"{name}.weight"], "bias": w[f"{name}.bias"]}


def running(w, name):
    return {"mean": w[f"{name}.running_mean"], "var": w[f"{name}.running_var"]}


def assert_same(ours, theirs, what, tolerance=1e-4):
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape, what
    assert np.abs(theirs).max() > 1e-3, f"{what}: nothing to compare"
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max(), err_msg=what)


def assert_parity(module, variables, original, x):
    """original: torch [b c h w] -> [b n d]. The gradient is of a fixed random weighting of all outputs."""
    import torch

    shapes = jax.tree.map(jnp.shape, jax.eval_shape(module.init, jax.random.key(0), x))
    assert jax.tree.map(jnp.shape, variables) == shapes  # all of our parameters come from the original
    variables = jax.tree.map(jnp.asarray, variables)
    x = np.array(x)
    theirs_x = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).requires_grad_()
    theirs = original(theirs_x)
    weight = np.random.default_rng(1).normal(size=theirs.shape).astype(np.float32)
    (theirs * torch.from_numpy(weight)).sum().backward()

    def weighted(x):
        tokens = module.apply(variables, x).x
        return (tokens * weight).sum(), tokens

    (_, ours), gradient = jax.jit(jax.value_and_grad(weighted, has_aux=True))(jnp.asarray(x))
    assert_same(ours, theirs.detach().numpy(), "tokens")
    assert_same(gradient, theirs_x.grad.numpy().transpose(0, 2, 3, 1), "gradient of the picture")


def picture(height, width, batch=2):
    return jax.random.normal(jax.random.key(5), (batch, height, width, 3))


def cells(grid):
    """torch [b c h w] -> [b h*w c]."""
    return grid.flatten(2).transpose(1, 2)


def torch_vgg(stages, hidden, batch_norm):
    """torchvision.models.vgg: make_layers, AdaptiveAvgPool2d((7, 7)), and the classifier up to its last dropout."""
    from torch import nn

    layers, channels = [], 3
    for convolutions, width in stages:
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, width, kernel_size=3, padding=1)]
            layers += [nn.BatchNorm2d(width)] if batch_norm else []
            layers += [nn.ReLU(inplace=True)]
            channels = width
        layers += [nn.MaxPool2d(kernel_size=2, stride=2)]
    model = nn.ModuleDict({"features": nn.Sequential(*layers)})
    if hidden:
        sizes, classifier = (channels * 7 * 7, *hidden), []
        for n, m in zip(sizes, hidden):
            classifier += [nn.Linear(n, m), nn.ReLU(True), nn.Dropout(0.5)]
        model["avgpool"], model["classifier"] = nn.AdaptiveAvgPool2d((7, 7)), nn.Sequential(*classifier)

    def forward(x):
        x = model["features"](x)
        return model["classifier"](model["avgpool"](x).flatten(1))[:, None] if hidden else cells(x)

    return model, forward


def vgg_variables(w, stages, hidden, batch_norm):
    params, stats, at = {}, {}, 0
    for stage, (convolutions, _) in enumerate(stages, 1):
        for i in range(1, convolutions + 1):
            params[f"conv{stage}_{i}"] = conv(w, f"features.{at}")
            if batch_norm:
                params[f"norm{stage}_{i}"] = norm(w, f"features.{at + 1}")
                stats[f"norm{stage}_{i}"] = running(w, f"features.{at + 1}")
            at += 3 if batch_norm else 2
        at += 1
    for layer in range(len(hidden)):
        params[f"fc{6 + layer}"] = dense(w, f"classifier.{3 * layer}")
    if hidden:  # channels, rows, columns -> rows, columns, channels, as VGG's docstring has it
        first = w["classifier.0.weight"].reshape(hidden[0], -1, 7, 7)
        params["fc6"]["kernel"] = first.transpose(2, 3, 1, 0).reshape(-1, hidden[0])
    return {"params": params} | ({"batch_stats": stats} if batch_norm else {})


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(
    ("stages", "hidden", "size"),
    [
        (((1, 6), (2, 8)), (), (16, 22)),
        (((2, 4), (1, 5), (2, 8)), (12, 9), (59, 56)),  # 7 x 7 cells, and the pool has nothing to do
        (((1, 4), (1, 6), (2, 8)), (10,), (33, 90)),  # 4 x 11 cells to 7 x 7
    ],
)
def test_vgg(stages, hidden, size, batch_norm):
    model, forward = torch_vgg(stages, hidden, batch_norm)
    variables = vgg_variables(weights(randomised(model)), stages, hidden, batch_norm)
    assert_parity(VGG(stages, hidden, batch_norm), variables, forward, picture(*size))


def resnet_variables(w, stages, bottleneck):
    params, stats = {}, {}

    def take(ours, theirs):
        params[ours] = {"conv": conv(w, f"{theirs}.convolution"), "norm": norm(w, f"{theirs}.normalization")}
        stats[ours] = {"norm": running(w, f"{theirs}.normalization")}

    take("stem", "embedder.embedder")
    for stage, (blocks, _) in enumerate(stages):
        for i in range(blocks):
            ours, theirs = f"stage{stage + 1}_block{i + 1}", f"encoder.stages.{stage}.layers.{i}"
            for k in range(3 if bottleneck else 2):
                take(f"{ours}_conv{k + 1}", f"{theirs}.layer.{k}")
            if f"{theirs}.shortcut.convolution.weight" in w:
                take(f"{ours}_shortcut", f"{theirs}.shortcut")
    return {"params": params, "batch_stats": stats}


@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize(
    ("stages", "size"),
    [
        (((1, 4), (2, 8)), (32, 32)),
        (((2, 6), (1, 8), (1, 10)), (45, 38)),
        (((1, 4), (1, 4), (1, 8)), (33, 64)),
    ],
)
def test_resnet(stages, size, bottleneck):
    from transformers import ResNetConfig, ResNetModel

    config = ResNetConfig(
        embedding_size=stages[0][1],
        depths=[blocks for blocks, _ in stages],
        hidden_sizes=[channels * (4 if bottleneck else 1) for _, channels in stages],
        layer_type="bottleneck" if bottleneck else "basic",
    )
    model = randomised(ResNetModel(config))
    variables = resnet_variables(weights(model), stages, bottleneck)
    assert_parity(ResNet(stages, bottleneck), variables, lambda x: cells(model(x).last_hidden_state), picture(*size))


def vit_variables(w, depth):
    block = lambda at: {
        "norm1": norm(w, f"{at}.layernorm_before"),
        "norm2": norm(w, f"{at}.layernorm_after"),
        "up": dense(w, f"{at}.mlp.fc1"),
        "down": dense(w, f"{at}.mlp.fc2"),
        "attention": {
            ours: dense(w, f"{at}.attention.{theirs}_proj")
            for ours, theirs in (("query", "q"), ("key", "k"), ("value", "v"), ("out", "o"))
        },
    }
    embed = conv(w, "embeddings.patch_embeddings.projection")
    return {
        "params": {
            "embed": {"kernel": embed["kernel"].reshape(-1, embed["kernel"].shape[-1]), "bias": embed["bias"]},
            "class_token": w["embeddings.cls_token"][0, 0],
            "positions": w["embeddings.position_embeddings"][0],
            "transformer": {f"block{i}": block(f"layers.{i}") for i in range(depth)},
            "norm": norm(w, "layernorm"),
        }
    }


@pytest.mark.parametrize(
    ("depth", "heads", "width", "hidden", "patch", "side", "epsilon"),
    [(1, 1, 8, 12, 4, (8, 8), 1e-12), (2, 2, 12, 20, 4, (12, 8), 1e-12), (3, 4, 16, 64, 8, (16, 24), 1e-6)],
)
def test_vit(depth, heads, width, hidden, patch, side, epsilon):
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=hidden,
        image_size=side,
        patch_size=patch,
        layer_norm_eps=epsilon,
    )
    model = randomised(ViTModel(config, add_pooling_layer=False))
    module = ViT(patch, width, depth, heads, hidden, epsilon=epsilon)
    variables = vit_variables(weights(model), depth)
    assert_parity(module, variables, lambda x: model(x).last_hidden_state, picture(*side))


@pytest.mark.parametrize(("batch", "side", "momentum"), [(4, 3, 0.1), (3, 1, 0.25), (2, 5, 0.1)])
def test_batch_norm_trains_as_torch_does(batch, side, momentum):
    """Three steps of output, gradients and running statistics; our momentum is one minus torch's."""
    import torch

    model = randomised(torch.nn.BatchNorm2d(6, momentum=momentum)).train()
    layer, w = BatchNorm(momentum=1 - momentum), weights(model)
    variables = {
        "params": {"scale": w["weight"].copy(), "bias": w["bias"].copy()},
        "batch_stats": {"mean": w["running_mean"].copy(), "var": w["running_var"].copy()},
    }
    for step in range(3):
        x = np.asarray(jax.random.normal(jax.random.key(step), (batch, side, side, 6))) * 2 + 1
        weight = np.asarray(jax.random.normal(jax.random.key(100 + step), x.shape))
        model.zero_grad()
        theirs_x = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).requires_grad_()
        theirs = model(theirs_x)
        (theirs * torch.from_numpy(weight.transpose(0, 3, 1, 2).copy())).sum().backward()

        def weighted(params, x, stats=variables["batch_stats"], weight=weight):
            y, updated = layer.apply({"params": params, "batch_stats": stats}, x, train=True, mutable=["batch_stats"])
            return (y * weight).sum(), (y, updated["batch_stats"])

        differentiated = jax.value_and_grad(weighted, argnums=(0, 1), has_aux=True)
        (_, (y, stats)), (gradient, dx) = differentiated(variables["params"], jnp.asarray(x))
        variables = {**variables, "batch_stats": stats}
        assert_same(y, theirs.detach().numpy().transpose(0, 2, 3, 1), "output")
        assert_same(dx, theirs_x.grad.numpy().transpose(0, 2, 3, 1), "gradient of the input")
        assert_same(gradient["scale"], model.weight.grad.numpy(), "gradient of the scale")
        assert_same(gradient["bias"], model.bias.grad.numpy(), "gradient of the bias")
        assert_same(stats["mean"], model.running_mean.numpy(), "running mean")
        assert_same(stats["var"], model.running_var.numpy(), "running variance")


@pytest.mark.parametrize(("height", "width"), [(7, 7), (4, 11), (1, 30), (14, 9)])
def test_pools(height, width):
    import torch

    x = np.asarray(jax.random.normal(jax.random.key(0), (2, height, width, 3)))
    theirs = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    pooled = torch.nn.functional.adaptive_avg_pool2d(theirs, (7, 7)).numpy().transpose(0, 2, 3, 1)
    assert_same(adaptive_mean_pool(jnp.asarray(x), 7), pooled, "adaptive mean", 1e-6)
    pooled = torch.nn.functional.max_pool2d(theirs, 3, 2, 1).numpy().transpose(0, 2, 3, 1)
    assert_same(max_pool(jnp.asarray(x), 3, 2, 1), pooled, "maximum", 0)
