"""Weight decay of some parameters alone: with and without it, the steps are those of AdamW with and without decay."""

from functools import partial

import jax.numpy as jnp
import optax
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from mmjax.train.decay import MaskedDecay
from mmjax.train.optim import SGD, AdamW, Linear
from mmjax.train.rates import Rates

PARAMS = unflatten_dict(
    {
        "encoders_text/norm/scale": jnp.float32(2),
        "encoders_text/norm/bias": jnp.float32(3),
        "encoders_text/word/embedding": jnp.float32(4),
        "fusion/bias_of_all/kernel": jnp.float32(5),
    },
    sep="/",
)
STEPS = 4
adamw = partial(AdamW, lr=0.1, schedule=Linear(warmup=0.25))


def after(optim):
    """The parameters after all steps with a gradient of -0.1 w."""
    tx, params = optim(STEPS), PARAMS
    state = tx.init(params)
    for _ in range(STEPS):
        update, state = tx.update(optax.tree.scale(-0.1, params), state, params)
        params = optax.apply_updates(params, update)
    return {path: float(leaf) for path, leaf in flatten_dict(params, sep="/").items()}


def test_biases_and_scales_have_no_decay_by_default():
    without, everywhere = after(adamw(decay=0.0)), after(adamw(decay=0.5))
    found = after(MaskedDecay(adamw(decay=0.0), decay=0.5))
    expected = {name: (without if "norm" in name else everywhere)[name] for name in found}
    assert found == pytest.approx(expected, rel=1e-5)
    assert without != pytest.approx(everywhere, rel=1e-2)
    of_text = after(MaskedDecay(adamw(decay=0.0), decay=0.5, without=("encoders",)))
    assert of_text == pytest.approx({name: (everywhere if "fusion" in name else without)[name] for name in found}, rel=1e-5)


@pytest.mark.parametrize(
    ("optim", "message"),
    [
        (MaskedDecay(AdamW()), r"AdamW\.decay is 0\.01; it must be 0, since MaskedDecay\.decay takes its place"),
        (MaskedDecay(SGD(), decay=-1.0), r"MaskedDecay\.decay is -1\.0; it must be finite and at least 0"),
        (MaskedDecay(Rates(SGD(), {"fusion": 0.5})), r"Rates has no learning rate and schedule"),
    ],
)
def test_what_cannot_be_is_named(optim, message):
    with pytest.raises(ValueError, match=message):
        optim(STEPS)
