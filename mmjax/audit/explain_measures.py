"""Attributions of some examples by every method, and numbers that judge them: curves of deletion and insertion, sanity,
completeness."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.audit.attribution.model import METHODS, attributions, explained
from mmjax.audit.attribution.occlusion import deletion, insertion
from mmjax.audit.attribution.sanity import LIMIT, randomized, rank_correlation
from mmjax.audit.part import AuditedPart
from mmjax.evaluate.statistics import Estimate, estimates
from mmjax.evaluate.statistics.influence import mean_influences
from mmjax.metrics.weighted import mean as weighted_mean
from mmjax.train.parallel import evaluation
from mmjax.train.stages import merged
from mmjax.types import Metric

__all__ = ["COMPLETE", "CURVES", "STEPS", "Key", "Sanity", "estimate", "measured", "sanity"]

STEPS = 8  # of deletion and insertion
COMPLETE = 1e-3  # the largest gap of integrated gradients
CURVES = {"insertion": insertion, "deletion": deletion}

Key = tuple[str, ...]
"""(measure, method, modality), or ("completeness",)."""


def measured(part: AuditedPart, batch: Any, seed: int) -> tuple[dict[str, dict[str, np.ndarray]], dict[Key, np.ndarray]]:
    """(the attributions {method: {modality: [s b ...]}}, their measures).

    The measures are those of `CURVES`, the score at STEPS + 1 equally spaced shares of the features [s b k]; "sanity", the rank
    correlation with the attributions of shuffled weights [s b]; and ("completeness",), the gap of integrated gradients [s b].
    NaN where an example lacks the modality, and where a rank correlation is undefined.
    """
    variables, frozen = jax.device_put((part.model.variables, part.model.frozen))
    module, task, key = part.model.module, part.task, jax.random.key(seed)
    run = jax.jit(evaluation(lambda variables, given: attributions(module, task, variables, given[0], key, given[1])))
    found = run(variables, frozen, (batch, COMPLETE))
    other = run(*randomized((variables, frozen), jax.random.fold_in(key, 1)), (batch, jnp.inf))  # their sum does not matter

    def curves(variables, maps):
        """The measures of `CURVES` of one seed."""
        one, values = explained(module, task, variables, batch), {}
        for name, x in one.inputs.items():
            methods = [method for method in METHODS if name in maps[method]]
            score = lambda x, name=name: one.score({**one.inputs, name: x})
            arguments = score, x, one.baselines[name]

            def both(attribution, arguments=arguments, valid=one.valid[name]):
                return {kind: of(*arguments, attribution, valid, STEPS) for kind, of in CURVES.items()}

            if methods:
                drawn = jax.lax.map(both, jnp.stack([maps[method][name] for method in methods]))
                has = one.valid[name].reshape(len(batch.weight), -1).any(axis=1)[None, :, None]
                drawn = jax.tree.map(lambda of, has=has: jnp.where(has, of, jnp.nan), drawn)
                values |= {(kind, method, name): of[k] for kind, of in drawn.items() for k, method in enumerate(methods)}
        return values

    own = jax.jit(lambda v, f, maps: jax.vmap(lambda one, of: curves(merged(one, f), of))(v, maps))
    maps = {method: found[method] for method in METHODS}
    values = own(variables, frozen, maps) | {("completeness",): found["completeness"]["all"]}

    compare = jax.jit(jax.vmap(jax.vmap(rank_correlation), in_axes=(0, 0, None)))  # of methods, of seeds
    for name, valid in found["valid"].items():
        methods = [method for method in METHODS if name in maps[method]]
        flat = valid.reshape(*valid.shape[:2], -1)  # of equal shape for all inputs with equal numbers of features
        sizes = [np.abs([np.asarray(of[method][name]).reshape(flat.shape) for method in methods]) for of in (found, other)]
        values |= {("sanity", method, name): of for method, of in zip(methods, compare(*sizes, flat))}
    return jax.tree.map(np.asarray, (maps, values))


def estimate(values: np.ndarray, weight: np.ndarray, group: np.ndarray, bounds: Any = (None, None)) -> Estimate:
    """The mean of values [s u] over the units where it is defined for every seed. weight, group: [u]. bounds: of the values."""
    known = np.isfinite(values).all(axis=0)
    metric = Metric(_mean, bounds=bounds)
    outcomes = {"value": np.where(known, values, 0).astype(np.float32)}
    return estimates({"value": metric}, outcomes, np.where(known, weight, 0), group, program=mean_influences)["value"]


def _mean(outcomes: Mapping[str, Any], weight: Any) -> Any:
    return weighted_mean(outcomes["value"], weight)


class Sanity(NamedTuple):
    """Whether shuffled weights destroy an explanation. passed: None without a rank correlation. text: the reason, if not."""

    passed: bool | None
    text: str = ""


def sanity(correlation: Estimate) -> Sanity:
    """Passed if the interval of the rank correlation with shuffled weights is between -LIMIT and LIMIT.

    Without an interval, as of a single example, its mean decides.
    """
    mean, low, high = correlation.mean, correlation.low, correlation.high
    if not np.isfinite(mean):
        return Sanity(None, "has no sanity check, since it is constant with trained or shuffled weights")
    interval = f" [{low:.2f}, {high:.2f}]" if np.isfinite([low, high]).all() else ""
    low, high = (low, high) if interval else (mean, mean)
    if -LIMIT < low and high < LIMIT:
        return Sanity(True)
    verdict = "fails the sanity check" if abs(mean) >= LIMIT else "is not shown to pass the sanity check"
    number = f"{mean:.2f}{interval}; -{LIMIT} to {LIMIT} passes"
    return Sanity(False, f"{verdict}: its rank correlation with the attribution of shuffled weights is {number}")
