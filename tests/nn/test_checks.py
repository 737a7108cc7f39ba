"""An impossible field value raises one line that names the module and the field, in every module with such a field."""

import jax
import jax.numpy as jnp
import pytest

from mmjax.decoders import AttentionLSTM, Decoder
from mmjax.encoders import AST, ResNet, ViT, Wav2Vec2
from mmjax.encoders.series import TemporalConvolutions, TimeTransformer
from mmjax.fusion import Bottleneck, EarlyTransformer, TensorFusion
from mmjax.nn import GRU, LSTM, RNN, Attention, AttentionPool, Block, Conv, Dropout, Transformer
from mmjax.nn.checks import divides, non_negative, positive, rate
from mmjax.nn.context import Context, SelfAttention
from mmjax.types import Padded, Tokens
from tests.contracts.cases import ALIGNED, ENCODERS, FUSIONS
from tests.contracts.head_cases import HEADS

ZERO_IS_VALID = {"depth", "end", "first", "fusion_layer", "prompt", "registers", "types"}
RATES = {"dropout", "rate"}

X, MASK = jnp.ones((2, 4, 8)), jnp.ones((2, 4), bool)
TOKENS = Tokens(X, MASK)
IDS = Padded(jnp.ones((2, 3), int), jnp.ones(2, int))
MODALITIES = {"one": TOKENS, "two": TOKENS, "three": TOKENS}
LAYERS = [
    (Attention(2, features=8), (X,)),
    (AttentionLSTM(9, width=4, embedding=4, attention=4), (IDS, TOKENS)),
    (AttentionPool(2, 8), (TOKENS,)),
    (Block(2, 8), (X, MASK)),
    (Context(LSTM(4), width=4), (X, MASK)),
    (Conv(4), (X[..., None],)),
    (Decoder(9, width=8, depth=1, heads=2, hidden=8, positions=4), (IDS, TOKENS)),
    (Dropout(), (X,)),
    (GRU(4), (X, MASK)),
    (LSTM(4), (X, MASK)),
    (RNN(4), (X, MASK)),
    (SelfAttention(8, heads=2), (X, MASK)),
    (TemporalConvolutions((4,)), (X, MASK)),
    (TimeTransformer(1, 2, 8), (X, MASK)),
    (Transformer(1, 2, 8), (X, MASK)),
]
CASES = [
    *LAYERS,
    *((module, (make(jax.random.key(0)),)) for module, make in ENCODERS.values()),
    *((module, (MODALITIES,)) for name, (module, _) in (FUSIONS | ALIGNED).items() if name != "of_the_readme"),
    *((module, (TOKENS,)) for module, _ in HEADS.values()),
]


def impossible(field, value):
    """Impossible values of a size, a count or a rate; none for other fields."""
    if type(value) is int:
        return [-1] if field in ZERO_IS_VALID else [0, -1]
    if isinstance(value, tuple) and value and isinstance(value[0], (int, tuple)):
        first = -int(field in ZERO_IS_VALID) if isinstance(value[0], int) else (0,) * len(value[0])
        return [(first, *value[1:])]
    return [1.0, -0.1] if field in RATES else []


@pytest.mark.parametrize(("module", "inputs"), CASES, ids=lambda x: type(x).__name__ if hasattr(x, "clone") else "")
def test_impossible_values(module, inputs):
    fields = [(name, getattr(module, name)) for name in module.__dataclass_fields__]
    for field, value in [(name, bad) for name, default in fields for bad in impossible(name, default)]:
        with pytest.raises(ValueError) as error:
            jax.eval_shape(module.clone(**{field: value}).init, jax.random.key(0), *inputs)
        line = str(error.value).splitlines()[0]
        assert line.startswith(f"{type(module).__name__}.{field} is {value}; "), line
        assert "must be" in line, line


@pytest.mark.parametrize(
    ("module", "inputs", "message"),
    [
        (EarlyTransformer(width=6), MODALITIES, "EarlyTransformer.heads is 4; it must divide EarlyTransformer.width, which"),
        (Bottleneck(fusion_layer=3, depth=2), MODALITIES, "Bottleneck.fusion_layer is 3; it must be from 0 to"),
        (TensorFusion(inner=1000), MODALITIES, "TensorFusion.inner is 1000, which makes"),
        (ViT(patch=5, width=8, heads=2), jnp.ones((1, 8, 8, 3)), "ViT.patch is 5; it must divide the image's sides"),
        (ResNet(stages=()), jnp.ones((1, 8, 8, 3)), "ResNet.stages is (); it needs at least one stage"),
        (AST(patch=200), Padded(jnp.ones((1, 9, 128)), jnp.array([9])), "AST.patch is 200; it must be at most"),
        (Wav2Vec2(strides=(5,)), Padded(jnp.ones((1, 9)), jnp.array([9])), "Wav2Vec2.widths, .kernels and .strides have 7, 7"),
        (Attention(3), X, "Attention.heads is 3; it must divide the number of features, which is 8"),
    ],
)  # fmt: skip
def test_fields_that_do_not_fit_together(module, inputs, message):
    with pytest.raises(ValueError) as error:
        jax.eval_shape(module.init, jax.random.key(0), inputs)
    assert str(error.value).startswith(message)


class Fields:
    def __init__(self, **fields):
        self.__dict__ |= fields


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (positive, 0, "Fields.size is 0; it must be a positive integer"),
        (positive, True, "Fields.size is True; it must be a positive integer"),
        (positive, 2.0, "Fields.size is 2.0; it must be a positive integer"),
        (positive, (3, (4, 0)), "Fields.size is (3, (4, 0)); its entries must be positive integers"),
        (non_negative, -1, "Fields.size is -1; it must be a non-negative integer"),
        (rate, 1.0, "Fields.size is 1.0; it must be at least 0 and below 1"),
        (rate, float("nan"), "Fields.size is nan; it must be at least 0 and below 1"),
    ],
)
def test_messages(check, value, message):
    with pytest.raises(ValueError) as error:
        check(Fields(size=value), "size")
    assert str(error.value) == message


def test_valid_values():
    valid = Fields(width=8, heads=4, hidden=(3, (4, 5)), none=None, empty=(), depth=0, dropout=0.0)
    positive(valid, "width", "hidden", "none", "empty")
    non_negative(valid, "depth", "width")
    rate(valid, "dropout")
    divides(valid, "heads", "width")
