"""Reads run folders and checks them: a RunError names the file, the key and the remedy."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.runs.answers import same_answers
from mmjax.runs.folder import damaged, parse_json, read_arrays, read_json, read_record, read_text, read_verified
from mmjax.runs.schema import NUMBER, Each, Maybe, Optional, RunError, check, check_results
from mmjax.types import Outcomes, Units

__all__ = [
    "ATTENTION", "EXAMPLE", "REMEDY", "SHOWN", "Run", "check_cell", "read_baselines", "read_outcomes", "read_run", "read_units",
]

EXAMPLE = {
    "task": str,
    "unit": int,
    "id": str,
    "target": str,
    "caption": Maybe(str),
    "language": Maybe(str),
    "image": Maybe(str),
    "sound": Maybe(str),
}
ATTENTION = {  # weights: of each word, of each token, or bin of tokens, of a modality; tokens: their texts, null for others
    "words": [str],
    "maps": Each({"weights": [[NUMBER]], "tokens": Maybe([str])}),
}
SHOWN = {"predicted": str, "correct": Maybe(bool), "score": Maybe(NUMBER), "attention": Optional(ATTENTION)}
REMEDY = "repeat the command that wrote this cell with --resume to write it again"


def read_run(folder: Path | str) -> "Run":
    """The run in `folder`. Checks `results.json` and the sha256 of all files that it reads; RunError if one is damaged."""
    folder = Path(folder)
    results = read_verified(folder / "results.json")
    check_results(results, str(folder / "results.json"))
    for name in damaged(folder, results.pop("sha256", {})):
        raise RunError(f"{folder / name} is damaged or missing (its sha256 differs); {REMEDY}")
    for cell in results["cells"]:
        check_cell(folder / "cells" / cell)
    return Run(folder, results)


def check_cell(folder: Path) -> dict[str, Any]:
    """The record of a cell. Raises RunError if it, or one of the cell's files, is missing or differs from its sha256."""
    try:
        record = read_record(folder / "cell.json")
    except RunError as error:
        raise RunError(f"{error}; {REMEDY}") from None
    for name in damaged(folder, record["sha256"]):
        raise RunError(f"{folder / name} is damaged or missing (its sha256 differs); {REMEDY}")
    return record


@dataclass(frozen=True)
class Run:
    """One run folder. Each method reads and checks its files anew; nothing is written or cached."""

    folder: Path
    results: dict[str, Any]

    def curves(self, cell: str) -> dict[str, dict[str, np.ndarray]]:
        """{"all" or "fold0", ...: {"step": Int[e], name: Float[e s]}} of e evaluations and s seeds; NaN where null."""
        folder = self.folder / "cells" / cell
        of_fold: dict[str, list[dict[str, np.ndarray]]] = {}
        for part in read_record(folder / "cell.json")["parts"]:
            name = "all" if part["fold"] is None else f"fold{part['fold']}"
            of_fold.setdefault(name, []).append(_curves(folder / part["name"] / "curves.jsonl", len(part["seeds"])))
        return {
            name: {"step": parts[0]["step"]}
            | {key: np.concatenate([part[key] for part in parts], axis=1) for key in parts[0] if key != "step"}
            for name, parts in of_fold.items()
        }

    def units(self, task: str) -> tuple[Units, np.ndarray | None]:
        """The test units of a task, and their folds (see `read_units`)."""
        return read_units(self.folder, task, self._folds(task))

    def baselines(self, task: str) -> dict[str, Outcomes]:
        """{baseline: outcomes [1 u ...]} of a task."""
        return read_baselines(self.folder, task, self._folds(task))

    def outcomes(self, cell: str, task: str, subset: str | None = None) -> Outcomes:
        """The outcomes [s u ...] of a cell with these modalities, joined by "+"; by default with all its modalities.

        KeyError if the subset was not scored.
        """
        folder = self.folder / "cells" / cell
        subset = subset or self.results["cells"][cell]["tasks"][task]["complete"]
        scored = read_outcomes(folder, read_record(folder / "cell.json")["parts"], task)
        if subset not in scored:
            raise KeyError(f"cell {cell!r} has no scores of the subset {subset!r}; its subsets are {', '.join(scored)}")
        return scored[subset]

    def same_answers(self, cell: str, task: str) -> dict[str, dict[str, np.ndarray]]:
        """Whether each answer of a cell stays the same without a modality, or with another example's: see
        `mmjax.runs.answers.same_answers`."""
        experiments = {name: record["experiment"] for name, record in self.results["cells"].items()}
        return same_answers(self.folder, experiments, cell, task)

    def _folds(self, task: str) -> list[str]:
        """The names of the folds of a task, by the first cell that has it."""
        cell = next(name for name, cell in self.results["cells"].items() if task in cell["tasks"])
        parts = read_record(self.folder / "cells" / cell / "cell.json")["parts"]
        return list(dict.fromkeys("all" if part["fold"] is None else f"fold{part['fold']}" for part in parts))

    def examples(self) -> list[dict[str, Any]]:
        """The saved test examples, with `image` and `sound` as paths or None."""
        file = self.folder / "examples" / "index.json"
        if not file.is_file():
            return []
        examples = read_json(file)
        check(examples, [EXAMPLE], str(file))
        return [{**e, "image": _beside(file, e["image"]), "sound": _beside(file, e["sound"])} for e in examples]

    def shown(self, cell: str) -> dict[str, list[dict[str, Any]]]:
        """{task: [{subset: answer or None}]} of a cell, in the order of the examples of that task; {} without the first fold,
        of which the examples are."""
        folder = self.folder / "cells" / cell
        part = read_record(folder / "cell.json")["parts"][0]
        file = folder / part["name"] / "examples.json"
        if part["fold"] not in (None, 0) or not file.is_file():
            return {}
        answers = read_json(file)
        for task, entries in answers.items():
            for number, subsets in enumerate(entries):
                for subset, answer in subsets.items():
                    if answer is not None:
                        check(answer, SHOWN, f"{file}: key '{task}[{number}].{subset}'")
        return answers


