"""ViT and DINOv2: weights are exchanged with transformers; the files of ViT's authors are loaded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from mmjax.pretrained import load, save
from tests.parity.originals import assert_parity, assert_same, published
from tests.parity.pretrained.image_models import assert_read_back, channels_first, image_batch, tokens_of

pytestmark = pytest.mark.parity


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
    ("kind", "sizes"),
    [
        ("ViTModel", (8, 1, 1, 12, 4, 8, "gelu", 1e-12, 3)),
        ("ViTModel", (12, 2, 2, 20, 4, (12, 8), "gelu_new", 1e-3, 1)),
        ("ViTForImageClassification", (16, 3, 4, 64, 8, (16, 24), "quick_gelu", 1e-6, 3)),
        ("ViTForMaskedImageModeling", (12, 1, 2, 20, 4, 12, "gelu_python", 1e-6, 3)),
    ],
)
def test_vit(kind, sizes, tmp_path):
    import transformers

    model = getattr(transformers, kind)(vit_config(*sizes))
    weights = load(published(model, tmp_path / "theirs"))
    heads = {"ViTModel": {"pooler"}, "ViTForImageClassification": {"classifier"}}
    assert {name.split(".")[0] for name in weights.unused} == heads.get(kind, {"decoder", "vit"})  # the token of the mask
    _, height, width, channels = weights.architecture.example_input.shape
    body = channels_first(getattr(model, "vit", model))
    assert_parity(tokens_of(weights), body, image_batch(height, width, channels))
    if kind == "ViTModel":
        assert_read_back(model, weights, tmp_path / "ours")
    with pytest.raises(ValueError, match="patches"):
        weights.module.apply(weights.variables, jnp.zeros((1, 2 * height, width, channels)))


@pytest.mark.parametrize(
    ("kind", "sizes", "others"),
    [  # width, depth, heads, mlp_ratio, patch, side, act, epsilon, channels, scale; sides of the image
        ("Dinov2Model", (8, 1, 1, 2, 4, 8, "gelu", 1e-6, 3, 1.0), (8, 8)),
        ("Dinov2Model", (12, 2, 3, 4, 2, 14, "gelu_pytorch_tanh", 1e-3, 1, 0.1), (6, 10)),  # smaller than in training
        ("Dinov2ForImageClassification", (16, 3, 4, 1, 4, 12, "gelu", 1e-5, 3, 1e-5), (20, 36)),
        ("Dinov2Model", (8, 1, 1, 2, 4, 14, "gelu", 1e-6, 3, 1.0), (15, 11)),  # remainders, in training too
        ("Dinov2WithRegistersModel", (8, 1, 2, 2, 4, 20, "gelu", 1e-6, 3, 1.0), (12, 8)),
        ("Dinov2WithRegistersModel", (12, 2, 3, 4, 2, 15, "gelu", 1e-6, 1, 0.5), (21, 7)),
        ("Dinov2WithRegistersForImageClassification", (16, 1, 4, 1, 4, 12, "gelu", 1e-5, 3, 1e-5), (20, 39)),
    ],
)
def test_dinov2(kind, sizes, others, tmp_path):
    import transformers

    width, depth, heads, ratio, patch, side, act, epsilon, channels, scale = sizes
    with_registers = kind.startswith("Dinov2WithRegisters")
    registers = {"num_register_tokens": 3} if with_registers else {}
    make = transformers.Dinov2WithRegistersConfig if with_registers else transformers.Dinov2Config
    config = make(
        **registers,
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
        drop_path_rate=0.3,  # of training only
    )
    model = getattr(transformers, kind)(config)
    weights = load(published(model, tmp_path / "theirs"))
    assert all("mask_token" in name or name.startswith("classifier") for name in weights.unused)
    body = channels_first(getattr(model, "dinov2_with_registers" if with_registers else "dinov2", model))
    assert_parity(tokens_of(weights), body, image_batch(*others, channels))
    assert_parity(tokens_of(weights), body, image_batch(side, side, channels))
    if kind.endswith("Model"):
        assert_read_back(model, weights, tmp_path / "ours")


class AugReg(nn.Module):
    """google-research's vision_transformer up to its final norm, after models_vit.py, with the published names."""

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
    model, x = AugReg(*sizes), jnp.asarray(image_batch(side, side, channels))
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
    by_image = lambda run: jax.jit(jax.grad(lambda x: (run(x)["tokens"] * weight).sum()))(x)
    assert_same(by_image(ours), by_image(theirs), "gradient")
    save(weights, tmp_path / "ours")
    jax.tree.map(np.testing.assert_array_equal, load(tmp_path / "ours").variables, weights.variables)
