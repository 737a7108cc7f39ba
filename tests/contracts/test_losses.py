"""Every loss: one value per example, independent of examples that do not count, equal under vmap and on four devices."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.shards import SHARD, sum_over_shards
from mmjax.train.step import weighted_mean
from mmjax.types import Batch
from tests.contracts.inputs import BATCH, CLASSES
from tests.contracts.loss_cases import LOSSES, PAIR, SLOW

RANDOM = np.random.default_rng(0)
WIDTHS = {"label": CLASSES, "image.label": CLASSES, "image.several": 3, "image.score": 1, PAIR[0]: 3, PAIR[1]: 3}
WIDTHS |= {"image.text": 12}
FEATURES = {name: RANDOM.normal(size=(BATCH, width)).astype(np.float32) for name, width in WIDTHS.items()}
PARAMS = {name: RANDOM.normal(size=(width, width)).astype(np.float32) for name, width in WIDTHS.items()}
PARAMS |= {"temperature": np.float32(0.3), "bias": np.float32(-2.0), "log_variance": np.float32([0.3, -0.2, 0.1])}
GIVEN = Batch(
    {},
    {"image": np.arange(BATCH) % 4 != 3, "text": np.arange(BATCH) != 1},
    {
        "label": np.arange(BATCH, dtype=np.int32) % CLASSES,
        "several": RANDOM.integers(0, 2, (BATCH, 3)).astype(np.int32),
        "score": RANDOM.normal(size=BATCH).astype(np.float32),
        "text": np.int32([[1, 1, 0], [2, 1, 0], [2, 0, -1], [1, 2, 1], [0, -1, -1], [-1, -1, -1], [1, 0, -1], [2, 2, 0]]),
    },
    np.float32([1, 1, 2, 1, 0.5, 1, 1, 0]),  # the last one is padding
)


def model(params, features):
    """Outputs; the nonlinearity makes the correlations of embeddings depend on the parameters."""
    learned = {name: x for name, x in params.items() if name not in features}
    outputs = {name: jnp.tanh(x @ params[name]) for name, x in features.items()}
    return outputs | learned


def step(loss, params, features, given):
    """Values per example; the weighted mean over the whole batch, and its gradient by the parameters."""

    def objective(params):
        values = loss(model(params, features), given)
        return sum(weighted_mean(value, given.weight) for value in jax.tree.leaves(values)), values

    (value, values), gradient = jax.value_and_grad(objective, has_aux=True)(params)
    return values, sum_over_shards((value, gradient))


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in LOSSES])
def test_losses(name):
    one_step = partial(step, LOSSES[name])
    values, (mean, gradient) = one = jax.jit(one_step)(PARAMS, FEATURES, GIVEN)
    for value in jax.tree.leaves(values):
        chex.assert_shape(value, (BATCH,))
        chex.assert_type(value, jnp.float32)
    chex.assert_tree_all_finite(one)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient)) > 1e-3  # the comparison below is not trivial

    seeds = jax.tree.map(lambda x: np.stack([x * 0.5, x]), PARAMS)
    both = jax.jit(jax.vmap(one_step, in_axes=(0, None, None)))(seeds, FEATURES, GIVEN)
    chex.assert_trees_all_close(jax.tree.map(lambda x: x[1], both), one, rtol=1e-4, atol=1e-5)

    parts = jax.tree.map(lambda x: x.reshape(4, BATCH // 4, *x.shape[1:]), (FEATURES, GIVEN))
    spread_values, spread = jax.pmap(one_step, axis_name=SHARD, in_axes=(None, 0, 0))(PARAMS, *parts)
    chex.assert_trees_all_close(jax.tree.map(lambda x: x.reshape(BATCH), spread_values), values, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(jax.tree.map(lambda x: x[2], spread), (mean, gradient), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_absent_examples_and_padding_do_not_matter(name):
    """Their outputs may be NaN: the mean loss and all gradients stay the same."""
    loss, real = LOSSES[name], GIVEN.weight > 0

    @jax.jit
    @jax.value_and_grad
    def run(outputs, given):
        return sum(weighted_mean(value, given.weight) for value in jax.tree.leaves(loss(outputs, given)))

    outputs = jax.tree.map(np.asarray, jax.jit(model)(PARAMS, FEATURES))
    counts = {output: real & GIVEN.present.get(output.rpartition(".")[0], np.ones(BATCH, bool)) for output in WIDTHS}
    spoiled = {output: np.where(valid[:, None], outputs[output], np.nan) for output, valid in counts.items()}
    value, gradient = run(outputs, GIVEN)
    chex.assert_trees_all_equal((value, gradient), run(outputs | spoiled, GIVEN))
    chex.assert_tree_all_finite((value, gradient))
    for output, valid in counts.items():
        assert not np.asarray(gradient[output])[~valid].any(), output
