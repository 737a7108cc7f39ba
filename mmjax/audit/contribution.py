"""The contribution of each modality to a metric: Shapley values over subsets of the modalities."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from math import factorial, hypot

import jax
import numpy as np

from mmjax.audit.audit import Audit, NotApplicable, interval_panel, with_interval
from mmjax.audit.audited import Audited
from mmjax.evaluate.predict import outcomes_of, predict_subsets
from mmjax.evaluate.statistics import Estimate, combination
from mmjax.evaluate.statistics.variance import half_width
from mmjax.runs.model import SavedModel
from mmjax.tasks.subsets import MAX_MODALITIES, subset_name
from mmjax.train.parallel import evaluation
from mmjax.types import Outcomes, Subset

__all__ = [
    "PAIRS", "SUBSETS_AT_ONCE", "coefficients", "no_input", "sampled_orders", "sampled_shapley_values", "shapley",
    "shapley_values",
]

PAIRS = 32  # pairs of a random order and its reverse
SUBSETS_AT_ONCE = 32  # of a compiled call


def shapley(audited: Audited, metric: str | None = None, pairs: int = PAIRS) -> Audit:
    """Splits a metric's gain over no input among the modalities.

    The Shapley value of a modality is its mean gain when the modalities are added one after another, over all orders. The
    values add up to the metric with all modalities minus that without any. With up to MAX_MODALITIES modalities they are exact,
    from the saved outcomes of all subsets; with more, from `pairs` pairs of a random order and its reverse, with the error of
    the sampling in the intervals. metric: by default the headline metric. ValueError for fewer than two pairs.
    """
    if pairs < 2:
        raise ValueError(f"pairs is {pairs}; the error of drawn orders needs at least 2")
    metric = metric or audited.headline
    names = tuple(audited.complete.split("+"))
    if len(names) < 2 or (len(names) <= MAX_MODALITIES and len(audited.outcomes) == 1):
        raise NotApplicable(f"task {audited.task_name} of cell {audited.cell} is scored for one set of modalities only")
    scored = lambda outcomes: audited.estimate(outcomes, metric)
    empty = scored(no_input(audited))
    if len(names) <= MAX_MODALITIES:
        values = {tuple(name.split("+")): scored(outcomes) for name, outcomes in audited.outcomes.items()} | {(): empty}
        found, note = shapley_values(values, names), "all subsets"
    else:
        orders = sampled_orders(names, pairs)
        wanted = sorted({tuple(sorted(order[:k])) for order in orders for k in range(1, len(names) + 1)})
        values = {(): empty}
        for start in range(0, len(wanted), SUBSETS_AT_ONCE):
            some = wanted[start : start + SUBSETS_AT_ONCE]
            values |= {subset: scored(of) for subset, of in zip(some, audited.predict_subsets(some).values())}
        found, note = sampled_shapley_values(values, orders), f"{len(orders)} random orders, whose error is in the intervals"
    full = values[names]
    return Audit(
        name="shapley",
        title=f"Contribution of each modality to {metric}",
        conclusions=_conclusions(metric, found, full, empty),
        estimates=found | {"all modalities": full, "no input": empty},
        panels=(interval_panel(f"Shapley values, {metric}", found, f"mean gain in {metric} over all orders"),),
        note=f"Shapley values (Shapley, 1953) of {metric} from {note}; absent modalities are masked. They add up to {metric} "
        "with all modalities minus that of the same models without any input.",
        values={"metric": metric},
    )


def coefficients(modalities: Sequence[str]) -> dict[str, dict[Subset, float]]:
    """{modality: {subset: its coefficient in the Shapley value}}, for the value of each subset, the empty one included."""
    names, n = tuple(sorted(modalities)), len(modalities)
    found: dict[str, dict[Subset, float]] = {}
    for name in names:
        others = [other for other in names if other != name]
        found[name] = {}
        for size in range(n):
            share = factorial(size) * factorial(n - size - 1) / factorial(n)
            for subset in combinations(others, size):
                found[name] |= {subset: -share, tuple(sorted((*subset, name))): share}
    return found


def shapley_values(values: Mapping[Subset, Estimate], modalities: Sequence[str]) -> dict[str, Estimate]:
    """{modality: its Shapley value}. values: of every subset of the modalities, () included."""
    better = values[()].metric.higher_is_better
    return {
        name: combination([values[subset] for subset in of], list(of.values()), better)
        for name, of in coefficients(modalities).items()
    }


def sampled_orders(modalities: Sequence[str], pairs: int, seed: int = 0) -> list[tuple[str, ...]]:
    """Random orders, each followed by its reverse, whose errors are negatively correlated (Mitchell et al., JMLR 2022)."""
    rng, names = np.random.default_rng(seed), sorted(modalities)
    orders = [tuple(rng.permutation(names).tolist()) for _ in range(pairs)]
    return [one for order in orders for one in (order, order[::-1])]


def sampled_shapley_values(values: Mapping[Subset, Estimate], orders: Sequence[Sequence[str]]) -> dict[str, Estimate]:
    """As `shapley_values`, averaged over orders, which come in pairs; the error of their choice widens the intervals."""
    before = lambda order, name: tuple(sorted(order[: order.index(name)]))
    found = {}
    for name in sorted(orders[0]):
        weight: dict[Subset, float] = {}
        gains = []
        for order in orders:
            without, with_ = before(order, name), tuple(sorted((*before(order, name), name)))
            gains.append(values[with_].mean - values[without].mean)
            for subset, sign in ((with_, 1), (without, -1)):
                weight[subset] = weight.get(subset, 0.0) + sign / len(orders)
        exact = combination([values[subset] for subset in weight], list(weight.values()), values[()].metric.higher_is_better)
        of_pairs = np.reshape(gains, (-1, 2)).mean(axis=1)
        error = half_width(float(of_pairs.std(ddof=1)) / len(of_pairs) ** 0.5, len(of_pairs) - 1.0)
        half = hypot((exact.high - exact.low) / 2, error)
        found[name] = replace(exact, low=exact.mean - half, high=exact.mean + half)
    return found


def no_input(audited: Audited) -> Outcomes:
    """The outcomes [s u ...] of the models when every modality is absent.

    The prediction is then the same for every example, so the models suffice, except for decoders: their targets are data.
    """
    if any(getattr(model.module, "decoders", True) for _, model in audited.models):
        return audited.predict_subsets([()])[subset_name(())]
    of_fold: dict[int | None, list[Outcomes]] = {}
    for fold, model in audited.models:
        task, units = model.tasks[audited.task_name], audited.units_of(fold)
        rows = int(units.row.max(initial=0)) + 1
        predicted = jax.tree.map(lambda leaf, n=rows: np.repeat(np.asarray(leaf), n, axis=1), _of_nothing(model, task))
        of_fold.setdefault(fold, []).append(outcomes_of(task, predicted, units))
    seeds = [{name: np.concatenate([of[name] for of in parts]) for name in parts[0]} for parts in of_fold.values()]
    return {name: np.concatenate([of[name] for of in seeds], axis=1) for name in seeds[0]}


def _of_nothing(model: SavedModel, task: object) -> object:
    """The predictions [s 1 ...] of one row without any input."""
    inputs = {name: jax.tree.map(lambda leaf: leaf[None], reader.empty) for name, reader in model.readers.items()}
    predict = predict_subsets(model.module, {"task": task}, {"task": ((),)})
    one: Callable = lambda variables, batch: jax.tree.map(lambda leaf: leaf[0], predict(variables, batch)["task"])
    batch = model.batch(inputs, {name: np.zeros(1, bool) for name in inputs})
    return jax.jit(evaluation(one))(model.variables, model.frozen, batch)


def _conclusions(metric: str, found: Mapping[str, Estimate], full: Estimate, empty: Estimate) -> tuple[str, ...]:
    gain = full.mean - empty.mean
    sign = 1 if full.metric.higher_is_better else -1
    order = sorted(found, key=lambda name: -sign * found[name].mean)
    shown = ", ".join(
        f"{name} {with_interval(found[name], '+.3f')}"
        + (f" ({found[name].mean / gain:.0%})" if abs(gain) > 1e-9 else "")
        for name in order
    )
    said = [f"{metric} is {full.mean:.3f} with all modalities and {empty.mean:.3f} without input; of the difference: {shown}."]
    useless = [name for name in order if found[name].low <= 0 <= found[name].high]
    harmful = [name for name in order if sign * (found[name].high if sign > 0 else found[name].low) < 0]
    if useless:
        said.append(f"No contribution of {' and '.join(useless)} is detectable: the interval contains 0.")
    if harmful:
        said.append(f"{metric} is worse with than without {' and '.join(harmful)}, on average over the orders.")
    return tuple(said)
