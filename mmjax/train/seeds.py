"""All seeds of a cell at once: the leading axis s of states, batches and scores is the seed.

Initialisation, data order, augmentation and dropout depend on the seed alone, so each seed trains as it would by itself.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Float, Key

from mmjax.data.order import Epochs, Sampling
from mmjax.processes import whole
from mmjax.train.parallel import Plan, single
from mmjax.train.stages import EVERYTHING
from mmjax.train.step import TrainState, init_state
from mmjax.types import Batch, Gradient

__all__ = ["Best", "init_seeds", "keep_best", "no_best", "orders", "seed_keys"]


def seed_keys(seeds: Sequence[int]) -> Key[Array, " s"]:
    """`jax.random.key(seed)` of each seed."""
    return jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))


def init_seeds(
    model: nn.Module,
    tx: optax.GradientTransformation,
    seeds: Sequence[int],
    batch: Batch,
    gradient: Gradient | None = None,
    learns: Sequence[str] = EVERYTHING,
    pretrained: Mapping[str, Any] | None = None,
    shared: Collection[str] = (),
    plan: Plan | None = None,
) -> TrainState:
    """The states of all seeds, [s ...], computed where `plan` (None for one device) places them.

    batch: of one seed, [b ...]. The other arguments are those of `init_state`.

    Variables in `shared` are never computed: they are unused outputs inside one compiled program. It uses `lax.map` rather
    than `vmap`: orthogonal initialisers are QR decompositions, and two batched ones at a time can deadlock on a CPU with two
    cores (jaxlib 0.10, ParallelBatchMap inside XLA's thread pool).
    """

    def init_all(keys, pretrained):
        one = lambda key: init_state(model, tx, key, batch, gradient, learns, pretrained, shared)
        return jax.lax.map(one, keys)

    plan = plan or single()
    return plan.compute(init_all, plan.place(seed_keys(seeds)), plan.place(dict(pretrained or {}), seeds=False))


def orders(
    seeds: Sequence[int], rows: int, batch: int, sampling: Sampling = Epochs(), width: int | None = None
) -> Callable[[int], np.ndarray]:
    """step -> row numbers Int[s width], each seed in its own order, padded with -1. width: None for `batch`."""
    return lambda step: np.stack([sampling.draw(seed, step, rows, batch, width or batch) for seed in seeds])


@struct.dataclass
class Best:
    """The best step of each seed on the validation split, with its variables. NumPy arrays on the host.

    score: Float64[s], higher is better, -inf before any evaluation. loss: Float64[s], the validation loss. step: Int64[s].
    variables: [s ...], without the frozen variables that all seeds share.
    """

    score: Any
    loss: Any
    step: Any
    variables: Any


def no_best(state: TrainState) -> Best:
    """Before any evaluation: the initial variables."""
    seeds = state.step.shape[0]
    variables = jax.tree.map(np.array, whole(state.variables))  # a copy, since training overwrites the state
    return Best(np.full(seeds, -np.inf), np.full(seeds, np.inf), np.zeros(seeds, np.int64), variables)


def keep_best(
    best: Best, step: int, score: Float[Any, " s"], loss: Float[Any, " s"], fetch: Callable[[], Any]
) -> Best:
    """Updates the seeds that are better at this step; the others keep their best step.

    The higher score is better; if scores differ by at most 1e-6 * max(1, |best|), the lower loss; if both are equal, the
    earlier step. NaN is never better. fetch: () -> variables [s ...], called only if a seed is better.
    """
    score, loss = np.asarray(score, np.float64), np.asarray(loss, np.float64)
    with np.errstate(invalid="ignore"):  # -inf - -inf
        tied = np.abs(score - best.score) <= 1e-6 * np.maximum(1, np.abs(best.score))
    tied &= np.isfinite(best.score)
    better = np.where(tied, loss < best.loss, score > best.score)
    if not better.any():
        return best

    def choose(new, old):
        return np.where(better.reshape(better.shape + (1,) * (old.ndim - 1)), np.asarray(new), old)

    variables = jax.tree.map(choose, fetch(), best.variables)
    return Best(choose(score, best.score), choose(loss, best.loss), np.where(better, step, best.step), variables)
