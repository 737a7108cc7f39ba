"""Conformal prediction sets, and their coverage by group."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mmjax.audit.audit import Audit, interval_panel, with_interval
from mmjax.audit.audited import Audited
from mmjax.audit.by_group import FEW_GROUPS, FEW_UNITS, columns_of
from mmjax.audit.confidence import class_logits
from mmjax.evaluate.statistics import Difference, Estimate, against_zero, combination, holm
from mmjax.metrics.weighted import mean
from mmjax.tasks import panels
from mmjax.types import Metric, Outcomes

__all__ = ["LEVEL", "SETS", "conformal", "softmax", "threshold"]

LEVEL = 0.9


def _covered(outcomes: Outcomes, weight: Any) -> Any:
    return mean(outcomes["covered"], weight)


def _size(outcomes: Outcomes, weight: Any) -> Any:
    return mean(outcomes["size"], weight)


SETS = {"coverage": Metric(_covered), "set size": Metric(_size, higher_is_better=False, bounds=(0, None))}


def conformal(audited: Audited, level: float = LEVEL) -> Audit:
    """Sets of classes that contain the true one with probability `level`, and their coverage by group.

    Split conformal prediction with the score 1 - probability of the class ("least ambiguous sets", Sadinle, Lei and Wasserman,
    2019), calibrated on the validation split, for each seed and fold. The guarantee is marginal, and for exchangeable groups of
    dependent units: values of a column, and splits that differ by more than chance, may have less. level: in (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must be between 0 and 1")
    validation, test = class_logits(audited, "validation"), class_logits(audited, "test")
    units = {part.fold: part.units("validation") for part in audited.parts}
    parts, limits = [], []
    for fold, (logits, label) in test.items():
        calibrated, true = validation[fold]
        scores = 1 - np.take_along_axis(softmax(calibrated), np.broadcast_to(true, calibrated.shape[:2])[..., None], -1)[..., 0]
        own = [threshold(of_seed, level, units[fold].weight, units[fold].group) for of_seed in scores]
        limits += own
        chosen = 1 - softmax(logits) <= np.array(own)[:, None, None]
        covered = np.take_along_axis(chosen, np.broadcast_to(label, logits.shape[:2])[..., None], -1)[..., 0]
        parts.append({"covered": covered.astype(np.float32), "size": chosen.sum(-1).astype(np.float32)})
    outcomes = {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
    found = audited.estimates(outcomes, SETS)
    by_group = _coverage_by_group(audited, outcomes)
    coverage, size = found["coverage"], found["set size"]
    low = _below(by_group, level)
    unlimited = sum(bool(np.isinf(limit)) for limit in limits)
    sizes = outcomes["size"].astype(int)
    weights = np.broadcast_to(audited.units.weight, sizes.shape).ravel() / len(sizes)
    counts = np.bincount(sizes.ravel(), weights)
    return Audit(
        name="conformal",
        title=f"Conformal prediction sets at {level:.0%}",
        conclusions=(
            f"Sets that aim at {level:.0%} contain the true class of {with_interval(coverage, '.1%')} of the units and have "
            f"{with_interval(size, '.2f')} classes.",
            f"Coverage is below {level:.0%} for {', '.join(low)}, corrected for {len(by_group)} groups by Holm's rule."
            if low
            else f"Coverage is not detectably below {level:.0%} in any of {len(by_group)} groups.",
        ),
        estimates=found | {f"coverage, {name}": one for name, one in by_group.items()},
        panels=(
            interval_panel(f"Coverage (aim {level:.2f})", {"all": coverage} | by_group, "coverage"),
            panels.histogram("Set sizes", np.arange(len(counts) + 1), counts, "classes in the set"),
        ),
        note="Split conformal prediction with the score 1 - probability (Sadinle et al., 2019), calibrated on the validation "
        "split, which also selected the step of training.",
        warnings=(f"{unlimited} of {len(limits)} models have too few validation groups: their sets have all classes.",)
        if unlimited
        else (),
        values={"level": level},
    )


def threshold(
    scores: np.ndarray, level: float, weight: np.ndarray | None = None, group: np.ndarray | None = None
) -> float:
    """The smallest calibration score that covers a new unit with probability >= level, infinity if there are too few.

    For n independent units it is the ceil((n + 1) level)-th smallest score (Vovk et al., 2005). Units of one group depend on
    each other, so k groups count as k: the new one adds the weight of a mean group to the total (hierarchical conformal
    prediction, Lee, Barber and Willett, 2023; exact for groups of equal weight). If a few heavy groups have the largest scores,
    the probability is lower.

    scores: Float[u]. weight: Float[u], by default 1. group: Int[u], by default one for each unit.
    """
    weight = np.ones(len(scores)) if weight is None else np.asarray(weight, np.float64)
    group = np.arange(len(scores)) if group is None else np.asarray(group)
    total, groups = weight.sum(), len(np.unique(group[weight > 0]))
    order = np.argsort(scores, kind="stable")
    below = np.cumsum(weight[order])
    enough = below >= level * (total + total / max(groups, 1)) - 1e-9 * total
    return float(scores[order][np.argmax(enough)]) if enough.any() and total > 0 else math.inf


def _coverage_by_group(audited: Audited, outcomes: Outcomes) -> dict[str, Estimate]:
    """The coverage of each value of each column, and of each true class, without those with few units."""
    labels = np.asarray(audited.units.target["name"]).astype(str)
    columns = [(column.name, column.values) for column in columns_of(audited)] + [("class", labels)]
    found = {}
    for name, values in columns:
        for value in np.unique(values[audited.units.weight > 0]).tolist():
            weight = np.where((values == value) & (value != ""), audited.units.weight, 0).astype(np.float32)
            one = audited.estimates(outcomes, {"coverage": SETS["coverage"]}, weight)["coverage"]
            if one.sample.units >= FEW_UNITS and one.sample.groups >= FEW_GROUPS:
                found[f"{name} {value}"] = one
    return found


def _below(coverage: Mapping[str, Estimate], level: float) -> list[str]:
    """The groups whose coverage is below the level, with the coverage, by one-sided tests corrected for their number."""

    def test(one: Estimate) -> Difference:
        gap = against_zero(replace(combination([one], [1]), mean=one.mean - level))
        return replace(gap, p=gap.p / 2 if gap.mean < 0 else 1 - gap.p / 2)

    tests = holm({name: test(one) for name, one in coverage.items()})
    return [f"{name} ({coverage[name].mean:.0%})" for name, gap in tests.items() if gap.verdict == "worse"]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities Float64[... c]."""
    shifted = np.exp(np.float64(logits) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
