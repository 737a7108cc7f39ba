"""The conclusions of a run in sentences: warnings, fusion against single modalities, baselines, then notes.

Every number is copied from results.json. An inconclusive verdict comes with the detectable difference and with the number of
examples or seeds that would settle it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmjax.report.phrases import all_better, join, one_cell, several_cells, tone, undecided
from mmjax.report.rows import SHOWN_METRICS, Row, TaskTable, folds_text

__all__ = ["Sentence", "run_sentences", "selected_cell", "task_sentences"]


class Sentence(NamedTuple):
    """tone: "warning", "better", "worse", "inconclusive" or "note"; it selects the mark and the colour."""

    tone: str
    text: str


def task_sentences(results: Mapping[str, Any], name: str) -> list[Sentence]:
    """The conclusions on one task: warnings first, then fusion, baselines and further comparisons."""
    table = TaskTable(results, name)
    chosen, how = selected_cell(table)
    multimodal = [row.name for row in table.rows if row.kind == "multimodal"]
    sentences = [Sentence("warning", text) for text in table.task["warnings"]]
    if chosen and multimodal and chosen not in multimodal:
        text = f"{_scored(table, chosen, how)} has a single modality."
        sentences.append(Sentence("note", text))
    fusion = _single_modalities(table, multimodal, chosen, how)
    cells = [row.name for row in table.rows if row.kind != "baseline"]
    how = "" if any(sentence.tone != "note" for sentence in fusion) else how  # the first verdict gives the score
    sentences += fusion + _verdicts(table, "baseline", "every baseline", cells, "cell", chosen, how)
    for rival, differences in table.differences("cell").items():
        sentences.append(Sentence(tone(differences.values()), several_cells(table, rival, differences)))
    return sentences + _other_metrics(table, chosen)


def run_sentences(results: Mapping[str, Any]) -> list[Sentence]:
    """Notes on the whole run: comparisons, seeds, folds, splits."""
    count, tasks, cells = results["comparisons"]["count"], results["tasks"], results["cells"]
    texts = []
    if count:
        tables = "The table makes" if len(tasks) == 1 else "The tables make"
        headlines = join(list(dict.fromkeys(task["headline"] for task in tasks.values())))
        holm = (
            "Holm's correction was applied to the verdicts, not to the intervals: the chance of any false verdict in a table "
            "is at most 5 %."
            if results["comparisons"]["holm"]
            else "Holm's correction was not applied: where there is no difference, each has a 5 % chance of a false verdict."
        )
        texts.append(f"{tables} {count} comparison{'s' * (count > 1)} by {headlines}. {holm}")
    one = [name for name, cell in cells.items() if len(cell["seeds"]) == 1]
    if one:
        trained = "One seed was trained" if len(one) == len(cells) else f"Only one seed of {join(one)} was trained"
        texts.append(f"{trained}: nothing is claimed about other seeds. Intervals cover the choice of test examples only.")
    folds = {folds_text(cell["folds"], results["data"]["folds"]) for cell in cells.values()} - {""}
    if folds:
        texts.append(f"The test predictions of {join(sorted(folds))} are joined into one test set.")
    if len(tasks) > 1 and all(cell["tasks"].keys() == tasks.keys() for cell in cells.values()):
        texts.append(f"Each cell was trained once and scored on all {len(tasks)} tasks.")
    if results["data"]["leak_free"]:
        texts.append("The splits are leak-free: no example and no group of related examples is in two of them.")
    return [Sentence("note", text) for text in texts]


def selected_cell(table: TaskTable) -> tuple[str | None, str]:
    """(the cell selected on validation, by this task or else by another one; how, in words). (None, "") without a selection."""
    tasks = table.results["tasks"]
    best = table.task["best_cell"]
    if best is None:
        others = {task["best_cell"] for task in tasks.values()} - {None}
        best = others.pop() if len(others) == 1 else None
    if best not in table.cells:
        return None, ""
    select = table.results["cells"][best]["validation"]["select"]
    return best, "selected on validation" + (f" by {select}" if len(tasks) > 1 or select == "loss" else "")


def _single_modalities(table: TaskTable, multimodal: list[str], chosen: str | None, how: str) -> list[Sentence]:
    """Whether fusion beats every single modality."""
    cells = table.results["cells"]
    singles = {row.modalities for row in table.rows if row.kind == "single"}
    if not singles or not multimodal:
        # the question does not arise if no single modality can solve the task, as in retrieval of images by text
        open_question = any("+" not in subset for name in multimodal for subset in table.cells[name]["subsets"])
        text = "No cell was trained on a single modality, so the table does not show whether fusion helps."
        return [Sentence("note", text)] if open_question else []
    missing = sorted({modality for name in multimodal for modality in cells[name]["modalities"]} - singles)
    every = "every single-modality cell" if missing else "every single modality"
    sentences = _verdicts(table, "single", every, multimodal, "multimodal cell", chosen, how)
    if missing and sentences:
        sentences[0] = Sentence(sentences[0].tone, f"{sentences[0].text} No cell was trained on {join(missing)} alone.")
    return sentences


def _verdicts(
    table: TaskTable, kind: str, every: str, names: Sequence[str], noun: str, chosen: str | None, how: str
) -> list[Sentence]:
    """The cells against all rivals of one kind: a sentence on the chosen cell, then one on the others.

    every, noun: phrases for all rivals and for a cell. how: how the cell was chosen, "" to leave out its score.
    """
    found = {_rival(table, rival, kind): cells for rival, cells in table.differences(kind).items()}
    by_cell = {name: {rival: cells[name] for rival, cells in found.items() if name in cells} for name in names}
    by_cell = {name: differences for name, differences in by_cell.items() if differences}
    if len(by_cell) == 1 and chosen is None:
        chosen = next(iter(by_cell))
    sentences = []
    if chosen in by_cell:
        subject = _scored(table, chosen, how) if how else chosen
        text = one_cell(table, subject, every, by_cell[chosen])
        sentences.append(Sentence(tone(by_cell[chosen].values()), text))
    others = [name for name in by_cell if name != chosen]
    if others:
        rest = {
            rival: {name: cells[name] for name in others if name in cells and cells[name]["verdict"] != "better"}
            for rival, cells in found.items()
        }
        texts = [_count(by_cell, noun, every), *(several_cells(table, rival, cells) for rival, cells in rest.items() if cells)]
        verdicts = [difference for differences in by_cell.values() for difference in differences.values()]
        sentences.append(Sentence(tone(verdicts), " ".join(texts)))
    return sentences


def _count(by_cell: Mapping[str, Mapping[str, Any]], noun: str, every: str) -> str:
    """How many of the cells beat every rival."""
    winners, total = [name for name, differences in by_cell.items() if all_better(differences)], len(by_cell)
    if not winners:
        return f"{f'Neither {noun}' if total == 2 else f'None of the {total} {noun}s'} is shown to beat {every}."
    if len(winners) == total:
        return f"{'Both' if total == 2 else f'All {total}'} {noun}s beat {every}."
    return f"{len(winners)} of {total} {noun}s {'beats' if len(winners) == 1 else 'beat'} {every}: {join(winners)}."


def _other_metrics(table: TaskTable, chosen: str | None) -> list[Sentence]:
    """The verdicts on the selected cell by other metrics that differ from those by the headline metric."""
    if chosen is None:
        return []
    verdicts = _row(table, chosen).verdicts
    headline = {value["against"]: value["difference"]["verdict"] for value in verdicts if value["metric"] == table.headline}
    texts, differences = [], []
    for metric in table.metrics[1:SHOWN_METRICS]:
        clauses = []
        for value in verdicts:
            difference, verdict = value["difference"], value["difference"]["verdict"]
            if value["metric"] != metric or verdict == headline.get(value["against"], verdict):
                continue
            rival = _rival(table, value["against"], value["kind"])
            differences.append(difference)
            if verdict == "inconclusive":
                clauses.append(f"inconclusive against {rival} {undecided(table, [difference], metric)}")
            else:
                link = "to" if verdict == "identical" else "than"
                clauses.append(f"{verdict} {link} {rival}, difference {table.text(difference, metric, signed=True)}")
        if clauses:
            texts.append(f"By {metric}, {chosen} is {'; '.join(clauses)}.")
    return [Sentence(tone(differences), " ".join(texts))] if texts else []


def _row(table: TaskTable, name: str) -> Row:
    return next(row for row in table.rows if row.name == name)


def _scored(table: TaskTable, name: str, how: str) -> str:
    return f"{name} ({table.headline} {table.text(_row(table, name).scores[table.headline])}, {how})"


def _rival(table: TaskTable, name: str, kind: str) -> str:
    """The name of a rival, with the modality of a single-modality cell unless that is its name."""
    modalities = table.results["cells"][name]["modalities"] if kind == "single" else [name]
    return name if modalities == [name] else f"{name} ({'+'.join(modalities)})"
