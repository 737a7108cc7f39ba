"""Groups of test units: scores by the values of metadata columns, gaps, worst groups and fairness."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from mmjax.audit.audit import Audit, NotApplicable, interval_panel, with_interval
from mmjax.audit.audited import Audited
from mmjax.evaluate.statistics import Difference, Estimate, against_zero, combination, holm
from mmjax.metrics.fairness import demographic_parity, equalized_odds, gap, worst
from mmjax.types import Metric, Outcomes

__all__ = ["FEW_GROUPS", "FEW_UNITS", "HIDDEN", "MAX_VALUES", "Column", "brightness", "columns_of", "groups", "length"]

FEW_UNITS, FEW_GROUPS = 30, 10  # a value with fewer units, or fewer groups of dependent units, is small
MAX_VALUES = 20  # a column with more values is not one of groups
HIDDEN = ("id", "group", "text", "row")  # columns that name or describe single examples


@dataclass(frozen=True)
class Column:
    """A column whose values divide the units. name: shown. values: str[u]; "" for units of no group."""

    name: str
    values: np.ndarray


def groups(
    audited: Audited,
    columns: Sequence[str | Column] | None = None,
    metric: str | None = None,
    intersections: bool = True,
    subset: str | None = None,
) -> Audit:
    """A metric for each value of some columns; its gap, the worst value, demographic parity and equalized odds.

    columns: names of metadata columns of the units, or `Column`s such as those of `length` and `brightness`; None for those of
    `columns_of`. metric: by default the headline metric. intersections: also every pair of columns. subset: of the modalities,
    such as "text", that the cell sees; None for all. Small values are shown and flagged, but do not enter gaps and tests. Each
    value is tested against all other units; Holm's rule corrects for the number of tests.
    NotApplicable without such columns, or for a metric that is not smooth in the weights, such as a median. KeyError for a
    subset that was not scored.
    """
    metric = metric or audited.headline
    if metric in audited.metrics and not audited.metrics[metric].smooth:
        raise NotApplicable(f"{metric} is not smooth in the weights of the units, so it cannot be compared between groups")
    chosen = columns_of(audited) if columns is None else [_column(audited, one) for one in columns]
    chosen = [one for one in chosen if len(_values(audited, one)) > 1]
    if not chosen:
        raise NotApplicable(f"the test units of task {audited.task_name} have no column with 2 to {MAX_VALUES} values")
    if intersections:
        chosen += [_crossed(audited, a, b) for a, b in combinations(chosen, 2)]
    seen = audited.complete if subset is None else subset
    if seen not in audited.outcomes:
        raise KeyError(f"no outcomes with {seen!r} are in the run; there are those with {', '.join(audited.outcomes)}")
    outcomes, where = audited.outcomes[seen], "" if seen == audited.complete else f" with {seen}"
    found, drawn, said, values, tests = {}, [], [], {}, {}
    for column in chosen:
        scores, small = _scores(audited, outcomes, column, metric)
        large = {value: one for value, one in scores.items() if value not in small}
        if len(large) < 2:
            continue
        named = {f"{value} ({one.sample.units}{', small' if value in small else ''})": one for value, one in scores.items()}
        drawn.append(interval_panel(f"{metric} by {column.name}{where}", named, metric))
        found |= {f"{column.name}: {value}": one for value, one in scores.items()}
        gaps = audited.estimates(_members(outcomes, column, list(large)), _gaps(audited.metrics[metric], outcomes, len(large)))
        found |= {f"{column.name}: {name}": one for name, one in gaps.items()}
        tests |= {(column.name, value): _test(audited, outcomes, column, value, metric) for value in large}
        values[column.name] = {"small": sorted(small), "units": {value: one.sample.units for value, one in scores.items()}}
        said.append(_conclusion(column.name, f"{metric}{where}", large, gaps))
    if not drawn:
        raise NotApplicable(f"no column has two values with at least {FEW_UNITS} units in {FEW_GROUPS} groups")
    adjusted = holm(tests)
    different = [f"{value} ({name}) {gap.mean:+.3f}" for (name, value), gap in adjusted.items() if gap.verdict in _DECIDED]
    said.insert(0, _verdict(different, len(tests)))
    return Audit(
        name="groups",
        title=f"{metric} by group{where}",
        conclusions=tuple(said),
        estimates=found,
        panels=tuple(drawn),
        note=f"In parentheses the number of units; small: fewer than {FEW_UNITS} units or {FEW_GROUPS} leak-free "
        "groups. A gap, the largest minus the smallest, is above 0 by noise alone. Demographic parity and equalized odds are "
        "those of Fairlearn; with more than two classes, the largest difference of a class against the rest.",
        values={"metric": metric, "columns": values, "tests": {f"{n}: {v}": gap.to_json() for (n, v), gap in adjusted.items()}},
    )


_DECIDED = ("better", "worse")


def columns_of(audited: Audited) -> list[Column]:
    """The metadata columns with 2 to MAX_VALUES values, and the `length` of the text."""
    metadata = audited.units.metadata
    found = [_column(audited, name) for name in sorted(metadata) if name not in HIDDEN]
    if "text" in metadata:
        found.append(length(audited))
    return [one for one in found if 2 <= len(_values(audited, one)) <= MAX_VALUES]


def length(audited: Audited, column: str = "text") -> Column:
    """Units by the number of words of a metadata column: thirds, as equal as whole numbers of words allow."""
    texts = np.asarray(audited.units.metadata[column]).astype(str)
    return Column("words", _thirds(np.array([len(text.split()) for text in texts]), audited.units.weight, "{:.0f}"))


def brightness(audited: Audited, modality: str = "image") -> Column:
    """Units by the mean of their image, from 0 to 1: thirds. NotApplicable if the data have no original images.

    Transparent pixels count as far as they are opaque.
    """
    found = []
    for part in {part.fold: part for part in audited.parts}.values():
        column, rows, units = part.dataset.columns.get(modality), part.dataset.splits["test"], part.units()
        if column is None or column.original is None:
            raise NotApplicable(f"the data have no original images of {modality!r}")
        pointer = np.asarray(rows.pointer[modality])[units.row]
        of_item = {item: _mean_light(column.original(item)) for item in np.unique(pointer[pointer >= 0]).tolist()}
        found.append(np.array([of_item.get(item, np.nan) for item in pointer.tolist()]))
    return Column("brightness", _thirds(np.concatenate(found), audited.units.weight, "{:.2f}"))


def _mean_light(image: Any) -> float:
    """The mean of an image uint8 [h w c] as a fraction of white; NaN if it is no such image or has no opaque pixel."""
    image = np.asarray(image)
    if image.ndim != 3 or image.dtype != np.uint8:
        return float("nan")
    opaque = image[..., 3] / 255 if image.shape[2] == 4 else np.ones(image.shape[:2])
    return float((image[..., :3].mean(axis=2) / 255 * opaque).sum() / opaque.sum()) if opaque.any() else float("nan")


def _thirds(numbers: np.ndarray, weight: np.ndarray, form: str) -> np.ndarray:
    """ "up to a", "a to b", "over b" by the terciles a and b of the units of positive weight; "" for NaN."""
    known = numbers[(weight > 0) & np.isfinite(numbers)]
    if not len(known):
        return np.full(len(numbers), "")
    a, b = np.quantile(known, [1 / 3, 2 / 3], method="inverted_cdf")
    names = [f"up to {form.format(a)}", f"over {form.format(a)}, up to {form.format(b)}", f"over {form.format(b)}"]
    return np.select([np.isnan(numbers), numbers <= a, numbers <= b], ["", names[0], names[1]], names[2])


def _column(audited: Audited, column: str | Column) -> Column:
    if isinstance(column, Column):
        return column
    known = audited.units.metadata
    if column not in known:
        raise KeyError(f"the units of {audited.task_name!r} have no column {column!r}; they have {', '.join(sorted(known))}")
    return Column(column, np.asarray(known[column]).astype(str))


def _values(audited: Audited, column: Column) -> list[str]:
    """The values of units of positive weight."""
    return [value for value in np.unique(column.values[audited.units.weight > 0]).tolist() if value != ""]


def _crossed(audited: Audited, a: Column, b: Column) -> Column:
    """The intersections of two columns."""
    both = np.array([f"{x}, {y}" for x, y in zip(a.values, b.values)])
    return Column(f"{a.name} and {b.name}", np.where((a.values == "") | (b.values == ""), "", both))


def _scores(audited: Audited, outcomes: Outcomes, column: Column, metric: str) -> tuple[dict[str, Estimate], set[str]]:
    """({value: estimate}, the small values), the most frequent value first."""
    scores, small = {}, set()
    for value in _values(audited, column):
        weight = np.where(column.values == value, audited.units.weight, 0).astype(np.float32)
        one = scores[value] = audited.estimate(outcomes, metric, weight)
        if one.sample.units < FEW_UNITS or one.sample.groups < FEW_GROUPS:
            small.add(value)
    order = sorted(scores, key=lambda value: -scores[value].sample.units)
    return {value: scores[value] for value in order}, small


def _members(outcomes: Outcomes, column: Column, values: Sequence[str]) -> Outcomes:
    """The outcomes with "member", the number of each unit's value, -1 for other values."""
    code = np.full(len(column.values), -1)
    for number, value in enumerate(values):
        code[column.values == value] = number
    seeds = len(next(iter(outcomes.values())))
    return {**outcomes, "member": np.broadcast_to(code, (seeds, len(code)))}


