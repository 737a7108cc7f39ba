"""The training runs of a cell with their models and data, as audits of changed inputs need them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.data import feed
from mmjax.data.dataset import Dataset
from mmjax.data.splits import with_fold
from mmjax.runs.folder import read_record
from mmjax.runs.model import SavedModel
from mmjax.runs.schema import RunError
from mmjax.types import Units

__all__ = ["AuditedPart", "by_fold", "load_parts"]


@dataclass(frozen=True)
class AuditedPart:
    """One training run of a cell: some seeds on one fold, with the data of that fold.

    fold: None for the data's own split. model: the models of its seeds. dataset: loaded again; its fingerprint is that of the
    training. task: with what it learnt from the data, such as token ids.
    """

    name: str
    fold: int | None
    model: SavedModel
    dataset: Dataset
    task: Any

    def units(self, split: str = "test") -> Units:
        """The scored units of a split."""
        return self.task.units(self.dataset, split)

    def batch(self, rows: Iterable[int], split: str = "test") -> Any:
        """The `Batch` of a few rows of a split, as the model takes it."""
        host = feed.HostFeed(self.dataset, self.dataset.splits[split], sorted(self.model.readers))
        return host(np.asarray(list(rows)))


def by_fold(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The entries of cell.json about its parts, those of one fold after another."""
    order = list(dict.fromkeys(record["fold"] for record in records))
    return sorted(records, key=lambda record: order.index(record["fold"]))


def load_parts(
    folder: Path, records: Sequence[Mapping[str, Any]], models: Sequence[SavedModel], data: Any, task: str
) -> tuple[AuditedPart, ...]:
    """The parts of a cell. folder: of the cell. records: of its parts, with the model of each. data: of the experiment.
    task: its name.

    RunError, which names the folder of a part, if the data differ from those of its training.
    """
    loaded: dict[int | None, Dataset] = {}
    found = []
    for record, model in zip(records, models, strict=True):
        fold, part = record["fold"], folder / record["name"]
        if fold not in loaded:
            loaded[fold] = (data if fold is None else with_fold(data, fold)).load()
        if loaded[fold].fingerprint != read_record(part / "part.json")["identity"]["data"]:
            raise RunError(
                f"{part}: the data differ from those of the training (their fingerprints): restore them, or train the cell "
                "again if this version of mmjax prepares them in another way"
            )
        found.append(AuditedPart(record["name"], fold, model, loaded[fold], model.tasks[task]))
    return tuple(found)
