"""Robustness curves of a trained cell: its headline metric on corrupted inputs and with missing modalities."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from mmjax.audit.audit import Audit, NotApplicable, with_interval
from mmjax.audit.audited import Audited
from mmjax.audit.changed import Changed, unchanged
from mmjax.data.dataset import Dataset
from mmjax.evaluate.statistics import Difference, Estimate, combination, difference
from mmjax.metrics.robustness import trapezoids
from mmjax.robust.corruptions import SEVERITIES, corrupted, suite
from mmjax.tasks import panels

__all__ = ["ALL", "CURVES", "MISSING", "ROWS", "corruptions", "effective", "missing_rates", "without"]

ROWS = 128  # test rows of each fold
MISSING = (0.0, 0.25, 0.5, 0.75, 1.0)
ALL = "all modalities"
CURVES = 4  # corruptions in one panel; more are hard to tell apart


def corruptions(
    audited: Audited,
    suites: Mapping[str, Mapping[str, Any]] | None = None,
    rows: int = ROWS,
    seed: int = 0,
    reference: Audited | None = None,
) -> Audit:
    """The headline metric on corrupted test inputs at severities 0 to 5, for every modality, and for all of them at once.

    suites: {modality: {name: corruption}}; None for those that fit the data (`robust.corruptions.suite`). With several
    modalities, the first corruption of each, mostly noise, is also applied to all of them together. rows: the largest number
    of test rows, drawn at random. seed: of the rows and of the corruptions, which are the same for all seeds of the cell.
    reference: another cell with the same data and modalities, such as late fusion, for the effective robustness against it.

    values: {"severities", "curves": {corruption: an estimate at each severity}}, and with a reference "effective": {modality:
    the difference}. The estimates have, for each modality and for all, the mean over its corruptions at each severity ("image,
    severity 5"), relative robustness and the accumulated change as MultiBench defines them (`metrics.robustness`). MultiBench's
    own curves have other levels, so only areas and sums of equal levels compare.
    NotApplicable if no corruption fits or the reference lacks a modality; KeyError for another modality; ValueError if the
    reference has other test units.
    """
    headline, data = audited.headline, audited.parts[0].dataset
    found = {name: suite(data.columns[name]) for name in audited.modalities} if suites is None else dict(suites)
    if unknown := sorted(set(found) - set(audited.modalities)):
        raise KeyError(f"suites has {unknown[0]!r}; the modalities of cell {audited.cell} are {', '.join(audited.modalities)}")
    found = {name: of for name, of in found.items() if of}
    if reference is not None and (missing := sorted(set(found) - set(reference.modalities))):
        raise NotApplicable(f"the reference, cell {reference.cell}, lacks {missing[0]}")
    if not found:
        raise NotApplicable(f"no corruption fits the inputs of cell {audited.cell}: {', '.join(audited.modalities)}")
    curves, names = _corrupted(audited, found, rows, seed), [*found, *([ALL] if len(found) > 1 else [])]
    clean, means = next(iter(curves.values()))[0], _means(curves, names)
    gaps = {}
    if reference is not None:
        others = _means(_corrupted(reference, found, rows, seed), names)
        gaps = {name: effective(means[name], others[name]) for name in names}
    return Audit(
        name="corruptions",
        title="Corrupted inputs",
        conclusions=(*_conclusions(headline, curves, means, clean), *_against(reference, gaps)),
        warnings=_flat(curves),
        estimates={"clean": clean} | _summaries(means, range(6), "severity"),
        panels=(
            _lines(f"{headline}, mean over corruptions", means, [0, *SEVERITIES], "severity", headline),
            *([_effective_bars(reference, gaps)] if reference is not None else []),
            *(panel for name in found for panel in _curves(headline, name, _of(curves, name))),
            *(_table(headline, name, _of(curves, name)) for name in found),
        ),
        note=f"{headline} on {clean.sample.units} units, with 95 % intervals. Images have the corruptions of ImageNet-C or "
        "CIFAR-10-C (Hendrycks and Dietterich, 2019), except that frost is drawn; sounds, texts and series have ours "
        "(mmjax.robust.corruptions). Vectors, such as features of a frozen encoder, are corrupted themselves, not the inputs "
        "that they come from. Relative robustness, accumulated change, effective robustness: Liang et al., 2021 (MultiBench).",
        values={
            "severities": [0, *SEVERITIES],
            "curves": {name: [one.to_json() for one in curve] for name, curve in curves.items()},
        }
        | ({"effective": {name: gap.to_json() for name, gap in gaps.items()}} if reference is not None else {}),
    )


def _corrupted(audited: Audited, suites: Mapping[str, Mapping[str, Any]], rows: int, seed: int) -> dict[str, list[Estimate]]:
    """{"modality: corruption": the estimate at each severity}, and of the first corruptions of all modalities at once."""
    plans = {f"{name}: {kind}": {name: change} for name, of in suites.items() for kind, change in of.items()}
    if len(suites) > 1:
        first = {name: next(iter(of)) for name, of in suites.items()}
        plans[f"{ALL}: {', '.join(dict.fromkeys(first.values()))}"] = {name: suites[name][kind] for name, kind in first.items()}
    test = Changed(audited, rows, seed)
    return {
        name: test.estimates([unchanged, *(partial(corrupted, changes=changes, severity=s, seed=seed) for s in SEVERITIES)])
        for name, changes in plans.items()
    }


def missing_rates(audited: Audited, rates: Sequence[float] = MISSING, rows: int = ROWS, seed: int = 0) -> Audit:
    """The headline metric when each test input is missing with a rate, for every modality, and for all of them at once.

    rates: ascending, the first 0. An input that is missing at a rate is missing at all higher ones. At rate 1 for all
    modalities, nothing is left. rows, seed: as in `corruptions`.
    """
    if not rates or rates[0] != 0 or list(rates) != sorted(rates) or rates[-1] > 1:
        raise ValueError(f"rates are {list(rates)}; they must ascend from 0 to at most 1")
    test, headline = Changed(audited, rows, seed), audited.headline
    groups = {name: (name,) for name in audited.modalities}
    if len(audited.modalities) > 1:
        groups[ALL] = audited.modalities
    curves = {
        name: test.estimates([partial(without, modalities=of, rate=rate, seed=seed) for rate in rates])
        for name, of in groups.items()
    }
    clean = next(iter(curves.values()))[0]
    ends = {name: difference(curve[-1], clean) for name, curve in curves.items()}
    worst = min(audited.modalities, key=lambda name: _goodness(curves[name][-1]))
    return Audit(
        name="missing_rates",
        title="Missing inputs",
        conclusions=(
            f"Of single modalities, {headline} suffers most without {worst}: {clean.mean:.3f} with all inputs, "
            f"{curves[worst][-1].mean:.3f} if {100 * rates[-1]:g} % of {worst} is missing ({ends[worst].verdict}).",
        ),
        estimates={"complete": clean} | _summaries(curves, rates, "missing rate"),
        panels=(_lines(f"{headline} with missing inputs", curves, list(rates), "share of inputs that is missing", headline),),
        note=f"{headline} on {len(test.weight)} units; inputs are masked independently of each other.",
        values={"rates": list(rates), "curves": {name: [one.mean for one in curve] for name, curve in curves.items()}},
    )


def without(dataset: Dataset, modalities: Sequence[str], rate: float, seed: int = 0) -> Dataset:
    """The data whose test rows lack these modalities, each with this probability. Rows are nested in the rate."""
    rows = dataset.splits["test"]
    pointer = dict(rows.pointer)
    for name in modalities:
        draws = np.random.default_rng([seed, *name.encode()]).random(len(rows))
        pointer[name] = np.where(draws < rate, -1, np.asarray(rows.pointer[name])).astype(np.asarray(rows.pointer[name]).dtype)
    return dataclasses.replace(dataset, splits={**dataset.splits, "test": rows.replace(pointer=pointer)})


def effective(curve: Sequence[Estimate], reference: Sequence[Estimate]) -> Difference:
    """Effective robustness (`metrics.robustness.effective_robustness`) as a paired `Difference` with its interval.

    curve, reference: the estimates of two cells on the same units at the same levels, the first without corruption.
    `corruptions(cell, reference=other)`, or `python -m mmjax.audit RUN CELL corruptions --reference OTHER`, has it for each
    modality, and in the report.
    """
    return difference(_change(curve), _change(reference))


def _change(curve: Sequence[Estimate]) -> Estimate:
    """The accumulated change."""
    return combination(curve, [1.0 - len(curve), *[1.0] * (len(curve) - 1)], curve[0].metric.higher_is_better)


def _area(curve: Sequence[Estimate]) -> Estimate:
    """Relative robustness."""
    return combination(curve, trapezoids(len(curve)).tolist(), curve[0].metric.higher_is_better)


def _means(curves: Mapping[str, Sequence[Estimate]], names: Sequence[str]) -> dict[str, list[Estimate]]:
    """The mean curve of the corruptions of each modality."""
    return {name: [_mean(level) for level in zip(*_of(curves, name).values(), strict=True)] for name in names}


def _of(curves: Mapping[str, Sequence[Estimate]], name: str) -> dict[str, Sequence[Estimate]]:
    """{corruption: curve} of one modality, or of all of them."""
    return {key.partition(": ")[2]: curve for key, curve in curves.items() if key.startswith(f"{name}: ")}


def _mean(level: Sequence[Estimate]) -> Estimate:
    """The mean over corruptions; its interval is within the bounds of the metric, too."""
    if len(level) == 1:
        return level[0]
    found = combination(level, [1 / len(level)] * len(level), level[0].metric.higher_is_better)
    low, high = level[0].metric.bounds
    return dataclasses.replace(
        found,
        low=found.low if low is None else float(np.maximum(found.low, low)),
        high=found.high if high is None else float(np.minimum(found.high, high)),
    )


def _summaries(curves: Mapping[str, Sequence[Estimate]], levels: Any, word: str) -> dict[str, Estimate]:
    found = {}
    for name, curve in curves.items():
        found |= {f"{name}, {word} {level:g}": one for level, one in list(zip(levels, curve))[1:]}
        found |= {f"{name}, relative robustness": _area(curve), f"{name}, accumulated change": _change(curve)}
    return found


def _goodness(estimate: Estimate) -> float:
    """The mean, higher for a better one; undefined values are best, so that they are never the worst."""
    if not np.isfinite(estimate.mean):
        return np.inf
    return estimate.mean if estimate.metric.higher_is_better else -estimate.mean


def _conclusions(
    headline: str, curves: Mapping[str, Sequence[Estimate]], means: Mapping[str, Sequence[Estimate]], clean: Estimate
) -> tuple[str, ...]:
    """The mean curve of each modality, and its most harmful corruption."""
    said = []
    for name, curve in means.items():
        own = _of(curves, name)
        same = all(of[-1].digests == clean.digests for of in own.values())  # a mean over corruptions has none of its own
        verdict = "identical" if same else difference(curve[-1], clean).verdict
        text = f"With {name} corrupted, {headline} goes from {clean.mean:.3f} to {curve[1].mean:.3f} at severity 1 and "
        text += f"{curve[-1].mean:.3f} at severity 5 ({verdict})"
        if len(own) > 1:
            worst = min(own, key=lambda kind: _goodness(own[kind][-1]))
            text += f"; the most harmful of its {len(own)} corruptions is {worst.replace('_', ' ')}, {own[worst][-1].mean:.3f}"
        else:
            text += f"; by {next(iter(own)).replace('_', ' ')}"
        said.append(text + ".")
    return tuple(said)


def _flat(curves: Mapping[str, Sequence[Estimate]]) -> tuple[str, ...]:
    """A warning about corruptions that do the same at every severity."""
    alike = lambda curve: len({one.per_seed for one in curve[1:]}) == 1 and curve[1].per_seed != curve[0].per_seed
    flat = [name.replace("_", " ") for name, curve in curves.items() if alike(curve)]
    return (f"These do equal harm at all severities, so their levels do not fit the data: {'; '.join(flat)}.",) if flat else ()


def _curves(headline: str, modality: str, curves: Mapping[str, Sequence[Estimate]]) -> list[dict[str, Any]]:
    """The curves of the corruptions of a modality with their intervals, a few in each panel."""
    named, found = [(kind.replace("_", " "), curve) for kind, curve in curves.items()], []
    for first in range(0, len(named), CURVES):
        some = dict(named[first : first + CURVES])
        found.append(_lines(f"{headline} by corruption: {modality}", some, [0, *SEVERITIES], "severity", headline))
    return found


def _table(headline: str, modality: str, curves: Mapping[str, Sequence[Estimate]]) -> dict[str, Any]:
    names, columns = [kind.replace("_", " ") for kind in curves], [str(s) for s in (0, *SEVERITIES)]
    means = np.array([[one.mean for one in curve] for curve in curves.values()])
    return panels.matrix(f"{headline}: {modality}", names, columns, means, "", "severity")


def _against(reference: Audited | None, gaps: Mapping[str, Difference]) -> list[str]:
    """What the effective robustness against a reference says."""
    return [
        f"With {name} corrupted, effective robustness against {reference.cell} is {with_interval(gap, '+.3f')} ({gap.verdict})."
        for name, gap in gaps.items()
    ]


def _effective_bars(reference: Audited, gaps: Mapping[str, Difference]) -> dict[str, Any]:
    ends = ([getattr(gap, key) for gap in gaps.values()] for key in ("mean", "low", "high"))
    return panels.intervals(f"Effective robustness against {reference.cell}", list(gaps), *ends, "sum over severities")


def _lines(title: str, curves: Mapping[str, Sequence[Estimate]], x: Any, x_label: str, y_label: str) -> dict[str, Any]:
    end: Callable[[str], np.ndarray] = lambda key: np.array([[getattr(one, key) for one in curve] for curve in curves.values()])
    return panels.lines(title, list(curves), x, end("mean"), end("low"), end("high"), x_label, y_label)