def _gaps(metric: Metric, outcomes: Outcomes, count: int) -> dict[str, Metric]:
    found = {"gap": gap(metric, count), "worst": worst(metric, count)}
    if {"label", "predicted"} <= set(outcomes) and outcomes["label"].ndim == 2:
        classes = int(max(outcomes["label"].max(), outcomes["predicted"].max())) + 1
        if classes <= MAX_VALUES:
            found["demographic parity difference"] = demographic_parity(count, classes)
            found["equalized odds difference"] = equalized_odds(count, classes)
    return found


def _test(audited: Audited, outcomes: Outcomes, column: Column, value: str, metric: str) -> Difference:
    """The metric of the units with a value minus that of all other units of the column."""
    own = column.values == value
    weight = lambda chosen: np.where(chosen & (column.values != ""), audited.units.weight, 0).astype(np.float32)
    of = [audited.estimate(outcomes, metric, weight(chosen)) for chosen in (own, ~own)]
    return against_zero(combination(of, [1, -1], of[0].metric.higher_is_better))


def _conclusion(column: str, metric: str, large: Mapping[str, Estimate], gaps: Mapping[str, Estimate]) -> str:
    better = next(iter(large.values())).metric.higher_is_better
    order = sorted(large, key=lambda value: large[value].mean * (1 if better else -1))
    low, high, found = order[0], order[-1], gaps["gap"]
    text = (
        f"By {column}, {metric} is worst for {low} ({large[low].mean:.3f}) and best for {high} ({large[high].mean:.3f}); "
        f"mean gap of a seed {with_interval(found)}"
    )
    rates = [f"{name} {gaps[name].mean:.3f}" for name in gaps if name.endswith("difference")]
    return f"{text}; {', '.join(rates)}." if rates else f"{text}."


def _verdict(different: Sequence[str], tests: int) -> str:
    if not different:
        return f"No value differs detectably from the other units ({tests} tests, corrected by Holm's rule)."
    return f"Different from the other units, after Holm's correction for {tests} tests: {'; '.join(different)}."
