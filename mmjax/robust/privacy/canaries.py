"""Canaries in a data set, and the audit of the trained models of a run."""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from mmjax.data.dataset import Dataset, Rows
from mmjax.data.decode import DataError
from mmjax.data.splits import folds_of, with_fold
from mmjax.robust.privacy.audit import PrivacyAudit, audit
from mmjax.types import Batch, Loss

__all__ = ["STREAM", "Canaries", "audit_models"]

STREAM = np.array([0, 0, 1, 0], np.uint64)  # the counter of Philox


@dataclasses.dataclass(frozen=True)
class Canaries:
    """The same data with canaries: training rows with a wrong class, each kept in the training split with probability 1/2.

    data: any value with `load() -> Dataset`, such as Stamps(). count: number of canaries. target: Int[n], one class per row.
    seed: of the choice of rows, classes and members. The other training rows do not change.
    """

    data: Annotated[Any, tyro.conf.arg(name="")]
    count: int = 200
    target: str = "label"
    seed: int = 0

    @property
    def folds(self) -> int:
        return folds_of(self.data)

    def at_fold(self, fold: int) -> "Canaries":
        """The same data with this test fold."""
        return dataclasses.replace(self, data=with_fold(self.data, fold))

    def load(self) -> Dataset:
        """Loads the data. Raises DataError if there are too few rows, or the target is not one class per row."""
        dataset = self.data.load()
        chosen, label, included = self.drawn(dataset)
        rows = dataset.splits["train"]
        changed = np.array(rows.targets[self.target])
        changed[chosen] = label
        kept = np.setdiff1d(np.arange(len(rows)), chosen[~included])
        rows = rows.replace(targets={**rows.targets, self.target: changed})
        metadata = {name: np.asarray(column)[kept] for name, column in dataset.metadata["train"].items()}
        fingerprint = hashlib.sha256(f"{dataset.fingerprint} canaries {self.count} {self.target} {self.seed}".encode())
        return dataclasses.replace(
            dataset,
            splits={**dataset.splits, "train": jax.tree.map(lambda leaf: np.asarray(leaf)[kept], rows)},
            metadata={**dataset.metadata, "train": metadata},
            training_weight=None if dataset.training_weight is None else np.asarray(dataset.training_weight)[kept],
            fingerprint=fingerprint.hexdigest(),
        )

    def drawn(self, dataset: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(the canaries' training rows of the data without canaries Int[count], their wrong classes Int[count], whether each is
        included Bool[count])."""
        rows = dataset.splits["train"]
        label, classes = np.asarray(rows.targets.get(self.target, np.zeros(0))), len(dataset.classes.get(self.target, ()))
        if label.ndim != 1 or classes < 2:
            raise DataError(f"Canaries.target is {self.target!r}; it must be one of at least two classes per row")
        if not 2 <= self.count <= len(rows):
            raise DataError(f"Canaries.count is {self.count}; it must be at least 2 and at most {len(rows)}, the training rows")
        bits = np.random.Philox(key=np.array([self.seed, 0], np.uint64), counter=STREAM).random_raw(3 * len(rows))
        chosen = np.sort(np.argsort(bits[: len(rows)], kind="stable")[: self.count])
        shift = (1 + bits[len(rows) :][chosen] % np.uint64(classes - 1)).astype(np.int64)
        included = bits[2 * len(rows) :][chosen] >> np.uint64(63) == 1
        return chosen, ((label[chosen] + shift) % classes).astype(label.dtype), included


def audit_models(
    apply: Callable[[Any, Batch], Any], variables: list[Any], loss: Loss, data: Canaries, guesses: int, delta: float
) -> list[PrivacyAudit]:
    """An audit of each trained model, jointly at 95 % confidence (Bonferroni). The score of a canary is minus its loss.

    apply: (variables, batch) -> outputs in inference mode. variables: of each model.
    """
    from mmjax.data.feed import HostFeed

    dataset = data.data.load()
    chosen, label, included = data.drawn(dataset)
    rows: Rows = jax.tree.map(lambda leaf: np.asarray(leaf)[chosen], dataset.splits["train"])
    rows = rows.replace(targets={**rows.targets, data.target: label})
    batch = HostFeed(dataset, rows, sorted(dataset.columns))(np.arange(len(chosen)))
    values = jax.jit(lambda variables: loss(apply(variables, batch), batch))
    confidence = 1 - 0.05 / len(variables)
    return [audit(-np.asarray(_total(values(of_seed))), included, guesses, delta, confidence) for of_seed in variables]


def _total(values: Any) -> Any:
    return sum(values.values()) if isinstance(values, dict) else values
