"""Test units with their media in a run folder, as the report shows them: RUN/examples/index.json, images and sounds."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.data.dataset import Dataset
from mmjax.runs.folder import read_json, write_bytes, write_json
from mmjax.runs.read import EXAMPLE
from mmjax.runs.schema import RunError, check
from mmjax.types import Units

__all__ = ["EXAMPLES", "MAX_CANDIDATES", "chosen_examples", "example_row", "has_examples", "write_examples"]

EXAMPLES = 100
MAX_CANDIDATES = 50 * EXAMPLES  # test units among which the examples are chosen


def write_examples(out: Path, task: str, units: Units, targets: Sequence[str], dataset: Dataset) -> None:
    """Writes the examples of a task with the media of their rows, unless an earlier cell has. targets: reference answers.

    The answers of each cell are in its own folder.
    """
    folder, index = out / "examples", _examples(out) or []
    if any(entry["task"] == task for entry in index):
        return
    for unit, target in zip(chosen_examples(units), targets, strict=True):
        shown = dict.fromkeys(("caption", "language", "image", "sound"))
        media = dataset.media(example_row(units, unit, dataset))
        shown |= {"id": str(units.metadata["id"][unit])} | {name: media[name] for name in shown if name in media}
        for kind, ending in (("image", "png"), ("sound", "mp3")):
            if shown[kind]:
                file = f"{task}-{unit}.{ending}"
                write_bytes(folder / file, shown[kind])
                shown[kind] = file
        index.append({"task": task, "unit": unit, "target": target} | shown)
    write_json(folder / "index.json", index)


def has_examples(out: Path, tasks: Iterable[str], report: Any) -> bool:
    """Whether the examples of all these tasks are saved. report: called with a line if their index is damaged."""
    index = _examples(out)
    if index is None:
        report(f"{out / 'examples' / 'index.json'} is damaged; the examples are written again")
    return {*tasks} <= {entry["task"] for entry in index or []}


def _examples(out: Path) -> list[dict[str, Any]] | None:
    """The entries of examples/index.json; None if it is damaged."""
    file = out / "examples" / "index.json"
    try:
        index = read_json(file) if file.is_file() else []
        check(index, [EXAMPLE], str(file))
        return index
    except RunError:
        return None


def example_row(units: Units, unit: int, dataset: Dataset) -> int:
    """The index into the test split's metadata that belongs to a unit: its row, or its number among the labelled steps."""
    rows = len(dataset.splits["test"])
    return int(units.row[unit]) if len(dataset.metadata["test"]["id"]) == rows else unit


def chosen_examples(units: Units) -> list[int]:
    """At most EXAMPLES units of different ids, spread over targets and languages. The choice does not depend on predictions."""
    order = np.random.default_rng(0).permutation(np.flatnonzero(units.weight > 0))[:MAX_CANDIDATES]
    target = next((np.asarray(x) for x in units.target.values() if np.asarray(x).ndim == 1), np.zeros(len(units.weight)))
    ids = np.asarray(units.metadata["id"])
    language = np.asarray(units.metadata.get("language", np.full(len(units.weight), "")))
    fresh = {unit: (ids[unit], target[unit], language[unit]) for unit in order.tolist()}
    targets, languages, chosen = Counter(), Counter(), []
    while fresh and len(chosen) < EXAMPLES:
        unit = min(fresh, key=lambda unit: (targets[fresh[unit][1]], languages[fresh[unit][2]]))
        name, target_of, language_of = fresh[unit]
        targets[target_of] += 1
        languages[language_of] += 1
        chosen.append(unit)
        fresh = {other: of for other, of in fresh.items() if of[0] != name}
    return chosen
