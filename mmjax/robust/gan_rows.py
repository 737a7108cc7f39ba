"""A wrapper that adds generated rows to the training split: features of every modality from a GAN of its own."""

import dataclasses
import hashlib
import json
from typing import Annotated, Any

import jax
import numpy as np
import tyro
from rich.console import Console

from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.decode import DataError
from mmjax.data.few import load_once
from mmjax.data.splits import folds_of, with_fold
from mmjax.describe import as_json
from mmjax.robust.gan import ConditionalGAN
from mmjax.robust.gan_collapse import Fidelity, fidelity

__all__ = ["GeneratedRows", "PreparedInput", "prepared", "training_items"]


@dataclasses.dataclass(frozen=True)
class GeneratedRows:
    """The same data, with generated rows in the training split; augmentation by a GAN.

    Each modality has a GAN of its own, conditioned on the class and trained on the preprocessed items of the training split
    without `held_out` of its groups. These measure mode collapse: the numbers are printed and become part of `Dataset.source`,
    with a warning if a generator has collapsed (`gan_collapse.Fidelity`). A generated row has all modalities, which are
    independent given the class, and classes are drawn from the training rows. Its weight in the split is 0, so that baselines
    do not use it; in the loss it has the mean weight of a real row.

    data: any value with `load() -> Dataset` whose items are vectors [d], such as CachedFeatures(). gan: networks and training.
    ratio: generated rows per real row, 0 for none. modalities: those with features; None for all columns. condition: the
    name of a target Int[n], one class per row. held_out: share of the training groups that no GAN is trained on, in (0, 1).
    gan_seed: of GANs, samples and held-out groups.
    """

    data: Annotated[Any, tyro.conf.arg(name="")]
    gan: ConditionalGAN = ConditionalGAN()
    ratio: float = 1.0
    modalities: tuple[str, ...] | None = None
    condition: str = "label"
    held_out: float = 0.2
    gan_seed: int = 0

    def __post_init__(self):
        if not 0 <= self.ratio < float("inf"):
            raise DataError(f"GeneratedRows.ratio is {self.ratio}; it must be finite and at least 0")
        if not 0 < self.held_out < 1:
            raise DataError(f"GeneratedRows.held_out is {self.held_out}; it must be above 0 and below 1")

    @property
    def folds(self) -> int:
        return folds_of(self.data)

    def at_fold(self, fold: int) -> "GeneratedRows":
        """The same augmentation of the data with this test fold, with GANs of its own."""
        return dataclasses.replace(self, data=with_fold(self.data, fold))

    def load(self) -> Dataset:
        """Loads the data and trains the GANs. DataError for an unknown modality or target, or items that are not vectors."""
        dataset = load_once(self.data)
        if self.ratio == 0:
            return dataset
        names = self._checked(dataset)
        rows = dataset.splits["train"]
        known = np.flatnonzero((np.asarray(rows.targets[self.condition]) >= 0) & (np.asarray(rows.weight) > 0))
        count = round(self.ratio * len(known))
        random = np.random.default_rng(self.gan_seed)
        label = np.asarray(rows.targets[self.condition])[random.choice(known, count, replace=count > len(known))]
        columns, reports = dict(dataset.columns), {}
        for name in names:
            generated, reports[name] = self._generated(dataset, name, label)
            columns[name] = _extended(dataset.columns[name], generated)
        summary = "; ".join(_line(name, report) for name, report in reports.items())
        _report(reports)
        return dataclasses.replace(
            dataset,
            columns=columns,
            splits={**dataset.splits, "train": _joined(dataset, names, label, self.condition)},
            metadata={**dataset.metadata, "train": _metadata(dataset.metadata["train"], count)},
            training_weight=_weights(dataset, count),
            source=f"{dataset.source or type(self.data).__name__}, and {count:,} generated rows ({summary})",
            fingerprint=self.fingerprint(dataset.fingerprint),
        )

    def fingerprint(self, data: str) -> str:
        """sha256 of the fingerprint of the data and of all fields that determine the generated rows."""
        parts = [data, as_json(dataclasses.replace(self, data=None))]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _checked(self, dataset: Dataset) -> list[str]:
        """The modalities that are generated."""
        names = sorted(dataset.columns if self.modalities is None else self.modalities)
        unknown = sorted(set(names) - set(dataset.columns))
        if unknown:
            raise DataError(f"GeneratedRows.modalities names {unknown}; the data have {sorted(dataset.columns)}")
        if self.condition not in dataset.classes or np.ndim(dataset.splits["train"].targets.get(self.condition)) != 1:
            raise DataError(f"GeneratedRows.condition is {self.condition!r}; it must be a target with one class per row")
        for name in names:
            item = dataset.columns[name].read(0)
            if getattr(item, "ndim", None) != 1 or not np.issubdtype(item.dtype, np.floating):
                raise DataError(f"GeneratedRows needs vectors of features, but {name!r} has other items; name .modalities")
        return names

    def _generated(self, dataset: Dataset, name: str, label: np.ndarray) -> tuple[np.ndarray, Fidelity]:
        """(features Float32[m d] of these classes, the comparison with held-out items)."""
        x, of_item, group = training_items(dataset, name, self.condition)
        seed = int.from_bytes(hashlib.sha256(f"{self.gan_seed} {name}".encode()).digest()[:4])  # modalities are independent
        groups = np.random.default_rng(self.gan_seed).permutation(np.unique(group))
        held = np.isin(group, groups[: min(max(round(self.held_out * len(groups)), 1), len(groups) - 1)])
        if min(held.sum(), (~held).sum()) < 3:
            raise DataError(f"GeneratedRows has {len(x)} training items of {name!r}; a GAN needs at least 3, and 3 held out")
        sample = self.gan.fit(x[~held], of_item[~held], len(dataset.classes[self.condition]), seed)
        generated = sample(label, (seed + 1) % 2**32).astype(np.float32)
        return generated, fidelity(x[held], of_item[held], generated, label, x[~held])


