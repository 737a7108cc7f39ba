"""Writes the files of a run folder. The file that marks a part or a cell as done is written last.

    RUN/run.json, run.lock                marker and lock of the folder
    RUN/results.json, report.html         the results, and the page that shows them
    RUN/units/TASK/FOLD.npz               the test units of a task: targets, weights, groups, metadata
    RUN/units/TASK/FOLD.baselines.npz     the outcomes of its baselines
    RUN/examples/                         test units with their media (`mmjax.runs.examples`)
    RUN/cells/CELL/cell.json              experiment, facts and the sha256 of each file of the cell; marks the cell as done
    RUN/cells/CELL/PART/                  curves.jsonl, outcomes.npz, answers.npz, examples.json, part.json (last),
                                          checkpoints/, and the models: model.json, variables.safetensors (`mmjax.runs.model`)

A part is one training run: some seeds on one fold. FOLD is "all" without cross-validation, else "fold0", "fold1", ...
"""

import dataclasses
import json
import platform
import resource
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmjax.describe import differences
from mmjax.runs.answers import ANSWERS
from mmjax.runs.folder import (
    damaged,
    read_arrays,
    read_record,
    sha256,
    write_arrays,
    write_json,
    write_record,
    write_text,
)
from mmjax.runs.schema import RunError
from mmjax.types import Outcomes, Units

__all__ = [
    "PACKAGES", "Part", "baselines_file", "device", "has_baselines", "part_is_done", "peak_memory", "versions",
    "write_baselines", "write_cell", "write_part", "write_results", "write_units",
]  # fmt: skip

