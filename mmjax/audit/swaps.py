"""Inputs of other examples: how much is lost with a wrong input, and which modality decides if two contradict each other."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from mmjax.audit.audit import Audit, NotApplicable, interval_panel
from mmjax.audit.audited import Audited
from mmjax.audit.part import AuditedPart
from mmjax.data.dataset import Dataset
from mmjax.evaluate.statistics import Estimate, combination, of_pairs
from mmjax.evaluate.statistics.differences import ROUNDING
from mmjax.types import Units

__all__ = ["Key", "conflict", "partners", "swapped", "wrong_pairs"]


def wrong_pairs(audited: Audited, metric: str | None = None, seed: int = 0) -> Audit:
    """A metric when one modality comes from another test example, for each modality: what the model loses by it.

    The other example is of another leak-free group; each input is used once. Examples without the modality, and those for which
    no other example is left because most are of their group, stay as they are; the conclusion gives the share of the others.
    The intervals account for the groups of both examples (`of_pairs`), except those of a metric that is not smooth.
    metric: by default the headline metric. seed: of the pairs.
    """
    metric = metric or audited.headline
    names = tuple(audited.complete.split("+"))
    full = audited.estimate(audited.outcomes[audited.complete], metric)
    group = np.arange(len(audited.units.weight)) if full.metric.smooth else None  # without influences, the own groups alone
    by_unit = lambda outcomes: audited.estimate(outcomes, metric, group=group)
    found, said = {"right inputs": full}, []
    for name in names:
        source, share = _sources(audited, name, seed)
        if not share:
            said.append(f"No test example can get the {name} of another group.")
            continue
        groups = audited.units.group, source
        interval = lambda one, of=groups: of_pairs(one, audited.units.weight, *of) if one.metric.smooth else one
        changed = by_unit(audited.scored(audited.predictions(change=_change(audited, name, _groups, seed))))
        wrong = found[f"wrong {name}"] = interval(changed)
        lost = _verdict(changed, by_unit(audited.outcomes[audited.complete]), interval)
        where = "" if share > 1 - 1e-6 else f" in {share:.0%} of the examples"
        text = f"With the {name} of another example{where}, {metric} is {wrong.mean:.3f} instead of {full.mean:.3f} ({lost})"
        without = "+".join(other for other in names if other != name)
        if without in audited.outcomes:
            missing = found[f"no {name}"] = audited.estimate(audited.outcomes[without], metric)
            against = _verdict(changed, by_unit(audited.outcomes[without]), interval)
            text += f"; without any, {missing.mean:.3f} ({_against_missing(against)})"
        said.append(f"{text}.")
    return Audit(
        name="wrong_pairs",
        title=f"Wrong inputs and {metric}",
        conclusions=tuple(said),
        estimates=found,
        panels=(interval_panel(f"{metric} with wrong inputs", found, metric),),
        note="Wrong inputs come from a test example of another group. A model that ignores a modality loses nothing. Intervals "
        "account for the groups of both examples (Aronow, Samii and Assenova, 2015), if the metric is smooth.",
        values={"metric": metric, "seed": seed},
    )


def conflict(audited: Audited, metric: str | None = None, seed: int = 0) -> Audit:
    """Whose reference answer a model gives when one modality contradicts the others.

    One modality of each test example is exchanged for that of an example with another reference answer. The answers are scored
    against the example's own reference, which the other modalities suggest, and against that of the exchanged input.
    The intervals account for the groups of both examples (`of_pairs`).
    metric, seed: as in `wrong_pairs`.
    """
    metric = metric or audited.headline
    names = tuple(audited.complete.split("+"))
    if len(names) < 2:
        raise NotApplicable(f"task {audited.task_name} of cell {audited.cell} has a single modality, which nothing contradicts")
    found, shown, said = {}, {}, []
    for name in names:
        predicted = audited.predictions(change=_change(audited, name, _references, seed))
        exchanged = {part.fold: _exchanged(part, name, names, seed) for part in audited.parts}
        weight = np.concatenate([of[1] for of in exchanged.values()])
        groups = audited.units.group, np.concatenate([of[2] for of in exchanged.values()])
        if not weight.any():
            raise NotApplicable(f"no test example can get the {name} of an example with another reference answer")
        own = audited.scored(predicted, lambda part, of=exchanged: of[part.fold][0])
        others = audited.scored(predicted)
        by_unit = [audited.estimate(of, metric, weight, np.arange(len(weight))) for of in (own, others)]
        if not by_unit[0].metric.smooth:
            raise NotApplicable(f"{metric} is not smooth, so it has no interval for pairs of examples")
        better = by_unit[0].metric.higher_is_better
        all_of = (*by_unit, combination(by_unit, [1, -1], better))
        follows, rest, gap = (of_pairs(one, weight, *groups) for one in all_of)
        label = " and ".join(other for other in names if other != name)
        scores = {f"{name} of another: as {name}": follows, f"{name} of another: as {label}": rest}
        shown |= scores
        found |= scores | {f"{name} of another: difference": gap}
        decided = gap.low > 0 or gap.high < 0  # not where there is no interval
        side = (name if (gap.mean > 0) == better else label) if decided else "undecided"
        said.append(
            f"If {name} contradicts {label}, answers have {metric} {follows.mean:.3f} by the reference of {name} and "
            f"{rest.mean:.3f} by that of {label}: {'neither dominates' if side == 'undecided' else f'{side} dominates'}."
        )
    return Audit(
        name="conflict",
        title="Modalities that contradict each other",
        conclusions=tuple(said),
        estimates=found,
        panels=(interval_panel(f"{metric} by each reference", shown, metric),),
        note="One modality comes from a test example with another reference answer. Intervals account for the groups of both "
        "examples (Aronow, Samii and Assenova, 2015).",
        values={"metric": metric, "seed": seed},
    )


def partners(key: Int[np.ndarray, " n"], eligible: Bool[np.ndarray, " n"], seed: int = 0) -> Int[np.ndarray, " n"]:
    """For each eligible row another one with a different key, -1 if there is none; no row is used twice.

    Rows in random order are sorted by key and shifted by the size of the largest key. Rows of a key that more than half of the
    rows have cannot all have partners.
    """
    found = np.full(len(key), -1)
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(eligible))
    if not len(rows):
        return found
    names, code = np.unique(key[rows], return_inverse=True)
    order = np.random.default_rng(seed + 1).permutation(len(names))[code]  # keys in random order
    rows = rows[np.argsort(order, kind="stable")]
    shift = int(np.bincount(code).max())
    other = rows[(np.arange(len(rows)) + shift) % len(rows)]
    found[rows] = np.where(key[rows] != key[other], other, -1)
    return found


def swapped(dataset: Dataset, modality: str, partner: Int[np.ndarray, " n"]) -> Dataset:
    """The data whose test rows have one modality of their partners; rows with partner -1 stay as they are."""
    rows = dataset.splits["test"]
    old = np.asarray(rows.pointer[modality])
    pointer = {**rows.pointer, modality: np.where(partner >= 0, old[partner], old)}
    return replace(dataset, splits={**dataset.splits, "test": rows.replace(pointer=pointer)})


Key = Callable[[Units, int], Int[np.ndarray, " n"]]
"""(units, number of rows) -> the key of each row; rows of equal keys are no partners."""


def _groups(units: Units, rows: int) -> np.ndarray:
    """The leak-free group of each row; rows without units have keys of their own."""
    found = -1 - np.arange(rows)
    found[units.row] = np.unique(units.group, return_inverse=True)[1]
    return found


def _references(units: Units, rows: int) -> np.ndarray:
    """A code for the reference answer of each row. NotApplicable if a row has several."""
    if len(np.unique(units.row)) < len(units.row):
        raise NotApplicable("a test example has several reference answers, so its input has no single one")
    flat = np.concatenate([np.asarray(of).reshape(len(units.row), -1).astype(str) for of in units.target.values()], axis=1)
    found = -1 - np.arange(rows)
    found[units.row] = np.unique(flat, axis=0, return_inverse=True)[1].reshape(-1)
    return found


def _partner(task: Any, dataset: Dataset, modality: str, key: Key, seed: int) -> np.ndarray:
    """The partner of each test row that has the modality and a unit that counts; -1 for the others. Partners are such rows too:
    another row may have no reference answer, or the same input."""
    rows, units = dataset.splits["test"], task.units(dataset, "test")
    counts = np.zeros(len(rows), bool)
    counts[units.row[np.asarray(units.weight) > 0]] = True
    there = counts & (np.asarray(rows.pointer[modality]) >= 0) & (np.asarray(rows.weight) > 0)
    return partners(key(units, len(rows)), there, seed)


def _change(audited: Audited, modality: str, key: Key, seed: int) -> Callable[[Dataset], Dataset]:
    """The exchange of one modality in the data of any fold."""
    task = audited.parts[0].task
    return lambda dataset: swapped(dataset, modality, _partner(task, dataset, modality, key, seed))


def _exchanged(part: AuditedPart, modality: str, names: Sequence[str], seed: int) -> tuple[Units, np.ndarray, np.ndarray]:
    """(the units with the reference answers of their partners; their weights, 0 without a partner or another modality; the
    groups of the partners)."""
    units, rows = part.units(), part.dataset.splits["test"]
    partner = _partner(part.task, part.dataset, modality, _references, seed)[units.row]
    others = np.any([np.asarray(rows.pointer[name])[units.row] >= 0 for name in names if name != modality], axis=0)
    unit_of_row = np.zeros(len(rows), int)
    unit_of_row[units.row] = np.arange(len(units.row))
    donor = unit_of_row[np.maximum(partner, 0)]
    given = {name: np.asarray(of)[donor] for name, of in units.target.items()}
    weight = np.where((partner >= 0) & others, units.weight, 0).astype(np.float32)
    return units._replace(target=given), weight, units.group[donor]


def _sources(audited: Audited, modality: str, seed: int) -> tuple[Int[np.ndarray, " u"], float]:
    """(the group that the modality of each unit comes from in `wrong_pairs`, its own without a partner; the share of the weight
    of the units with a partner)."""
    found, changed = [], []
    for part in {part.fold: part for part in audited.parts}.values():
        units = part.units()
        partner = _partner(part.task, part.dataset, modality, _groups, seed)
        source = np.where(partner >= 0, partner, np.arange(len(partner)))[units.row]
        group = np.zeros(len(partner), units.group.dtype)
        group[units.row] = units.group
        found.append(group[source])
        changed.append(np.where(partner[units.row] >= 0, units.weight, 0))
    total = float(np.sum(audited.units.weight))
    return np.concatenate(found), float(np.concatenate(changed).sum()) / max(total, 1e-30)


def _verdict(a: Estimate, b: Estimate, interval: Callable[[Estimate], Estimate]) -> str:
    """That of a `Difference` a - b of the same models, from its interval."""
    if a.digests == b.digests:
        return "identical"
    if abs(a.mean - b.mean) < ROUNDING * max(abs(a.mean), abs(b.mean), 1e-30):
        return "inconclusive"
    gap = interval(combination([a, b], [1, -1], a.metric.higher_is_better))
    if not (gap.low > 0 or gap.high < 0):  # also where there is no interval
        return "inconclusive"
    return "better" if (gap.mean > 0) == a.metric.higher_is_better else "worse"


def _against_missing(verdict: str) -> str:
    """What a difference between a wrong and a missing input says."""
    return {
        "worse": "a wrong one is worse than none",
        "better": "a wrong one is better than none",
        "identical": "the same",
        "inconclusive": "no difference is detectable",
    }[verdict]
