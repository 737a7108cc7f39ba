"""Rates by path: factors worked out by hand, and what they do to an optimiser's steps."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.train.optim import SGD, AdamW
from mmjax.train.rates import LayerWise, Rates

PARAMS = {
    "encoders_text": {
        "word": {"embedding": jnp.ones((3, 2))},
        "transformer": {f"block{n}": {"up": {"kernel": jnp.ones((2, 2))}} for n in (0, 1, 10)},
    },
    "encoders_image": {"stage1_conv": {"kernel": jnp.ones(2)}, "stage2_conv": {"kernel": jnp.ones(2)}},
    "fusion": {"dense": {"kernel": jnp.ones((2, 2))}},
}
GRADIENT = jax.tree.map(lambda x: 0.1 * x, PARAMS)


def updates(optim):
    tx = optim(10)
    return tx.update(GRADIENT, tx.init(PARAMS), PARAMS)[0]


def test_rates_scale_the_steps():
    plain, scaled = updates(AdamW()), updates(Rates(AdamW(), {"encoders_text/word": 0.5, "encoders": 0.1}))
    encoders = {name: jax.tree.map(lambda x: 0.1 * x, plain[name]) for name in ("encoders_text", "encoders_image")}
    expected = {**plain, **encoders}
    expected["encoders_text"]["word"] = jax.tree.map(lambda x: 0.5 * x, plain["encoders_text"]["word"])
    chex.assert_trees_all_close(scaled, expected, rtol=1e-6)


def test_layer_wise_factors_by_hand():
    """Blocks 10, 1 and 0 are the first, second and third from the top; the embedding is below them; each encoder for itself."""
    optim = LayerWise(SGD(lr=1.0, momentum=0.0, clip=1e9), factor=0.5)
    steps = jax.tree.map(lambda update: float(np.ravel(update)[0] / -0.1), updates(optim))
    blocks = {name: block["up"]["kernel"] for name, block in steps["encoders_text"]["transformer"].items()}
    assert blocks == pytest.approx({"block10": 0.5, "block1": 0.25, "block0": 0.125})
    assert steps["encoders_text"]["word"]["embedding"] == pytest.approx(0.0625)
    assert steps["encoders_image"]["stage2_conv"]["kernel"] == pytest.approx(0.5)
    assert steps["encoders_image"]["stage1_conv"]["kernel"] == pytest.approx(0.25)
    assert steps["fusion"]["dense"]["kernel"] == pytest.approx(1.0)


def test_a_factor_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"LayerWise\.factor is 0\.0"):
        LayerWise(SGD(), factor=0.0)(10)
