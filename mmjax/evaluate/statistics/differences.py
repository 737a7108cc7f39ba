"""Paired differences between two models, their verdicts, and the number of examples or seeds that would settle them."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mmjax.evaluate.statistics.estimates import Estimate, finite
from mmjax.evaluate.statistics.variance import LEVEL, Contributions, Variance, detectable, half_width, p_value, variance

__all__ = ["DOUBLINGS", "MIN_PAIRED_SEEDS", "ROUNDING", "Difference", "difference", "holm"]

ROUNDING = 1e-6  # relative; in float32, equally good models may differ by this
MIN_PAIRED_SEEDS = 5  # with fewer seeds, a paired variance has too few degrees of freedom
DOUBLINGS = 10  # a difference that 1,024 times the present data would not settle counts as one that no data would settle


@dataclass(frozen=True)
class Difference:
    """The difference a - b of two means over seeds, its 95 % interval and its verdict on a.

    p: two-sided. verdict: "better" or "worse" in the direction of the metric; "inconclusive"; "identical" if all outcomes are
    equal. Numbers that are undefined are NaN. variance: None if undefined. units, seeds: their numbers. alpha: the largest p
    that would not be inconclusive; less than 5 % after a correction for several differences.
    """

    mean: float
    low: float
    high: float
    p: float
    verdict: str
    higher_is_better: bool = True
    variance: Variance | None = None
    units: int = 0
    seeds: int = 1
    alpha: float = 1 - LEVEL

    def __str__(self) -> str:
        """ "+0.089 [+0.067, +0.110], better"; an inconclusive difference with what would settle it."""
        text = f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}], {self.verdict}"
        if self.verdict != "inconclusive":
            return text
        needed = ((self.examples_needed, "test units"), (self.seeds_needed, "seeds"))
        needs = " or ".join(f"{number:,} {noun}" for number, noun in needed if number is not None)
        return f"{text} (detectable {self.detectable:.3f}{f'; needs about {needs}' if needs else ''})"

    @property
    def detectable(self) -> float:
        """The difference that would be detected with 80 % power; NaN if the variance is undefined or 0."""
        return detectable(self.variance, self.alpha) if self.variance and self.variance.error > 0 else math.nan

    @property
    def examples_needed(self) -> int | None:
        """Roughly how many test units in total would detect an inconclusive difference with 80 % power; None if no number."""
        return self._needed(self.units, "examples")

    @property
    def seeds_needed(self) -> int | None:
        """The same with more seeds; None as well if both models have one seed."""
        return self._needed(self.seeds, "seeds") if self.seeds > 1 else None

    def to_json(self) -> dict[str, Any]:
        """As `DIFFERENCE` of `mmjax.runs.schema`, with None for NaN."""
        numbers = {name: finite(getattr(self, name)) for name in ("mean", "low", "high", "p", "detectable")}
        needed = {"examples_needed": self.examples_needed, "seeds_needed": self.seeds_needed}
        return numbers | needed | {"verdict": self.verdict}

    def _needed(self, present: int, source: str) -> int | None:
        """The number of units or seeds, to two digits, with which the difference is detectable; None if none suffices."""
        if self.verdict != "inconclusive" or self.variance is None or self.mean == 0:
            return None

        def settles(doublings: float) -> bool:
            return detectable(self.variance.extrapolated(**{source: 2.0**doublings}), self.alpha) <= abs(self.mean)

        low, high = 0.0, float(DOUBLINGS)
        if not settles(high):
            return None
        for _ in range(20):
            middle = (low + high) / 2
            low, high = (low, middle) if settles(middle) else (middle, high)
        number = math.ceil(present * 2.0**high)
        unit = 10 ** max(len(str(number)) - 2, 0)
        return math.ceil(number / unit) * unit


def difference(a: Estimate, b: Estimate) -> Difference:
    """a - b on the same units, paired over groups, and over seeds if both have an equal number of at least MIN_PAIRED_SEEDS.

    Seed k of both models has the same data order and, where the models have the same layers, the same initial weights. Fewer or
    unequal numbers of seeds are treated as independent, which is conservative if they are positively correlated. A
    deterministic baseline has one seed and no variance of seeds. If both have one seed, the result holds for these two
    trainings only. With fewer than two groups, or an undefined metric, the verdict is "inconclusive".
    Raises ValueError if the estimates come from different units, weights, groups or folds.
    """
    if a.sample.fingerprint != b.sample.fingerprint:
        raise ValueError("the estimates come from different units, weights, groups or folds, so they are not paired")
    better = a.metric.higher_is_better
    units, seeds = a.sample.units, max(len(a.per_seed), len(b.per_seed))
    if _coincide(a, b):
        return Difference(0.0, 0.0, 0.0, 1.0, "identical", better, None, units, seeds)
    mean, found = a.mean - b.mean, variance(_contributions(a, b), a.sample.degrees)
    if not math.isfinite(mean) or not math.isfinite(found.total) or a.sample.groups < 2:
        return Difference(mean, math.nan, math.nan, math.nan, "inconclusive", better, None, units, seeds)
    mean = 0.0 if abs(mean) < ROUNDING * max(abs(a.mean), abs(b.mean), 1e-30) else mean
    # If the difference is equal in all groups, their variance is 0, although it may be 0 in the next group.
    found = replace(found, floor=abs(mean) / a.sample.groups)
    p, half = p_value(mean, found.error, found.degrees), half_width(found.error, found.degrees)
    low, high = a.metric.bounds
    span = math.inf if low is None or high is None else float(high - low)
    interval = max(mean - half, -span), min(mean + half, span)
    return Difference(mean, *interval, p, _verdict(mean, p, better), better, found, units, seeds)


def holm(differences: Mapping[Hashable, Difference]) -> dict[Hashable, Difference]:
    """The same differences with p-values adjusted for their number (Holm, 1979), and verdicts by the adjusted p-values.

    The probability of any false verdict among them is then at most 5 %. Intervals are not adjusted. The detectable difference
    and the numbers needed are those of a test at the level that the difference has to reach among the others.
    """
    tested = sorted((key for key in differences if not math.isnan(differences[key].p)), key=lambda key: differences[key].p)
    adjusted, largest = dict(differences), 0.0
    for i, key in enumerate(tested):
        gap = differences[key]
        largest = max(largest, min(1.0, (len(tested) - i) * gap.p))
        verdict = gap.verdict if gap.verdict == "identical" else _verdict(gap.mean, largest, gap.higher_is_better)
        adjusted[key] = replace(gap, p=largest, verdict=verdict)
    left = sum(adjusted[key].p > 1 - LEVEL for key in tested)
    for i, key in enumerate(tested):
        adjusted[key] = replace(adjusted[key], alpha=(1 - LEVEL) / max(len(tested) - i, left))
    return adjusted


def _verdict(mean: float, p: float, higher_is_better: bool) -> str:
    if p > 1 - LEVEL or mean == 0:
        return "inconclusive"
    return "better" if (mean > 0) == higher_is_better else "worse"


def _coincide(a: Estimate, b: Estimate) -> bool:
    """Whether the outcomes of all units are equal: for each seed, or for all seeds of both models."""
    return a.digests == b.digests or len({*a.digests, *b.digests}) == 1


def _contributions(a: Estimate, b: Estimate) -> list[Contributions]:
    """The contributions to a - b: one item for paired seeds, else one per model."""
    x, y = a.contributions, b.contributions
    if len(a.per_seed) == len(b.per_seed) >= MIN_PAIRED_SEEDS:
        return [Contributions(x.influence - y.influence, x.training - y.training, x.folds)]
    return [x, y]

