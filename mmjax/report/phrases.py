"""Verdicts in words: one cell against several rivals, several cells against one, and the data to settle inconclusive ones."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmjax.report.numbers import UNIT, Bounds, exists, rough, span
from mmjax.report.rows import TaskTable

__all__ = ["MAX_INTERVALS", "Differences", "all_better", "join", "one_cell", "power", "several_cells", "tone", "undecided"]

Differences = Mapping[str, Mapping[str, Any]]
"""{name: DIFFERENCE of results.json}"""
MAX_INTERVALS = 3  # for more differences, their range is given instead of each interval


def join(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def tone(differences: Iterable[Mapping[str, Any]]) -> str:
    """The least favourable of these verdicts."""
    verdicts = {difference["verdict"] for difference in differences}
    return next((verdict for verdict in ("worse", "inconclusive", "better") if verdict in verdicts), "inconclusive")


def all_better(differences: Differences) -> bool:
    """Whether every verdict is "better"."""
    return all(difference["verdict"] == "better" for difference in differences.values())


def one_cell(table: TaskTable, subject: str, every: str, differences: Differences) -> str:
    """One cell against each rival; rivals that it does not beat come first.

    subject: the name of the cell. every: a phrase for all rivals, such as "every baseline". differences: by rival.
    """
    of = _by_verdict(differences)
    beaten = join([f"{name} by {table.text(table.gain(difference))}" for name, difference in of["better"].items()])
    if all_better(differences):
        return f"{subject} beats {f'{every}: ' if len(differences) > 1 else ''}{beaten}."
    clauses = []
    if of["worse"]:
        lost = [f"{name} by {table.text(table.loss(difference))}" for name, difference in of["worse"].items()]
        clauses.append(f"is worse than {join(lost)}")
    if of["inconclusive"]:
        unclear = [f"{name} {undecided(table, [difference])}" for name, difference in of["inconclusive"].items()]
        clauses.append(f"is inconclusive against {join(unclear)}")
    if of["identical"]:
        clauses.append(f"makes the same predictions as {join(list(of['identical']))}")
    if of["better"]:
        clauses.append(f"beats {beaten}")
    if len(differences) == 1:
        return f"{subject} {clauses[0]}."
    return f"{subject} is not shown to beat {every}: it {'; it '.join(clauses)}."


def several_cells(table: TaskTable, rival: str, differences: Differences) -> str:
    """Several cells against one rival, grouped by verdict. differences: by cell."""
    parts, of = [], _by_verdict(differences)
    for verdict in ("better", "identical", "inconclusive", "worse"):
        names, values = list(of[verdict]), list(of[verdict].values())
        if not names:
            continue
        if verdict == "identical":
            parts.append(f"{join(names)} {'makes' if len(names) == 1 else 'make'} the same predictions")
            continue
        text = f"{join(names)} {'is' if len(names) == 1 else 'are'} {verdict}"
        if verdict == "inconclusive":
            parts.append(f"{text} {undecided(table, values)}")
            continue
        amounts = [table.gain(value) if verdict == "better" else table.loss(value) for value in values]
        if len(amounts) <= MAX_INTERVALS:
            by = join([table.text(amount) for amount in amounts])
        else:
            by = span([amount["mean"] for amount in amounts], table.bounds())
        parts.append(f"{text} by {by}")
    return f"Against {rival}, {'; '.join(parts)}."


def undecided(table: TaskTable, differences: Sequence[Mapping[str, Any]], metric: str | None = None) -> str:
    """Inconclusive differences, the detectable difference, and the data that would settle them.

    `(difference +0.012 [-0.018, +0.042]; detectable with 80 % power: 0.042; needs about 1,900 test units or 12 seeds)`.
    Several differences are given as ranges.
    """
    shown = [f"difference {table.text(differences[0], metric, signed=True)}"] if len(differences) == 1 else []
    return f"({'; '.join([*shown, *power(differences, table.bounds(metric))])})"


def power(differences: Sequence[Mapping[str, Any]], bounds: Bounds) -> list[str]:
    """The detectable difference and the data that would settle the observed one; ranges for several differences.

    If its interval excludes 0, a difference is inconclusive only because of Holm's correction; its p-value is given as well.
    """
    notes = []
    detectable = [difference["detectable"] for difference in differences if exists(difference["detectable"])]
    if detectable:
        notes.append(f"detectable with 80 % power: {span(detectable, bounds)}")
    corrected = [difference for difference in differences if _excludes_zero(difference)]
    if corrected:
        some = f"{len(corrected)} of the {len(differences)}: " if len(corrected) < len(differences) else ""
        notes.append(f"{some}p {span([difference['p'] for difference in corrected], UNIT)} after Holm's correction")
    needed = [
        f"{rough(counts)} {noun}"
        for key, noun in (("examples_needed", "test units"), ("seeds_needed", "seeds"))
        if (counts := [difference[key] for difference in differences if difference[key] is not None])
    ]
    if needed:
        can = sum({difference["examples_needed"], difference["seeds_needed"]} != {None} for difference in differences)
        some = f"{can} of the {len(differences)} need" if can < len(differences) else "needs" if can == 1 else "need"
        notes.append(f"{some} about {' or '.join(needed)}")
    elif any(difference["mean"] and exists(difference["detectable"]) for difference in differences):
        notes.append(f"{'needs' if len(differences) == 1 else 'need'} both more test units and more seeds")
    return notes


def _excludes_zero(difference: Mapping[str, Any]) -> bool:
    low, high = difference["low"], difference["high"]
    return exists(low) and exists(high) and (low > 0 or high < 0)


def _by_verdict(differences: Differences) -> dict[str, dict[str, Mapping[str, Any]]]:
    return {
        verdict: {name: difference for name, difference in differences.items() if difference["verdict"] == verdict}
        for verdict in ("worse", "inconclusive", "identical", "better")
    }
