"""What the mmjax sides share."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
from flax.traverse_util import flatten_dict

from mmjax.train.parallel import single
from mmjax.train.seeds import init_seeds
from mmjax.train.step import TrainState, make_step
from mmjax.types import Batch, Loss


def numbers(params: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def flat(params: Any) -> dict[str, np.ndarray]:
    """{path: array}."""
    return {name: np.asarray(leaf) for name, leaf in flatten_dict(params, sep="/").items()}


def of_seed(tree: Any, seed: int = 0) -> Any:
    """One seed's part of what has a leading axis of seeds."""
    return jax.tree.map(lambda leaf: leaf[seed], tree)


def training(
    model: nn.Module, batch: Batch, loss: Loss, tx: optax.GradientTransformation
) -> tuple[TrainState, Callable[[], np.ndarray]]:
    """The state of seed 0 before the first step; and the step as an experiment takes it: with its axis of seeds, here one."""
    state = init_seeds(model, tx, [0], batch)
    before = jax.tree.map(np.asarray, of_seed(jax.device_get(state.replace(key=None))))
    step, held = single().train(make_step(model, loss, tx)), [state]
    batches = jax.tree.map(lambda leaf: leaf[None, None], batch)

    def run() -> np.ndarray:
        held[0], metrics = step(held[0], {}, batches)
        return np.asarray(jax.block_until_ready((held[0], metrics))[1]["loss"][0])

    return before, run
