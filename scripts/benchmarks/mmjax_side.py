"""Helpers of the mmjax sides."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict

from mmjax.train.parallel import single
from mmjax.train.seeds import init_seeds
from mmjax.train.step import make_step
from mmjax.types import Batch, Loss


def parameter_count(params: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def flatten(params: Any) -> dict[str, np.ndarray]:
    """{path: array}."""
    return {name: np.asarray(leaf) for name, leaf in flatten_dict(params, sep="/").items()}


def take_seed(tree: Any, seed: int = 0) -> Any:
    """One seed of a tree with a leading axis of seeds."""
    return jax.tree.map(lambda leaf: leaf[seed], tree)


def training_run(
    model: nn.Module, batch: Batch, loss: Loss, tx: optax.GradientTransformation, steps_per_call: int = 1
) -> tuple[Any, Callable[[], np.ndarray]]:
    """(the variables of seed 0 before the first step, run). `run` takes `steps_per_call` steps on the batch, as an experiment
    with one seed does, and returns their losses."""
    state = init_seeds(model, tx, [0], batch)
    variables = take_seed(jax.tree.map(np.asarray, state.variables))
    step, current = single().train(make_step(model, loss, tx)), [state]
    batches = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (steps_per_call, 1, *leaf.shape)), batch)

    def run() -> np.ndarray:
        current[0], metrics = step(current[0], {}, batches)
        return np.asarray(jax.block_until_ready((current[0], metrics))[1]["loss"])[:, 0]

    return variables, run
