"""All seeds of a cell at once: the leading axis s of every state, batch and score is the seed.

Initialisation, data order, augmentation and dropout belong to the seed, so each gives what it gives alone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Float

from mmjax.data.order import shuffled
from mmjax.train.step import TrainState, init
from mmjax.types import Balance, Batch


def seed_keys(seeds: Sequence[int]) -> Array:
    """Key[s], each what `jax.random.key(seed)` is."""
    return jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))


def init_seeds(
    model: nn.Module,
    tx: optax.GradientTransformation,
    seeds: Sequence[int],
    batch: Batch,
    balance: Balance | None = None,
    learns: Sequence[str] | None = None,
) -> TrainState:
    """The states of all seeds; `batch` [b ...] is one seed's and gives shapes alone. learns: in the first stage, as in `init`.

    `lax.map` and not `vmap`: orthogonal initialisers are QR decompositions, and two batched ones at a time can wait for each
    other for ever on a CPU of two cores (jaxlib 0.10, ParallelBatchMap inside XLA's own thread pool).
    """
    return jax.jit(lambda keys: jax.lax.map(lambda key: init(model, tx, key, batch, balance, learns), keys))(seed_keys(seeds))


def orders(seeds: Sequence[int], rows: int, batch: int) -> Callable[[int], np.ndarray]:
    """step -> row numbers Int[s b], each seed's in its own order."""
    return lambda step: np.stack([shuffled(seed, step, rows, batch) for seed in seeds])


@struct.dataclass
class Best:
    """Each seed's variables (parameters, batch statistics) at the step that validation liked best: score Float[s] (higher is
    better), step Int[s]."""

    score: Any
    step: Any
    variables: Any


def no_best(state: TrainState) -> Best:
    """Before any evaluation. The variables are a copy, since the step is given the state's own to overwrite."""
    seeds = state.step.shape[0]
    variables = jax.tree.map(jnp.copy, state.variables)
    return Best(jnp.full(seeds, -jnp.inf), jnp.zeros(seeds, jnp.int32), variables)


@jax.jit
def keep_best(best: Best, state: TrainState, score: Float[Array, " s"]) -> Best:
    """Takes over the seeds whose score is higher than before; of equal ones the earlier stays, a NaN never wins."""
    better = score > best.score

    def choose(new, old):
        return jnp.where(better.reshape(better.shape + (1,) * (new.ndim - 1)), new, old)

    variables = jax.tree.map(choose, state.variables, best.variables)
    return Best(choose(score, best.score), choose(state.step, best.step), variables)
