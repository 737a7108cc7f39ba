"""Any data set with equally weighted classes in training."""

import dataclasses
import hashlib
from typing import Annotated, Any

import numpy as np
import tyro

from mmjax.data.dataset import Dataset, Rows
from mmjax.data.decode import DataError
from mmjax.data.splits import folds_of, with_fold


@dataclasses.dataclass(frozen=True)
class EqualClasses:
    """The same data, but every class of a target has the same total weight in the training split.

    data: a data value with `load() -> Dataset`, such as Stamps. target: Int[n], one class per row.
    Validation and test keep their weights. Baselines that are fitted on the training split see the new weights too.
    """

    data: Annotated[Any, tyro.conf.arg(name="")]
    target: str = "label"

    @property
    def folds(self) -> int:
        return folds_of(self.data)

    def at_fold(self, fold: int) -> "EqualClasses":
        """The same data with this test fold."""
        return dataclasses.replace(self, data=with_fold(self.data, fold))

    def load(self) -> Dataset:
        """Loads the data. Raises DataError if the target is missing or is not one class per row."""
        dataset = self.data.load()
        targets = dataset.splits["train"].targets
        single = sorted(name for name in dataset.classes if name in targets and np.ndim(targets[name]) == 1)
        if self.target not in single:
            known = ", ".join(single) or "none"
            raise DataError(f"EqualClasses.target is {self.target!r}; the data have one class per row for {known}")
        splits = {**dataset.splits, "train": equally_weighted(dataset.splits["train"], self.target)}
        fingerprint = hashlib.sha256(f"{dataset.fingerprint} equal {self.target}".encode()).hexdigest()
        return dataclasses.replace(dataset, splits=splits, fingerprint=fingerprint)


def equally_weighted(rows: Rows, target: str) -> Rows:
    """NumPy rows reweighted so that the classes of a target, Int[n], have equal total weights; their sum does not change.

    Rows without a label (-1) keep their weight.
    """
    label, weight = rows.targets[target], np.array(rows.weight)
    valid = label >= 0
    total = np.bincount(label[valid], weight[valid])
    weight[valid] *= (total.sum() / max(np.count_nonzero(total), 1) / np.maximum(total, 1e-30))[label[valid]]
    return rows.replace(weight=weight)
