"""A wrapper that weights the classes of a data set equally in the loss."""

import dataclasses
import hashlib
from typing import Annotated, Any

import numpy as np
import tyro

from mmjax.data.dataset import Dataset
from mmjax.data.decode import DataError
from mmjax.data.splits import folds_of, with_fold

__all__ = ["EqualClasses", "equal_class_weights"]


@dataclasses.dataclass(frozen=True)
class EqualClasses:
    """The same data, but all classes of a target have equal total weights in the training loss.

    data: any value with `load() -> Dataset`, such as Stamps(). target: the name of a target Int[n], one class per row.
    Only `Dataset.training_weight` changes; baselines and scores use the weights of the splits.
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
        weight = equal_class_weights(targets[self.target], dataset.training_rows.weight)
        fingerprint = hashlib.sha256(f"{dataset.fingerprint} equal {self.target}".encode()).hexdigest()
        return dataclasses.replace(dataset, training_weight=weight, fingerprint=fingerprint)


def equal_class_weights(label: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Rescales weights Float[n] so that all classes of labels Int[n] have equal total weights; the sum does not change.

    Rows without a label (-1) keep their weight.
    """
    weight = np.array(weight)
    valid = label >= 0
    total = np.bincount(label[valid], weight[valid])
    weight[valid] *= (total.sum() / max(np.count_nonzero(total), 1) / np.maximum(total, 1e-30))[label[valid]]
    return weight
