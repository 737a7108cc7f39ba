"""Run folders, read strictly. `read_run` checks `results.json` at once; arrays and examples are read when asked for."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.runs.schema import NUMBER, Maybe, RunError, check, check_results, full_subset

CURVES = ("train_loss", "validation_loss", "validation_accuracy")
TEST = ("label", "weight", "group", "language", "id")
EXAMPLE = {
    "row": int,
    "id": str,
    "label": str,
    "caption": Maybe(str),
    "language": Maybe(str),
    "image": Maybe(str),
    "sound": Maybe(str),
}


def read_run(folder: Path | str) -> "Run":
    """The run in `folder`, its `results.json` checked by the schema; `RunError` names the file and key at fault."""
    folder = Path(folder)
    results = _json(folder / "results.json")
    check_results(results, str(folder / "results.json"))
    return Run(folder, results)


@dataclass(frozen=True)
class Run:
    """One run folder. Every method reads its file anew and checks it; nothing is written and nothing is kept."""

    folder: Path
    results: dict[str, Any]

    def curves(self, cell: str) -> dict[str, np.ndarray]:
        """`step` (evaluations,) and, each (evaluations, seeds), the losses and the accuracy; NaN where null."""
        file = self.folder / "cells" / cell / "curves.jsonl"
        lines = [line for line in _text(file).splitlines() if line.strip()]
        if not lines:
            raise RunError(f"{file}: no lines; one line an evaluation is expected")
        seeds = len(self.results["cells"][cell]["seeds"])
        points = []
        for i, line in enumerate(lines, 1):
            point = _parse(line, f"{file} line {i}")
            check(point, {"step": int, **{name: [Maybe(NUMBER)] for name in CURVES}}, f"{file} line {i}")
            for name in CURVES:
                if len(point[name]) != seeds:
                    raise RunError(f"{file} line {i}: key '{name}' has {len(point[name])} values for {seeds} seeds")
            points.append(point)
        curves = {name: np.array([point[name] for point in points], float) for name in CURVES}
        return {"step": np.array([point["step"] for point in points]), **curves}

    def test(self) -> dict[str, np.ndarray]:
        """The arrays over the test rows: label, weight, group, language ('': nobody speaks) and id, each (rows,)."""
        file = self.folder / "test.npz"
        arrays = _arrays(file, TEST)
        for name, array in arrays.items():
            if array.shape != arrays["label"].shape:
                raise RunError(f"{file}: key '{name}' has shape {array.shape}, but label has {arrays['label'].shape}")
        return arrays

    def probabilities(self, cell: str) -> dict[str, np.ndarray]:
        """For each subset of the cell's modalities: class probabilities (rows, classes), averaged over the seeds."""
        file = self.folder / "cells" / cell / "predictions.npz"
        arrays = _arrays(file, ("logits", "subsets"))
        logits, subsets = arrays["logits"].astype(np.float64), [str(name) for name in arrays["subsets"]]
        seeds, classes = len(self.results["cells"][cell]["seeds"]), len(self.results["task"]["classes"])
        if logits.ndim != 4 or (logits.shape[:2], logits.shape[3]) != ((seeds, len(subsets)), classes):
            raise RunError(
                f"{file}: key 'logits' has shape {logits.shape}; "
                f"expected ({seeds} seeds, {len(subsets)} subsets, rows, {classes} classes)"
            )
        for subset in (full_subset(self.results["cells"][cell]), *self.results["cells"][cell]["modalities"]):
            if subset not in subsets:
                raise RunError(f"{file}: key 'subsets' lacks {subset!r}")
        odds = np.exp(logits - logits.max(-1, keepdims=True))
        return dict(zip(subsets, (odds / odds.sum(-1, keepdims=True)).mean(0)))

    def examples(self) -> list[dict[str, Any]]:
        """The examples that the run kept, with `image` and `sound` as paths (or None), checked against test.npz."""
        file = self.folder / "examples" / "index.json"
        examples, test, classes = _json(file), self.test(), self.results["task"]["classes"]
        check(examples, [EXAMPLE], str(file))
        for i, example in enumerate(examples):
            row = example["row"]
            if not 0 <= row < len(test["label"]):
                raise RunError(f"{file}: key '[{i}].row' is {row}, and test.npz has {len(test['label'])} rows")
            true = classes[test["label"][row]]
            if true != example["label"]:  # a page that shows one row's picture with another row's answer is worthless
                said = example["label"]
                raise RunError(f"{file}: key '[{i}].label' is {said!r}, but row {row} of test.npz is {true!r}")
        return [{**e, "image": _beside(file, e["image"]), "sound": _beside(file, e["sound"])} for e in examples]


def _beside(index: Path, name: str | None) -> Path | None:
    if name is None:
        return None
    if Path(name).name != name or not (index.parent / name).is_file():
        raise RunError(f"{index}: names {name!r}, and there is no such file beside it")
    return index.parent / name


def _text(file: Path) -> str:
    if not file.is_file():
        raise RunError(f"{file}: missing file")
    return file.read_text(encoding="utf-8")


def _parse(text: str, where: str) -> Any:
    try:
        # Python writes NaN and Infinity, which JSON lacks: here they are numbers that do not exist, like null
        return json.loads(text, parse_constant=lambda _: None)
    except json.JSONDecodeError as error:
        raise RunError(f"{where}: not JSON: {error}") from None


def _json(file: Path) -> Any:
    return _parse(_text(file), str(file))


def _arrays(file: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    if not file.is_file():
        raise RunError(f"{file}: missing file")
    with np.load(file, allow_pickle=False) as arrays:  # a run may come from a stranger, and a pickle is a program
        for name in names:
            if name not in arrays.files:
                raise RunError(f"{file}: missing key '{name}'")
        return {name: arrays[name] for name in names}
