"""Reads which answers of a run stay the same without a modality, or with that of another example.

    RUN/cells/CELL/PART/answers.npz    TASK/answer/all, TASK/same/MODALITY, as of `mmjax.evaluate.same.kept_answers`
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.evaluate.same import ALL, same_codes
from mmjax.runs.folder import read_arrays, read_record

__all__ = ["ANSWERS", "partners", "same_answers"]

ANSWERS = "answers.npz"
_WRONG_PAIRS = "mmjax.robust.wrong_pairs:WrongPairs"


def partners(experiments: Mapping[str, Mapping[str, Any]], cell: str) -> dict[str, str]:
    """{modality: the cell that differs from this one only by another example's input of this modality}. experiments: JSON."""
    found, own = {}, experiments[cell]
    for name, other in experiments.items():
        attack = other.get("attack")
        if own.get("attack") is None and isinstance(attack, Mapping) and attack.get("class") == _WRONG_PAIRS:
            if len(attack["modalities"]) == 1 and {**other, "attack": None} == {**own, "attack": None}:
                found[attack["modalities"][0]] = name
    return found


def same_answers(
    out: Path, experiments: Mapping[str, Mapping[str, Any]], cell: str, task: str
) -> dict[str, dict[str, np.ndarray]]:
    """{modality: {"removed", "replaced": Int8[s u]}}: whether each answer stays the same (`mmjax.evaluate.same.same_codes`).

    "removed" is there for cells of several modalities, "replaced" if the run has the cell of `partners`. Units of several folds
    are joined. {} for tasks without texts as answers, and for runs that an earlier version wrote.
    """
    own = _read(out / "cells" / cell, task)
    found = {name.removeprefix("same/"): {"removed": of} for name, of in own.items() if name.startswith("same/")}
    for modality, other in partners(experiments, cell).items():
        theirs = _read(out / "cells" / other, task) if modality in found else {}
        if theirs and theirs[ALL].shape == own[ALL].shape:
            defined = (own[f"same/{modality}"] >= 0).all(axis=0)
            found[modality]["replaced"] = same_codes(own[ALL], theirs[ALL], defined)
    return found


def _read(folder: Path, task: str) -> dict[str, np.ndarray]:
    """{name: [s u]} of a cell: seeds of one fold side by side, folds one after another; {} if a part has none."""
    by_fold: dict[Any, list[dict[str, np.ndarray]]] = {}
    for part in read_record(folder / "cell.json")["parts"]:
        file = folder / part["name"] / ANSWERS
        arrays = read_arrays(file) if file.is_file() else {}
        of_task = {name.removeprefix(f"{task}/"): array for name, array in arrays.items() if name.startswith(f"{task}/")}
        by_fold.setdefault(part["fold"], []).append(of_task)
    parts = [part for of_fold in by_fold.values() for part in of_fold]
    names = [name for name in parts[0] if all(name in part for part in parts)]
    folds = [{name: np.concatenate([part[name] for part in of]) for name in names} for of in by_fold.values()]
    return {name: np.concatenate([fold[name] for fold in folds], axis=1) for name in names}