def _curves(file: Path, seeds: int) -> dict[str, np.ndarray]:
    """{"step": Int[e], name: Float[e s]} of one part."""
    lines = [line for line in read_text(file).splitlines() if line.strip()]
    if not lines:
        raise RunError(f"{file}: no lines; one line for each evaluation is expected")
    points = [parse_json(line, f"{file} line {number}") for number, line in enumerate(lines, 1)]
    names = list(dict.fromkeys(name for point in points for name in point if name != "step"))
    for number, point in enumerate(points, 1):
        given = [name for name in names if name in point]  # a stage may have losses of its own
        check(point, {"step": int, **{name: [Maybe(NUMBER)] for name in given}}, f"{file} line {number}")
        for name in given:
            if len(point[name]) != seeds:
                raise RunError(f"{file} line {number}: key '{name}' has {len(point[name])} values for {seeds} seeds")
    absent = [None] * seeds
    curves = {name: np.array([point.get(name, absent) for point in points], float) for name in names}
    return {"step": np.array([point["step"] for point in points])} | curves


def read_units(out: Path, task: str, folds: list[str]) -> tuple[Units, np.ndarray | None]:
    """(the test units of a task, the fold of each unit, Int[u]); units of several folds are joined. One fold: (units, None).

    folds: "all", or "fold0", "fold1", ... `row` and `entry` of joined units count within their fold.
    """
    parts = [read_arrays(out / "units" / task / f"{fold}.npz") for fold in folds]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def inside(prefix: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(prefix): array for name, array in joined.items() if name.startswith(prefix)}

    names = ("weight", "group", "row", "entry")
    weight, group, row, entry = (joined[name] for name in names)
    fold = None if len(folds) == 1 else np.repeat(np.arange(len(folds)), [len(part["weight"]) for part in parts])
    return Units(inside("target/"), weight, group, inside("metadata/"), row, entry), fold


def read_baselines(out: Path, task: str, folds: list[str]) -> dict[str, Outcomes]:
    """{baseline: outcomes [1 u ...]} of a task; outcomes of several folds are joined. Only baselines that every fold has."""
    parts = [_nested(read_arrays(out / "units" / task / f"{fold}.baselines.npz"), 1) for fold in folds]
    names = [name for name in parts[0] if all(name in part for part in parts)]
    return {
        name: {key: np.concatenate([part[name][key] for part in parts])[None] for key in parts[0][name]} for name in names
    }


def read_outcomes(folder: Path, parts: list[Mapping[str, Any]], task: str) -> dict[str, Outcomes]:
    """{subset: outcomes [s u ...]} of a cell for one task: seeds of one fold side by side, folds one after another."""
    by_fold: dict[Any, list[dict[str, Any]]] = {}
    for part in parts:
        by_fold.setdefault(part["fold"], []).append(_nested(read_arrays(folder / part["name"] / "outcomes.npz"), 2)[task])
    folds = [_joined(found, axis=0) for found in by_fold.values()]
    return _joined(folds, axis=1)


def _joined(parts: list[dict[str, Outcomes]], axis: int) -> dict[str, Outcomes]:
    """{subset: outcomes}, concatenated along the axis of seeds (0) or units (1)."""
    return {
        subset: {name: np.concatenate([part[subset][name] for part in parts], axis=axis) for name in parts[0][subset]}
        for subset in parts[0]
    }


def _nested(arrays: Mapping[str, np.ndarray], depth: int) -> dict[str, Any]:
    """{"a/b/c": array} -> {"a": {"b": {"c": array}}}, split at the first `depth` slashes; the last name keeps the others."""
    tree: dict[str, Any] = {}
    for path, array in arrays.items():
        *folders, name = path.split("/", depth)
        inner = tree
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[name] = array
    return tree


def _beside(index: Path, name: str | None) -> Path | None:
    """The path of a file in the folder of the index. RunError if it is not there, or if the name contains a folder."""
    if name is None:
        return None
    if Path(name).name != name or not (index.parent / name).is_file():
        raise RunError(f"{index}: names {name!r}, but its folder has no such file")
    return index.parent / name
