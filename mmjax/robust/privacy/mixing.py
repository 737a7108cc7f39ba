"""Tests whether the loss of one example depends on other examples, by changing one row of a batch at a time."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from mmjax.robust.privacy.nested import with_inner
from mmjax.train.step import init_state
from mmjax.train.training import Training
from mmjax.types import Aux, Batch, Objective

__all__ = ["DRAWS", "TOLERANCE", "Recorded", "Recorder", "what_mixes"]

DRAWS = 3  # random keys: an augmentation may leave an example alone by chance
TOLERANCE = {"rtol": 1e-6, "atol": 1e-7}  # all copies run in one program, with equal shapes


@dataclass(frozen=True)
class Recorder:
    """A `Gradient` in the place of DP-SGD: its state is the loss of each example, and its gradient ignores the data.

    So whatever else a step returns must not depend on the data either, if the training only processes the private gradient.
    """

    def init(self, params: Any) -> "Recorded":
        return Recorded(None)

    def __call__(self, objective: Objective, params: Any, state: Any, batch: Batch, key: Key[Array, ""]) -> tuple:
        _, aux = objective(params, batch, key)
        leaves, tree = jax.tree.flatten(params)
        constant = [jax.random.normal(jax.random.fold_in(key, n), leaf.shape) for n, leaf in enumerate(leaves)]
        values = jnp.where(batch.weight > 0, sum(aux.values.values()) * batch.weight, 0)
        return jnp.float32(0), jax.tree.unflatten(tree, constant), Aux({}, aux.stats, {}, aux.values), Recorded(values)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Recorded:
    """The losses of the examples that the recorder received, Float[b]; None at first."""

    values: Any


def what_mixes(training: Training, number: int, batch: Batch, others: Batch) -> str | None:
    """Why a stage's step cannot be private: what depends on several examples, in words; None if nothing does.

    number: of the stage. batch, others: [b ...] of different rows, at least two. The test runs the step without DP-SGD on the
    batch and on b copies, in each of which one row is replaced. Parameters are random, and three random keys are tried.
    """
    probe = replace(training, gradient=with_inner(training.gradient, Recorder()), wrappers=())
    count = batch.weight.shape[0]
    variants = [batch] + [jax.tree.map(lambda a, b, j=j: jnp.asarray(a).at[j].set(b[j]), batch, others) for j in range(count)]
    batches = jax.tree.map(lambda *leaves: jnp.stack(leaves), *variants)

    @jax.jit
    def run(batches):
        state = init_state(probe.model, probe.optimizer(number), jax.random.key(0), batch)
        params = jax.tree.map(_perturbed, state.params)  # a branch that starts at zero must not hide
        state = probe.reset(state.replace(params=params), number)
        step = lambda step, batch: probe.step(number)(state.replace(step=step), {}, batch)[0]
        of_draw = lambda draw: jax.vmap(lambda batch: step(draw, batch))(batches)
        return jax.lax.map(of_draw, jnp.arange(DRAWS, dtype=jnp.int32))

    new = jax.tree.map(np.asarray, run(batches).replace(key=None))  # [draw variant ...]
    is_recorded = lambda leaf: isinstance(leaf, Recorded)
    recorded = [leaf for leaf in jax.tree.leaves(new.gradient_state, is_leaf=is_recorded) if is_recorded(leaf)]
    own_state = jax.tree.map(lambda leaf: () if is_recorded(leaf) else leaf, new.gradient_state, is_leaf=is_recorded)
    values = recorded[0].values  # [draw variant example]
    other = ~np.eye(count, dtype=bool)
    if not np.allclose(values[:, 1:][:, other], np.broadcast_to(values[:, :1], values[:, 1:].shape)[:, other], **TOLERANCE):
        return "the loss of an example depends on other examples of the batch"
    if not _equal(new.stats):
        return f"the batch changes variables that are not parameters ({', '.join(sorted(new.stats))})"
    if not _equal(own_state):
        return "its state keeps values computed from the examples"
    if not _equal(new.params):
        return "its update depends on the examples, beyond the private gradient"
    return None


def _perturbed(leaf: Any) -> Any:
    """The array plus a small fixed pattern."""
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return leaf
    return leaf + 0.05 * jax.random.normal(jax.random.key(leaf.size), leaf.shape, leaf.dtype)


def _equal(tree: Any) -> bool:
    """Whether all variants of each leaf [draw variant ...] are equal."""
    first = lambda leaf: np.broadcast_to(leaf[:, :1], leaf.shape)
    return all(np.allclose(leaf, first(leaf), equal_nan=True, **TOLERANCE) for leaf in jax.tree.leaves(tree))
