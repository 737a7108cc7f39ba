"""Judges a claim by the paired statistics of a finished run.

Each comparison has an estimate with a 95 % interval and a region where the claim holds, such as "above 0". It is reproduced if
the interval lies in the region, contradicted if it lies outside, and inconclusive otherwise. A claim is reproduced if all its
comparisons are. Since one contradicted comparison is enough to contradict a claim, its p-value is multiplied by the number of
comparisons (Bonferroni), so that a claim that holds is contradicted in at most 5 % of all cases.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mmjax.claims.claim import Better, Cheaper, Claim, ClaimError, Equal, Near
from mmjax.evaluate.statistics import Difference
from mmjax.evaluate.statistics.variance import LEVEL, Variance, detectable, half_width, p_value

__all__ = ["NORMAL", "RULINGS", "Judgement", "Ruling", "judge"]

RULINGS = ("reproduced", "contradicted", "inconclusive")
NORMAL = 1e9  # degrees of freedom of a t distribution that is normal


class Ruling(NamedTuple):
    """The result of one comparison.

    compared: what was compared. found: the estimate with its interval, or a ratio of costs. verdict: one of RULINGS.
    detectable: the difference, for `Near` from the published number, that would have been detected with 80 % power; None if
    that is undefined.
    """

    compared: str
    found: str
    verdict: str
    detectable: float | None = None


class Judgement(NamedTuple):
    """The verdict on a claim, and the rulings that it rests on."""

    verdict: str
    rulings: tuple[Ruling, ...]


@dataclass(frozen=True)
class _Interval:
    """An estimate with its 95 % interval, and the region where the claim holds. p_outside: the p-value of its distance from the
    region, 1 inside of it."""

    compared: str
    low: float
    high: float
    found: str
    region: tuple[float, float]
    p_outside: float
    detectable: float | None


def judge(claim: Claim, results: Any, costs: Mapping[str, Mapping[str, float]]) -> Judgement:
    """The verdict on a claim by the results of its command.

    results: `mmjax.results.Results`. costs: {cell: {"parameters", "flops", "seconds"}} of the cells of `Cheaper` expectations.
    ClaimError if the run has no such cell, baseline, task or metric.
    """
    found: list[_Interval | Ruling] = []
    for expectation in claim.expectations:
        try:
            if isinstance(expectation, Cheaper):
                found += _cheaper(expectation, costs)
            elif isinstance(expectation, Near):
                found.append(_near(expectation, results))
            else:
                found += _differences(expectation, results)
        except KeyError as error:
            raise ClaimError(f"claim {claim.name}: {error.args[0]}") from None
    count = len(found)
    rulings = tuple(one if isinstance(one, Ruling) else _ruling(one, count) for one in found)
    return Judgement(_joint([ruling.verdict for ruling in rulings]), rulings)


def _joint(verdicts: Sequence[str]) -> str:
    """All must be reproduced, and one that is contradicted contradicts the claim."""
    if "contradicted" in verdicts:
        return "contradicted"
    return "reproduced" if set(verdicts) == {"reproduced"} else "inconclusive"


def _ruling(interval: _Interval, count: int) -> Ruling:
    low, high = interval.region
    verdict = "inconclusive"
    if interval.low > low and interval.high < high:
        verdict = "reproduced"
    elif (interval.high <= low or interval.low >= high) and interval.p_outside * count <= 1 - LEVEL:
        verdict = "contradicted"
    return Ruling(interval.compared, interval.found, verdict, interval.detectable)


def _differences(expectation: Better | Equal, results: Any) -> Iterator[_Interval]:
    """A comparison for each rival; improvements are positive, whatever the direction of the metric."""
    if isinstance(expectation, Better):
        rivals, region = (*expectation.than, *expectation.baselines), (expectation.by, math.inf)
    else:
        rivals, region = expectation.to, (-expectation.within, expectation.within)
    for rival in rivals:
        names = expectation.metric, expectation.task
        found = results.compare(expectation.cell, rival, *names, subset=expectation.subset)
        subset = f" with {expectation.subset}" if expectation.subset else ""
        yield _of_difference(f"{expectation.cell} - {rival}, {expectation.metric}{subset}", found, region)


def _of_difference(compared: str, found: Difference, region: tuple[float, float]) -> _Interval:
    sign = 1 if found.higher_is_better else -1
    low, high = sorted((sign * found.low, sign * found.high))
    middle = sign * found.mean
    beyond = max(region[0] - middle, middle - region[1], 0.0)
    if not beyond:
        outside = 1.0
    elif found.verdict == "identical":
        outside = 0.0  # equal predictions have a difference of 0 on any data
    else:
        outside = p_value(beyond, found.variance.error, found.variance.degrees) if found.variance else 1.0
    text = f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
    text = "identical predictions" if found.verdict == "identical" else text
    return _Interval(compared, low, high, text, region, outside, _finite(found.detectable))


def _near(expectation: Near, results: Any) -> _Interval:
    """The interval of one score. Its side towards the region gives the standard error, as for a normal distribution."""
    rows = {row["cell"]: row for row in results.table(expectation.task)}
    score = rows[expectation.cell]
    names = expectation.metric, f"{expectation.metric}_low", f"{expectation.metric}_high"
    mean, low, high = (math.nan if score[name] is None else score[name] for name in names)
    region = expectation.number - expectation.within, expectation.number + expectation.within
    side = mean - low if mean > expectation.number else high - mean
    found = Variance((side / half_width(1.0, NORMAL)) ** 2, 0.0, 0.0, NORMAL, math.inf)
    beyond = max(region[0] - mean, mean - region[1], 0.0)
    outside = p_value(beyond, found.error, NORMAL) if beyond else 1.0
    text = f"{mean:.3f} [{low:.3f}, {high:.3f}], published {expectation.number:g}"
    return _Interval(f"{expectation.cell}, {expectation.metric}", low, high, text, region, outside, _finite(detectable(found)))


def _cheaper(expectation: Cheaper, costs: Mapping[str, Mapping[str, float]]) -> Iterator[Ruling]:
    """Ratios of costs, which are measured and have no interval."""
    for rival in expectation.than:
        ours, theirs = (costs[name][expectation.cost] for name in (expectation.cell, rival))
        verdict = "reproduced" if ours <= expectation.ratio * theirs else "contradicted"
        shown = f"{ours / theirs:.3g} of them ({ours:.3g} and {theirs:.3g}; at most {expectation.ratio:g} expected)"
        yield Ruling(f"{expectation.cell} / {rival}, {expectation.cost}", shown, verdict)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
