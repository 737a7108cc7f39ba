"""Losses on distributions: four shards, each with a part of the batch, give the values and gradients of one device."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from mmjax.losses import DCCA, CentralMoments, Correlation, NormalMMD, Orthogonality, SignedEntropy
from mmjax.shards import SHARD, sum_over_shards
from mmjax.train.step import weighted_mean
from mmjax.types import Batch

PAIR, B = ("image.z", "text.z"), 12
LOSSES = {
    "correlation": Correlation(*PAIR),
    "dcca": DCCA(*PAIR),
    "moments": CentralMoments(*PAIR, moments=3),
    "orthogonality": Orthogonality(*PAIR),
    "mmd": NormalMMD(PAIR[0]),
    "entropy": SignedEntropy(PAIR[0], ridge=0.1),
}


def step(params, features, given, previous):
    """The mean of each loss over the whole batch, and its gradient by the parameters that it has for itself."""
    given = given.replace(targets={**given.targets, **previous})

    def total(params):
        outputs = lambda w: {name: jnp.tanh(x @ w) for name, x in features.items()}
        means = {name: weighted_mean(loss(outputs(params[name]), given), given.weight) for name, loss in LOSSES.items()}
        return sum(means.values()), means

    gradient, means = jax.grad(total, has_aux=True)(params)
    return sum_over_shards((means, gradient))


def test_four_shards_give_the_losses_of_one_device_without_its_outputs():
    """Absent modalities, padding, and another number of examples in the batch before, which all shards have."""
    random, number = np.random.default_rng(0), np.arange(B)
    normal = lambda *shape: random.normal(size=shape).astype(np.float32)
    params = {name: normal(3, 2) for name in LOSSES}
    features = {name: normal(B, 3) + 1 for name in PAIR}
    present = {"image": number % 5 != 4, "text": number != 1}
    given = Batch({}, present, {"score": normal(B)}, np.where(number == 11, 0, 1 + number % 3).astype(np.float32))
    previous = {"previous/image.z": normal(7, 2), "previous/score": np.float32([1, -1, 2, -2, np.nan, 0.5, -0.5])}

    means, gradient = one = jax.jit(step)(params, features, given, previous)
    chex.assert_tree_all_finite(one)
    for name in LOSSES:  # the comparison is not trivial
        assert abs(means[name]) > 1e-3 and np.abs(gradient[name]).max() > 1e-3, name

    parts = jax.tree.map(lambda x: x.reshape(4, B // 4, *x.shape[1:]), (features, given))
    program = jax.pmap(step, axis_name=SHARD, in_axes=(None, 0, 0, None)).lower(params, *parts, previous)
    text = program.as_text()
    assert "all_reduce" in text and "all_gather" not in text  # a shard holds sums over the others' outputs alone
    spread = program.compile()(params, *parts, previous)
    chex.assert_trees_all_close(jax.tree.map(lambda x: x[2], spread), one, rtol=1e-4, atol=1e-5)
