"""Learning rates by path: factors derived by hand, and scaled updates."""

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
        "pool": {"kernel": jnp.ones((2, 2))},
        "transformer": {f"block{n}": {"up": {"kernel": jnp.ones((2, 2))}} for n in (0, 1, 10)},
    },
    "encoders_text_fr": {"word": {"embedding": jnp.ones((3, 2))}},
    "fusion": {"dense": {"kernel": jnp.ones((2, 2))}},
}
GRADIENT = jax.tree.map(lambda x: 0.1 * x, PARAMS)


def updates(optim):
    tx = optim(10)
    return tx.update(GRADIENT, tx.init(PARAMS), PARAMS)[0]


def test_rates_scale_the_steps():
    plain, scaled = updates(AdamW()), updates(Rates(AdamW(), {"encoders_text/word": 0.5, "encoders": 0.1}))
    encoders = {name: jax.tree.map(lambda x: 0.1 * x, plain[name]) for name in ("encoders_text", "encoders_text_fr")}
    expected = {**plain, **encoders}
    expected["encoders_text"]["word"] = jax.tree.map(lambda x: 0.5 * x, plain["encoders_text"]["word"])
    chex.assert_trees_all_close(scaled, expected, rtol=1e-6)


def test_layer_wise_factors_by_hand():
    """Of eleven blocks, block 10 has 1/2 and block 1 has (1/2)^10; the embedding is below block 0, the pooler on top."""
    optim = LayerWise(SGD(lr=1.0, momentum=0.0, clip=1e9), depth=11, factor=0.5)
    steps = jax.tree.map(lambda update: float(np.ravel(update)[0] / -0.1), updates(optim))
    blocks = {name: block["up"]["kernel"] for name, block in steps["encoders_text"]["transformer"].items()}
    assert blocks == pytest.approx({"block10": 0.5, "block1": 0.5**10, "block0": 0.5**11})
    assert steps["encoders_text"]["word"]["embedding"] == pytest.approx(0.5**12)
    assert steps["encoders_text"]["pool"]["kernel"] == pytest.approx(1.0)
    assert steps["fusion"]["dense"]["kernel"] == pytest.approx(1.0)


def test_a_block_has_the_same_factor_if_only_it_learns():
    optim = LayerWise(SGD(), depth=11, factor=0.5)
    tx, alone = optim(10), {"encoders_text": {"transformer": {"block0": {"up": {"kernel": jnp.ones((2, 2))}}}}}
    plain = SGD()(10)
    update = lambda tx: jax.tree.leaves(tx.update(alone, tx.init(alone), alone)[0])[0]
    np.testing.assert_allclose(update(tx), 0.5**11 * update(plain), rtol=1e-5)


@pytest.mark.parametrize(
    ("optim", "message"),
    [
        (LayerWise(SGD(), depth=2, factor=0.0), r"LayerWise\.factor is 0\.0"),
        (LayerWise(SGD(), depth=2), r"LayerWise\.depth is 2, but the model has encoders_text/transformer/block10"),
        (Rates(SGD(), {"encoders": -1.0}), r"Rates\.factors is .* finite and at least 0"),
        (Rates(SGD(), {"encoders": float("inf")}), r"Rates\.factors is .* finite and at least 0"),
    ],
)
def test_fields_out_of_range_are_named(optim, message):
    with pytest.raises(ValueError, match=message):
        updates(optim)