def training_items(dataset: Dataset, name: str, target: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(features Float32[n d], classes Int[n], groups Int[n]) of the distinct training items with a class, preprocessed."""
    rows, metadata = dataset.splits["train"], dataset.metadata["train"]
    pointer, label = np.asarray(rows.pointer[name]), np.asarray(rows.targets[target])
    used = np.flatnonzero((pointer >= 0) & (label >= 0) & (np.asarray(rows.weight) > 0))
    items, first = np.unique(pointer[used], return_index=True)
    group = np.asarray(metadata["group"]) if "group" in metadata else np.arange(len(rows))
    return prepared(dataset.columns[name], items), label[used][first], group[used][first]


def prepared(column: Column, items: np.ndarray) -> np.ndarray:
    """The preprocessed features of these items, Float32[n d]."""
    read = np.stack([np.asarray(column.read(int(item))) for item in items])
    return np.asarray(jax.jit(column.preprocess)(read), np.float32)


@dataclasses.dataclass(frozen=True)
class PreparedInput:
    """A new raw input -> its preprocessed features [d]. parse, preprocess: of the column."""

    parse: Any
    preprocess: Any

    def __call__(self, raw: Any) -> np.ndarray:
        return np.asarray(self.preprocess(np.asarray(self.parse(raw))[None]), np.float32)[0]


def _extended(column: Column, generated: np.ndarray) -> Column:
    """The column with the generated items after its own, all of them preprocessed; there are no originals."""
    features = np.concatenate([prepared(column, np.arange(column.count)), generated])
    parse = None if column.parse is None else PreparedInput(column.parse, column.preprocess)
    return Column(len(features), features.__getitem__, identity, parse=parse)


def _joined(dataset: Dataset, names: list[str], label: np.ndarray, target: str) -> Rows:
    """The training rows and then the generated ones, which have weight 0 and no other target."""
    rows, count = dataset.splits["train"], len(label)

    def missing(leaf):
        leaf = np.asarray(leaf)
        empty = np.nan if np.issubdtype(leaf.dtype, np.floating) else -1
        return np.concatenate([leaf, np.full((count, *leaf.shape[1:]), empty, leaf.dtype)])

    new = lambda name: dataset.columns[name].count + np.arange(count) if name in names else np.full(count, -1)
    pointer = {name: np.concatenate([p, new(name)]).astype(np.asarray(p).dtype) for name, p in rows.pointer.items()}
    targets = {name: missing(leaf) for name, leaf in rows.targets.items()}
    targets[target][-count:] = label
    return Rows(pointer, targets, np.concatenate([rows.weight, np.zeros(count, np.asarray(rows.weight).dtype)]))


def _weights(dataset: Dataset, count: int) -> np.ndarray:
    """The weights of the loss: those of the real rows, and their mean for each generated row."""
    weight = np.asarray(dataset.training_rows.weight, np.float32)
    return np.concatenate([weight, np.full(count, weight.mean(), np.float32)])


def _metadata(metadata: Any, count: int) -> dict[str, np.ndarray]:
    """The columns with entries for the generated rows: an id and a group of their own, "" or -1 otherwise."""
    out = {}
    for name, column in metadata.items():
        column = np.asarray(column)
        empty = np.full(count, "") if column.dtype.kind in "UO" else np.full(count, -1, column.dtype)
        out[name] = np.concatenate([column, empty])
    out["id"] = np.concatenate([np.asarray(metadata["id"]), np.array([f"generated {i}" for i in range(count)])])
    if "group" in metadata:
        groups = np.asarray(metadata["group"])
        out["group"] = np.concatenate([groups, -1 - np.arange(count, dtype=groups.dtype)])
    return out


def _line(name: str, report: Fidelity) -> str:
    return (
        f"{name}: coverage {report.coverage:.2f} of {report.reference:.2f}, density {report.density:.2f}, "
        f"variance ratio {report.variance_ratio:.2f}"
    )


def _report(reports: dict[str, Fidelity]) -> None:
    """Prints one line with the numbers of all generators, and one warning for each that has collapsed."""
    console = Console(soft_wrap=True, highlight=False)
    console.print("generated rows: " + "; ".join(_line(name, report) for name, report in reports.items()), markup=False)
    for name, report in reports.items():
        if report.collapsed:
            console.print(f"warning: the generator of {name!r} may have collapsed ({_line(name, report)})", markup=False)
