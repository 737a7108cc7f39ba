"""ViT, DINOv2, VGG, ResNet and EfficientNet loaded from what their originals save, and read back by the originals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from mmjax.heads import Classifier
from mmjax.pretrained import load, save
from mmjax.pretrained.vgg import TORCHVISION
from tests.parity.originals import assert_parity, assert_same, published, randomised

pytestmark = pytest.mark.parity


def picture(height, width, channels=3):
    return np.random.default_rng(5).normal(size=(2, height, width, channels)).astype(np.float32)


def tokens_of(weights):
    return lambda x: {"tokens": weights.module.apply(weights.variables, x).x}


def channels_first(model):
    """A model of transformers on pictures [b h w c]: its last tokens, of a grid the cells row by row."""

    def tokens(x):
        y = model(x.permute(0, 3, 1, 2)).last_hidden_state
        return {"tokens": y.flatten(2).transpose(1, 2) if y.ndim == 4 else y}

    return tokens


def assert_read_back(model, weights, folder):
    """What we save, transformers reads as the same weights, and so do we."""
    import torch

    save(weights, folder)
    back, notes = type(model).from_pretrained(folder, output_loading_info=True)
    assert not notes["unexpected_keys"]
    state, made_anew = model.state_dict(), set(weights.unused)
    for name, value in back.state_dict().items():
        assert name in made_anew or torch.equal(value, state[name]), name
    assert set(notes["missing_keys"]) <= made_anew
    again = load(folder)
    for ours, theirs in ((again.variables, weights.variables), (again.classifier, weights.classifier)):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def vit_config(width, depth, heads, hidden, patch, sides, act, epsilon, channels):
    from transformers import ViTConfig

    return ViTConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=hidden,
        patch_size=patch,
        image_size=sides,
        hidden_act=act,
        layer_norm_eps=epsilon,
        num_channels=channels,
    )


@pytest.mark.parametrize(
    ("whole", "sizes"),
    [
        ("ViTModel", (8, 1, 1, 12, 4, 8, "gelu", 1e-12, 3)),
        ("ViTModel", (12, 2, 2, 20, 4, (12, 8), "gelu_new", 1e-3, 1)),
        ("ViTForImageClassification", (16, 3, 4, 64, 8, (16, 24), "quick_gelu", 1e-6, 3)),
    ],
)
def test_vit(whole, sizes, tmp_path):
    import transformers

    model = getattr(transformers, whole)(vit_config(*sizes))
    weights = load(published(model, tmp_path / "theirs"))
    assert {name.split(".")[0] for name in weights.unused} == {"pooler" if whole == "ViTModel" else "classifier"}
    _, height, width, channels = weights.architecture.given.shape
    body = channels_first(getattr(model, "vit", model))
    assert_parity(tokens_of(weights), body, picture(height, width, channels))
    if whole == "ViTModel":
        assert_read_back(model, weights, tmp_path / "ours")
    with pytest.raises(ValueError, match="patches"):
        weights.module.apply(weights.variables, jnp.zeros((1, 2 * height, width, channels)))


@pytest.mark.parametrize(
    ("whole", "sizes", "others"),
    [  # width, depth, heads, mlp_ratio, patch, side, act, epsilon, channels, scale; the picture's sides
        ("Dinov2Model", (8, 1, 1, 2, 4, 8, "gelu", 1e-6, 3, 1.0), (8, 8)),
        ("Dinov2Model", (12, 2, 3, 4, 2, 14, "gelu_pytorch_tanh", 1e-3, 1, 0.1), (6, 10)),  # smaller than it was trained on
        ("Dinov2ForImageClassification", (16, 3, 4, 1, 4, 12, "gelu", 1e-5, 3, 1e-5), (20, 36)),
    ],
)
def test_dinov2(whole, sizes, others, tmp_path):
    import transformers

    width, depth, heads, ratio, patch, side, act, epsilon, channels, scale = sizes
    config = transformers.Dinov2Config(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        mlp_ratio=ratio,
        patch_size=patch,
        image_size=side,
        hidden_act=act,
        layer_norm_eps=epsilon,
        num_channels=channels,
        layerscale_value=scale,
        drop_path_rate=0.3,  # of training alone
    )
    model = getattr(transformers, whole)(config)
    weights = load(published(model, tmp_path / "theirs"))
    assert all("mask_token" in name or name.startswith("classifier") for name in weights.unused)
    body = channels_first(getattr(model, "dinov2", model))
    assert_parity(tokens_of(weights), body, picture(*others, channels))
    assert_parity(tokens_of(weights), body, picture(side, side, channels))
    if whole == "Dinov2Model":
        assert_read_back(model, weights, tmp_path / "ours")


def torch_vgg(stages, hidden, batch_norm, classes):
    """torchvision.models.vgg: make_layers, AdaptiveAvgPool2d((7, 7)) and the classifier."""
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
        model["avgpool"] = nn.AdaptiveAvgPool2d((7, 7))
        model["classifier"] = nn.Sequential(*classifier, nn.Linear(hidden[-1], classes))

    def forward(x):
        x = model["features"](x.permute(0, 3, 1, 2))
        if not hidden:
            return {"tokens": x.flatten(2).transpose(1, 2)}
        x = model["classifier"][:-1](model["avgpool"](x).flatten(1))
        return {"tokens": x[:, None], "logits": model["classifier"][-1](x)}

    return model, forward


def torch_resnet(stages, bottleneck, classes):
    """torchvision.models.resnet: BasicBlock, Bottleneck (stride in its 3x3) and ResNet, without what no model of them uses."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self, before, channels, stride):
            super().__init__()
            out = channels * 4 if bottleneck else channels
            kernels = ((before, channels, 1, 1), (channels, channels, 3, stride), (channels, out, 1, 1))
            if not bottleneck:
                kernels = ((before, channels, 3, stride), (channels, channels, 3, 1))
            for i, (a, b, kernel, step) in enumerate(kernels, 1):
                self.add_module(f"conv{i}", nn.Conv2d(a, b, kernel, step, kernel // 2, bias=False))
                self.add_module(f"bn{i}", nn.BatchNorm2d(b))
            self.depth, self.downsample = len(kernels), None
            if stride != 1 or before != out:
                self.downsample = nn.Sequential(nn.Conv2d(before, out, 1, stride, bias=False), nn.BatchNorm2d(out))

        def forward(self, x):
            y = x
            for i in range(1, self.depth + 1):
                y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
                y = y.relu() if i < self.depth else y
            return (y + (x if self.downsample is None else self.downsample(x))).relu()

    width = stages[0][1]
    model = nn.ModuleDict({"conv1": nn.Conv2d(3, width, 7, 2, 3, bias=False), "bn1": nn.BatchNorm2d(width)})
    for stage, (blocks, channels) in enumerate(stages, 1):
        layers = []
        for block in range(blocks):
            layers.append(Block(width, channels, 2 if stage > 1 and block == 0 else 1))
            width = channels * 4 if bottleneck else channels
        model[f"layer{stage}"] = nn.Sequential(*layers)
    model["fc"] = nn.Linear(width, classes)

    def forward(x):
        x = nn.functional.max_pool2d(model["bn1"](model["conv1"](x.permute(0, 3, 1, 2))).relu(), 3, 2, 1)
        for stage in range(len(stages)):
            x = model[f"layer{stage + 1}"](x)
        return {"tokens": x.flatten(2).transpose(1, 2), "logits": model["fc"](x.mean((2, 3)))}

    return model, forward


def with_logits(weights):
    """Our tokens, and what the published classifier says of them."""

    def outputs(x):
        tokens = weights.module.apply(weights.variables, x)
        if not weights.classifier:
            return {"tokens": tokens.x}
        classes = weights.classifier["params"]["dense"]["bias"].shape[0]
        return {"tokens": tokens.x, "logits": Classifier(classes).apply(weights.classifier, tokens)}

    return outputs


def as_torchvision(model, folder):
    """The state_dict of a model with random weights, as a file alone, and the way back into another."""
    from safetensors.torch import save_file

    save_file(randomised(model).state_dict(), folder / "weights.safetensors")
    return load(folder / "weights.safetensors")


def assert_torch_reads_what_we_save(model, weights, folder):
    import torch
    from safetensors.torch import load_file

    save(weights, folder)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(load_file(folder / "model.safetensors"))  # strict; old files have no num_batches_tracked either
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(
    ("stages", "hidden", "classes", "size"),
    [
        (((1, 6), (2, 8)), (), 0, (16, 22)),
        (((2, 4), (1, 5), (2, 8)), (12, 9), 4, (59, 56)),  # 7 x 7 cells, and the pool has nothing to do
        (((1, 4), (1, 6), (2, 8)), (10, 11), 3, (33, 90)),  # 4 x 11 cells to 7 x 7
    ],
)
def test_vgg(stages, hidden, classes, size, batch_norm, tmp_path):
    model, forward = torch_vgg(stages, hidden, batch_norm, classes)
    weights = as_torchvision(model, tmp_path)
    assert (weights.module.stages, weights.module.hidden, weights.module.batch_norm) == (stages, hidden, batch_norm)
    assert weights.preprocessing == TORCHVISION
    assert_parity(with_logits(weights), forward, picture(*size))
    assert_torch_reads_what_we_save(model, weights, tmp_path / "ours")


RESNETS = [(((1, 4), (2, 8)), (32, 32)), (((2, 6), (1, 8), (1, 10)), (45, 38)), (((1, 4), (1, 4), (1, 8)), (33, 64))]


@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize(("stages", "size"), RESNETS)
def test_resnet_of_torchvision(stages, size, bottleneck, tmp_path):
    model, forward = torch_resnet(stages, bottleneck, 5)
    weights = as_torchvision(model, tmp_path)
    assert (weights.module.stages, weights.module.bottleneck) == (stages, bottleneck)
    assert_parity(with_logits(weights), forward, picture(*size))
    assert_torch_reads_what_we_save(model, weights, tmp_path / "ours")


@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize(("stages", "size"), RESNETS)
def test_resnet_of_transformers(stages, size, bottleneck, tmp_path):
    from transformers import ResNetConfig, ResNetForImageClassification, ResNetModel

    config = ResNetConfig(
        embedding_size=stages[0][1],
        depths=[blocks for blocks, _ in stages],
        hidden_sizes=[channels * (4 if bottleneck else 1) for _, channels in stages],
        layer_type="bottleneck" if bottleneck else "basic",
        num_labels=3,
    )
    whole = len(stages) == 2
    model = (ResNetForImageClassification if whole else ResNetModel)(config)
    weights = load(published(model, tmp_path / "theirs"))

    def theirs(x):
        outputs = channels_first(model.resnet if whole else model)(x)
        return outputs | ({"logits": model.classifier[1](outputs["tokens"].mean(1))} if whole else {})

    assert_parity(with_logits(weights), theirs, picture(*size))
    assert_read_back(model, weights, tmp_path / "ours")


class AugReg(nn.Module):
    """google-research's vision_transformer up to its last norm, written after models_vit.py; names are the published ones."""

    width: int
    depth: int
    heads: int
    hidden: int
    patch: int

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(self.width, (self.patch,) * 2, strides=(self.patch,) * 2, padding="VALID", name="embedding")(x)
        x = x.reshape(len(x), -1, self.width)
        first = self.param("cls", nn.initializers.normal(1), (1, 1, self.width))
        x = jnp.concatenate([jnp.tile(first, (len(x), 1, 1)), x], axis=1)
        return Encoder(self.depth, self.heads, self.hidden, name="Transformer")(x)


class Encoder(nn.Module):
    depth: int
    heads: int
    hidden: int

    @nn.compact
    def __call__(self, x):
        x = Positions(name="posembed_input")(x)
        for layer in range(self.depth):
            x = EncoderBlock(self.heads, self.hidden, name=f"encoderblock_{layer}")(x)
        return nn.LayerNorm(name="encoder_norm")(x)


class Positions(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x + self.param("pos_embedding", nn.initializers.normal(1), (1, *x.shape[1:]))


class EncoderBlock(nn.Module):
    heads: int
    hidden: int

    @nn.compact
    def __call__(self, x):
        y = nn.LayerNorm(name="LayerNorm_0")(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=self.heads, name="MultiHeadDotProductAttention_1")(y, y)
        return x + MLP(self.hidden, name="MlpBlock_3")(nn.LayerNorm(name="LayerNorm_2")(x))


class MLP(nn.Module):
    hidden: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(x.shape[-1], name="Dense_1")(nn.gelu(nn.Dense(self.hidden, name="Dense_0")(x)))


@pytest.mark.parametrize(
    ("sizes", "side", "channels"), [((8, 1, 1, 12, 4), 8, 3), ((12, 2, 3, 20, 2), 6, 1), ((16, 3, 4, 8, 8), 32, 3)]
)
def test_vit_of_its_authors(sizes, side, channels, tmp_path):
    model, x = AugReg(*sizes), jnp.asarray(picture(side, side, channels))
    rng = np.random.default_rng(0)
    shapes = flatten_dict(jax.eval_shape(model.init, jax.random.key(0), x)["params"], sep="/")
    arrays = {name: rng.normal(size=leaf.shape).astype(np.float32) / 2 for name, leaf in shapes.items()}
    head = {"head/kernel": np.zeros((sizes[0], 4), np.float32), "head/bias": np.zeros(4, np.float32)}
    np.savez(tmp_path / "published.npz", **arrays, **head)
    weights = load(tmp_path / "published.npz")
    assert weights.unused == tuple(sorted(head))
    variables = {"params": unflatten_dict(arrays, sep="/")}
    ours, theirs = tokens_of(weights), lambda x: {"tokens": model.apply(variables, x)}
    weight = jnp.asarray(rng.normal(size=theirs(x)["tokens"].shape), jnp.float32)
    assert_same(ours(x)["tokens"], theirs(x)["tokens"], "tokens")
    by_picture = lambda run: jax.jit(jax.grad(lambda x: (run(x)["tokens"] * weight).sum()))(x)
    assert_same(by_picture(ours), by_picture(theirs), "gradient")
    save(weights, tmp_path / "ours")
    jax.tree.map(np.testing.assert_array_equal, load(tmp_path / "ours").variables, weights.variables)
