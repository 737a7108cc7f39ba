"""Targets that are impossible for their inputs, such as a text with more letters than its recording has frames (CTC)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from mmjax.data.order import in_order
from mmjax.evaluate.predict import summed
from mmjax.experiment.value import Experiment, ExperimentError
from mmjax.types import Tokens

__all__ = ["check_targets_fit", "impossible_rows"]


def check_targets_fit(experiment: Experiment, feed: Any, rows: int) -> None:
    """ExperimentError, with their number, if the loss of some training rows is infinite whatever the parameters are.

    Only models with an output per frame (`heads.TokenLogits`) are checked. feed: of the training split, which has `rows` rows.
    """
    found = impossible_rows(experiment, feed, rows)
    if len(found):
        named = ", ".join(map(str, found[:5].tolist())) + ", ..." * (len(found) > 5)
        raise ExperimentError(
            f"the loss of {len(found)} of {rows} training rows is infinite whatever the parameters are (rows {named}): their "
            "texts need more frames than their own recordings have. Keep more frames, leave out truncated recordings "
            "(ShortClips), or leave these rows out of the loss (CTC(zero_infinity=True))"
        )


def impossible_rows(experiment: Experiment, feed: Any, rows: int) -> Int[np.ndarray, " k"]:
    """The training rows whose loss is infinite if all outputs are 0. Only the masks of the tokens are computed."""
    model = experiment.model
    shapes = jax.eval_shape(model.init, jax.random.key(0), feed(np.arange(min(experiment.batch, rows))))
    per_frame = lambda output: isinstance(output, Tokens)

    def zeros(x):
        return jnp.zeros_like(x) if jnp.issubdtype(x.dtype, jnp.floating) else x

    def outputs_of(batch):
        variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)  # unused, so XLA removes them
        return jax.tree.map(zeros, model.apply(variables, batch))

    first = jax.eval_shape(outputs_of, feed(np.arange(min(experiment.batch, rows))))
    if not any(map(per_frame, first.values())):
        return np.zeros(0, np.int64)
    infinite = jax.jit(lambda batch: jnp.isposinf(summed(experiment.loss(outputs_of(batch), batch))))
    found = [numbers[np.asarray(infinite(feed(numbers))) & (numbers >= 0)] for numbers in in_order(rows, experiment.batch)]
    return np.concatenate(found)