PACKAGES = (
    "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "numpy", "scikit-learn", "pillow",
    "soundfile", "soxr", "tokenizers", "mmjax",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Part:
    """One training run of a cell: some of its seeds on one fold (None: the data's own split). together: all seeds at once."""

    fold: int | None
    seeds: tuple[int, ...]
    together: bool = True

    @property
    def fold_name(self) -> str:
        return "all" if self.fold is None else f"fold{self.fold}"

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.fold_name if self.together else f"{self.fold_name}.seeds{self.seeds[0]}-{self.seeds[-1]}"


def part_is_done(folder: Path, identity: Mapping[str, Any], report: Any, files: Sequence[str] = ()) -> bool:
    """Whether the part is complete and undamaged. If a file is damaged, the caller must write the part again.

    identity: JSON of the experiment, seeds, data and weights. report: called with a line for each damaged file. files: further
    files that are wanted, such as predictions.npz. RunError if the folder holds another experiment.
    """
    file = folder / "part.json"
    if not file.is_file():
        return False
    try:
        record = read_record(file)
        differing = differences(record["identity"], json.loads(json.dumps(identity)))
        wrong = damaged(folder, record["sha256"]) + [name for name in files if name not in record["sha256"]]
    except RunError as error:
        report(f"{error}; this part is evaluated again from its last checkpoint")
        return False
    if differing:
        raise RunError(
            f"{folder} holds another experiment: {'; '.join(differing[:5])}. Give the same values, or choose another --out"
        )
    for name in wrong:
        report(f"{folder / name} is damaged or missing; this part is evaluated again from its last checkpoint")
    return not wrong


def write_part(
    folder: Path,
    identity: Mapping[str, Any],
    outcomes: Mapping[str, Mapping[str, Outcomes]],
    curves: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
    examples: Mapping[str, Any] | None = None,
    predictions: Mapping[str, np.ndarray] | None = None,
    others: Sequence[str] = (),
    answers: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Writes a finished part.

    outcomes: {task: {subset: {name: [s u ...]}}}. curves: records of the learning curve. facts: JSON about the training.
    examples: {task: [{subset: answer}]}. predictions: {"task/path": array [s k n ...]}, None to save none. others: names of
    further files of the part that are already written. answers: {"task/name": array} (`mmjax.evaluate.same.kept_answers`).
    """
    arrays = {
        f"{task}/{subset}/{name}": array
        for task, subsets in outcomes.items()
        for subset, of_subset in subsets.items()
        for name, array in of_subset.items()
    }
    write_arrays(folder / "outcomes.npz", arrays)
    write_text(folder / "curves.jsonl", "".join(json.dumps(record) + "\n" for record in curves))
    write_json(folder / "examples.json", dict(examples or {}))
    files = ["outcomes.npz", "curves.jsonl", "examples.json", *others]
    if predictions is not None:
        write_arrays(folder / "predictions.npz", predictions)
        files.append("predictions.npz")
    if answers:
        write_arrays(folder / ANSWERS, answers)
        files.append(ANSWERS)
    measured = {"peak_memory_bytes": peak_memory(), "device": device(), "versions": versions()}
    record = {"identity": json.loads(json.dumps(identity)), **facts, **measured}
    write_record(folder / "part.json", record | {"sha256": {name: sha256(folder / name) for name in files}})


def write_cell(folder: Path, identity: Mapping[str, Any], parts: Sequence[Part], facts: Mapping[str, Any]) -> None:
    """Writes cell.json: identity, facts, parts, and the sha256 of every file of the cell."""
    names = [file for part in parts for file in sorted((folder / part.name).iterdir()) if file.is_file()]
    record = {
        "identity": identity,
        "parts": [{"name": part.name, "fold": part.fold, "seeds": list(part.seeds)} for part in parts],
        **facts,
        "sha256": {file.relative_to(folder).as_posix(): sha256(file) for file in names},
    }
    write_record(folder / "cell.json", record)


def write_results(out: Path, results: Mapping[str, Any]) -> None:
    """Writes results.json with the sha256 of the files that belong to no cell: test units, baselines and examples."""
    files = sorted(file for name in ("units", "examples") for file in (out / name).rglob("*") if file.is_file())
    sums = {file.relative_to(out).as_posix(): sha256(file) for file in files}
    write_record(out / "results.json", json.loads(json.dumps({**results, "sha256": sums})))


def write_units(out: Path, cell: str, task: str, part: Part, units: Units, report: Any) -> None:
    """Writes the test units of a task, or checks them if another cell has written them. cell: for messages.

    report: called with a line if the file is damaged, which is then written again. RunError if the units differ: cells are
    compared unit by unit, so all cells that share a task must share its units.
    """
    arrays = {"weight": units.weight, "group": units.group, "row": units.row, "entry": units.entry}
    arrays |= {f"target/{name}": np.asarray(array) for name, array in units.target.items()}
    arrays |= {f"metadata/{name}": np.asarray(array) for name, array in units.metadata.items()}
    file = out / "units" / task / f"{part.fold_name}.npz"
    before = _undamaged(file, report)
    if before is None:
        write_arrays(file, arrays)
        return
    of_outcomes = (arrays.keys() | before.keys()) - {"row", "entry"}  # a row may be an example, or a sequence of them
    differing = [
        name
        for name in sorted(of_outcomes)
        if name not in arrays or name not in before or not _equal(arrays[name], before[name])
    ]
    if differing:
        raise RunError(
            f"cell {cell}: the test units of task {task!r} differ in {', '.join(differing)} from those in {file}; all "
            "cells of a table need the same units (data.fold, data.text_language, ...). Run this cell with another --out"
        )


def _undamaged(file: Path, report: Any) -> dict[str, np.ndarray] | None:
    """The arrays of a file; None if it is missing or damaged, which is reported."""
    if not file.is_file():
        return None
    try:
        return read_arrays(file)
    except RunError as error:
        report(f"{error}; it is written again")
        return None


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal shapes and values; NaN equals NaN."""
    return a.shape == b.shape and (a.dtype.kind == b.dtype.kind) and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def write_baselines(out: Path, task: str, part: Part, outcomes: Mapping[str, Outcomes]) -> None:
    """Writes the outcomes of the baselines of a task, {baseline: {name: [u ...]}}."""
    arrays = {f"{name}/{key}": np.asarray(array) for name, of in outcomes.items() for key, array in of.items()}
    write_arrays(baselines_file(out, task, part), arrays)


def has_baselines(out: Path, task: str, part: Part, report: Any) -> bool:
    """Whether the outcomes of a task's baselines are saved and undamaged."""
    return _undamaged(baselines_file(out, task, part), report) is not None


def baselines_file(out: Path, task: str, part: Part) -> Path:
    """The file of the outcomes of a task's baselines."""
    return out / "units" / task / f"{part.fold_name}.baselines.npz"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that determine the numbers."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def device() -> str:
    """The kind and the number of the devices of all processes."""
    return f"{jax.devices()[0].device_kind} x {jax.device_count()}"


def peak_memory() -> int:
    """The largest resident set size of this process so far, in bytes."""
    # macOS counts in bytes, Linux in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
