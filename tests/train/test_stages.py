"""Stages: which steps they take, which parameters learn in each, and that each begins with a fresh optimiser."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmjax.losses import cross_entropy
from mmjax.train.ablate import init_seeds
from mmjax.train.parallel import single
from mmjax.train.stages import Stage, parts
from mmjax.train.step import make_step
from tests.train.toy import Toy


def test_parts_by_hand():
    ends = lambda stages, steps: [(part.first, part.end) for part in parts(stages, steps)]
    assert ends((), 10) == [(0, 10)]
    assert ends((Stage(1.0), Stage(1.0), Stage(2.0)), 8) == [(0, 2), (2, 4), (4, 8)]
    assert ends((Stage(1.0), Stage(1.0), Stage(1.0)), 10) == [(0, 3), (3, 7), (7, 10)]
    assert ends((Stage(1e-6), Stage(1.0), Stage(1e-6)), 3) == [(0, 1), (1, 2), (2, 3)]  # none is left out
    with pytest.raises(ValueError, match="steps is 1, but there are 2 stages"):
        parts((Stage(1.0), Stage(1.0)), 1)
    with pytest.raises(ValueError, match=r"Stage\.share is 0.0"):
        Stage(0.0)


@pytest.fixture(scope="module")
def toy():
    return Toy(modalities=("image",), dropout=0.0, batch=4, steps=4)


def test_only_what_learns_changes(toy):
    tx = optax.adamw(0.1, weight_decay=0.1)  # the decay alone would move frozen parameters
    state = init_seeds(toy.model, tx, [0], toy.one_seed())
    step = single(make_step(toy.model, cross_entropy, tx, learns=("encoders_image", "heads"))).run
    after, _ = step(jax.tree.map(jnp.copy, state), next(toy.batches([0])(0)))
    for name, before in state.params.items():
        same = [np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (before, after.params[name])))]
        assert all(same) if name == "fusion" else not all(same), name


def test_a_stage_begins_with_a_fresh_optimiser(toy):
    """Two stages of two steps give what two trainings give, the second from the first one's parameters."""
    tx = optax.adam(0.05)
    batches = toy.batches([0])(0)
    batches = [next(batches) for _ in range(4)]
    state = init_seeds(toy.model, tx, [0], toy.one_seed())
    runs = [single(make_step(toy.model, cross_entropy, tx, first=first)).run for first in (0, 2)]
    staged = jax.tree.map(jnp.copy, state)
    for number, batch in enumerate(batches):
        staged, _ = runs[number // 2](staged, batch)
    for number, batch in enumerate(batches):
        if number == 2:
            state = state.replace(opt_state=jax.vmap(tx.init)(state.params))
        state, _ = runs[0](state, batch)
    chex.assert_trees_all_close(staged.params, state.params, rtol=1e-5)
