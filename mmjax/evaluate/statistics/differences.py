"""Paired differences between two models, their verdicts, and the data that would settle them."""

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mmjax.evaluate.statistics.estimates import Estimate, finite
from mmjax.evaluate.statistics.variance import LEVEL, Side, Variance, detectable, half_width, p_value, variance

ROUNDING = 1e-6  # of float32: two models that are right equally often may differ by less
PAIRED = 5  # from this number of seeds on, seeds are paired; with fewer, a paired variance has too few degrees of freedom
DOUBLINGS = 30  # beyond 2**30 times the present data, more data are no answer


@dataclass(frozen=True)
class Difference:
    """The difference a - b of two means over seeds, its 95 % interval and its verdict, seen from a.

    p: two-sided. detectable: the difference that would be detected with 80 % power. examples_needed, seeds_needed: roughly how
    many test units, or seeds, in total would detect the observed difference with 80 % power; None if no number would.
    verdict: "better" and "worse" respect the direction of the metric; "identical" if all predictions coincide. Numbers that do
    not exist are NaN.
    """

    mean: float
    low: float
    high: float
    p: float
    detectable: float
    examples_needed: int | None
    seeds_needed: int | None
    verdict: str
    higher_is_better: bool = True

    def to_json(self) -> dict[str, Any]:
        """As `DIFFERENCE` of `mmjax.runs.schema`, with None for NaN."""
        numbers = {name: finite(getattr(self, name)) for name in ("mean", "low", "high", "p", "detectable")}
        needed = {"examples_needed": self.examples_needed, "seeds_needed": self.seeds_needed}
        return numbers | needed | {"verdict": self.verdict}


def difference(a: Estimate, b: Estimate) -> Difference:
    """a - b on the same units, paired over groups, and over seeds if both have the same number of at least PAIRED seeds.

    Equal seed numbers mean equal data order and, as far as the models agree, equal initial weights. Fewer or unequal numbers of
    seeds are treated as independent, which errs on the safe side if they are correlated. A deterministic baseline has one seed
    and no variance of seeds. If both have one seed, the result holds for these two trainings only. A difference with fewer
    than two groups, or of a metric that is undefined, is inconclusive.
    """
    if a.sample.fingerprint != b.sample.fingerprint:
        raise ValueError("the estimates come from different units, weights, groups or folds, so they are not paired")
    better = a.metric.higher_is_better
    if _coincide(a, b):
        return Difference(0.0, 0.0, 0.0, 1.0, math.nan, None, None, "identical", better)
    mean, found = a.mean - b.mean, variance(_sides(a, b), a.sample.degrees)
    if not math.isfinite(mean) or not math.isfinite(found.total) or a.sample.groups < 2:
        return Difference(mean, math.nan, math.nan, math.nan, math.nan, None, None, "inconclusive", better)
    mean = 0.0 if abs(mean) < ROUNDING * max(abs(a.mean), abs(b.mean), 1e-30) else mean
    # If all groups differ equally, no variance is seen; the next group may still show no difference.
    error = max(math.sqrt(found.total), abs(mean) / a.sample.groups)
    p, half = p_value(mean, error, found.degrees), half_width(error, found.degrees)
    low, high = a.metric.bounds
    span = math.inf if low is None or high is None else float(high - low)
    seeds = max(len(a.per_seed), len(b.per_seed))
    return Difference(
        mean,
        max(mean - half, -span),
        min(mean + half, span),
        p,
        detectable(found) if found.total > 0 else math.nan,
        _needed(mean, a.sample.units, lambda more: found.of_more(examples=more)),
        _needed(mean, seeds, lambda more: found.of_more(seeds=more)) if seeds > 1 else None,
        _verdict(mean, p, better),
        better,
    )


def holm(differences: Mapping[Hashable, Difference]) -> dict[Hashable, Difference]:
    """The same differences with p-values adjusted for their number (Holm, 1979), and verdicts by the adjusted p-values.

    The probability of any false verdict among them is then at most 5 %. Intervals stay those of single differences.
    """
    tested = sorted((key for key in differences if not math.isnan(differences[key].p)), key=lambda key: differences[key].p)
    adjusted, largest = dict(differences), 0.0
    for i, key in enumerate(tested):
        gap = differences[key]
        largest = max(largest, min(1.0, (len(tested) - i) * gap.p))
        verdict = gap.verdict if gap.verdict == "identical" else _verdict(gap.mean, largest, gap.higher_is_better)
        adjusted[key] = replace(gap, p=largest, verdict=verdict)
    return adjusted


def _verdict(mean: float, p: float, higher_is_better: bool) -> str:
    if p > 1 - LEVEL or mean == 0:
        return "inconclusive"
    return "better" if (mean > 0) == higher_is_better else "worse"


def _coincide(a: Estimate, b: Estimate) -> bool:
    """Whether all predictions have the same outcomes, seed by seed or for every seed."""
    return a.digests == b.digests or len({*a.digests, *b.digests}) == 1


def _sides(a: Estimate, b: Estimate) -> list[Side]:
    if len(a.per_seed) == len(b.per_seed) >= PAIRED:
        return [Side(a.side.influence - b.side.influence, a.side.training - b.side.training)]
    return [a.side, b.side]


def _needed(difference: float, present: int, at: Callable[[float], Variance]) -> int | None:
    """The number of units or seeds, to two digits, at which `difference` is detectable; `present` if it already is."""
    settles = lambda more: detectable(at(more)) <= abs(difference)
    if difference == 0 or not settles(2.0**DOUBLINGS):
        return None
    if settles(1.0):
        return present
    low, high = 0.0, float(DOUBLINGS)
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if settles(2.0**middle) else (middle, high)
    number = math.ceil(present * 2.0**high)
    unit = 10 ** max(len(str(number)) - 2, 0)
    return math.ceil(number / unit) * unit
