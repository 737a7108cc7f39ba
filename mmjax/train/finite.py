"""Non-finite losses and gradients: detection on the device, diagnosis on the host, and a wrapper that skips such steps."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from mmjax.types import Batch, Padded

__all__ = ["NonFiniteError", "all_finite", "diagnose", "nonfinite_examples", "skip_nonfinite"]


class NonFiniteError(RuntimeError):
    """A loss, gradient or parameter is NaN or infinite; the message names the step, the seed, the cause and the remedy."""


def all_finite(tree: Any) -> Bool[Array, ""]:
    """Whether all floating-point leaves of a tree are finite."""
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in floats])) if floats else jnp.array(True)


def skip_nonfinite(step: Callable) -> Callable:
    """Wraps a `Step`: a non-finite update is not applied, and the metric "skipped" is 1 for such a step, else 0.

    The state stays as it was, except that the number of steps advances: the data order and the random keys depend on it.
    """

    def skipping(state: Any, frozen: Any, batch: Batch) -> tuple[Any, dict[str, Array]]:
        new, metrics = step(state, frozen, batch)
        finite = metrics["finite"]
        kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), new.replace(key=None), state.replace(key=None))
        return kept.replace(step=new.step, key=state.key), metrics | {"skipped": 1 - finite.astype(jnp.float32)}

    return skipping


def diagnose(step: str, metrics: Mapping[str, Any], batch: Batch, rows: Any = None) -> str:
    """One line for the first non-finite step of one seed: the non-finite numbers, the inputs that caused them, the remedy.

    step: names the step and the seed. metrics: {name: number}. batch: [b ...] of that step, before augmentation. rows: Int[b],
    the rows of the training split in the batch; None to name positions in the batch.
    """
    bad = [name.replace("_", " ") for name, value in metrics.items() if name != "finite" and not np.isfinite(value)]
    what = f"{step}: not finite: {', '.join(bad) or 'batch statistics'}"
    where = "rows" if rows is not None else "positions in the batch"
    found = []
    for name, invalid in nonfinite_examples(batch).items():
        positions = np.flatnonzero(invalid)
        if len(positions):
            named = positions if rows is None else np.asarray(rows)[positions]
            more = f" and {len(named) - 8} more" if len(named) > 8 else ""
            found.append(f"{name} in {where} {', '.join(map(str, named[:8].tolist()))}{more}")
    if found:
        return f"{what}. The training data contain NaN or infinity: {'; '.join(found)}. Repair or remove these rows"
    if np.isposinf(metrics.get("loss", 0)) and np.isfinite(metrics.get("gradient_norm", np.nan)):
        return (
            f"{what}. The loss is infinite but its gradient is finite, so a target is impossible for its input: under CTC, a "
            "text that needs more frames than its recording has. Keep more frames, leave out truncated recordings "
            "(ShortClips), or leave such rows out of the loss (CTC(zero_infinity=True))"
        )
    return f"{what}. The data of this batch are finite, so training diverged: lower optim.lr or optim.clip"


def nonfinite_examples(batch: Batch) -> dict[str, Bool[np.ndarray, " b"]]:
    """{"input 'name'", "target 'name'", "the weight": Bool[b]}, True for examples with non-finite values that enter the step.

    Absent modalities, values beyond the length of a `Padded`, missing targets (NaN) and targets of weight 0 are ignored. Inputs
    of weight 0 are not: they can make a gradient NaN.
    """
    weight = np.asarray(batch.weight)
    found = {}
    for name, x in batch.inputs.items():
        found[f"input {name!r}"] = _any_per_example(x, np.asarray(batch.present[name]), np.isfinite)
    for name, x in batch.targets.items():
        found[f"target {name!r}"] = _any_per_example(x, ~(weight <= 0), lambda leaf: ~np.isinf(leaf))
    return found | {"the weight": ~np.isfinite(weight)}


def _any_per_example(x: Any, valid: Bool[np.ndarray, " b"], is_allowed: Callable) -> Bool[np.ndarray, " b"]:
    """True for valid examples with a value, within their length, for which `is_allowed` is False."""
    leaves, within = [x.x] if isinstance(x, Padded) else jax.tree.leaves(x), None
    if isinstance(x, Padded):
        within = np.arange(x.x.shape[1])[None] < np.asarray(x.length)[:, None]
    bad = np.zeros(len(valid), bool)
    for leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            continue
        wrong = ~is_allowed(np.asarray(leaf, np.float32))
        if within is not None:
            wrong &= within.reshape(within.shape + (1,) * (wrong.ndim - 2))
        bad |= wrong.reshape(len(valid), -1).any(axis=1)
    return bad & valid
