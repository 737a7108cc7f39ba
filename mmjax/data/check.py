"""Checks of a prepared `Dataset` before training: shapes, ranges, finite values, and content that two splits share.

The work is bounded: arrays of rows are checked completely, at most MAX_FLOAT or MAX_OTHER items of a column are read, and at
most MAX_ROWS rows of a split are compared. An error names the split, the field and the id of the row.
"""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mmjax.data.dataset import Column, Dataset, Rows
from mmjax.data.decode import DataError

__all__ = ["MAX_BYTES", "MAX_FLOAT", "MAX_OTHER", "MAX_POINTERS", "MAX_ROWS", "MIN_SIZE", "SPLITS", "check_dataset"]

SPLITS = ("train", "validation", "test")
MAX_FLOAT = 4096  # items of a float column that are read, evenly spaced
MAX_OTHER = 256  # larger columns of integers are not read: they are always finite, and may be costly to decode
MAX_BYTES = 256_000_000  # of a float column that are read
MAX_POINTERS, MAX_ROWS = 1_000_000, 10_000_000  # rows of a split whose items are chosen from, and that are compared
MIN_SIZE = 16  # items with fewer numbers, such as an age, are equal by chance


def check_dataset(dataset: Dataset) -> None:
    """Raises DataError for the first part of a data set that training or scoring could not use.

    Warns, with counts, if rows of the test or validation split have content that training rows have too: an equal image, sound,
    series or vector, or equal inputs of all modalities. Nothing is changed.
    """
    missing = [split for split in SPLITS if split not in dataset.splits]
    if missing:
        known = ", ".join(dataset.splits) or "none"
        raise DataError(f"the data have no {missing[0]} split; they need {', '.join(SPLITS)}, and have {known}")
    if not dataset.columns:
        raise DataError("the data have no modality; `columns` needs at least one Column")
    for split, rows in dataset.splits.items():
        _check_metadata(dataset, split)
        _check_weight(split, np.asarray(rows.weight), dataset)
        _check_pointers(split, dataset)
        _check_targets(split, dataset)
    if dataset.training_weight is not None:
        _check_weight("train", np.asarray(dataset.training_weight), dataset, "training_weight")
    contents = {name: _check_items(name, dataset) for name in dataset.columns}
    for line in _shared(dataset, contents):
        warnings.warn(line, stacklevel=2)


def _where(dataset: Dataset, split: str, row: int | np.integer) -> str:
    """The split and the row, with its id if the metadata have one entry per row."""
    ids = dataset.metadata.get(split, {}).get("id", ())
    named = f" ({ids[row]!s})" if len(ids) == len(dataset.splits[split]) else ""
    return f"{split} split, row {row}{named}"


def _check_metadata(dataset: Dataset, split: str) -> None:
    columns = dataset.metadata.get(split, {})
    if "id" not in columns:
        raise DataError(f"the metadata of the {split} split have no 'id' column; each example needs a name")
    count = len(dataset.splits[split])
    if not count:
        raise DataError(f"the {split} split has no rows; it needs at least one")
    for name, values in columns.items():
        if len(values) != len(columns["id"]):
            expected = len(columns["id"])
            raise DataError(f"metadata column {name!r} of the {split} split has {len(values)} entries, and 'id' {expected}")


def _check_weight(split: str, weight: np.ndarray, dataset: Dataset, name: str = "weight") -> None:
    count = len(dataset.splits[split])
    if weight.shape != (count,) or weight.dtype.kind != "f":
        raise DataError(f"{name} of the {split} split is {weight.dtype}{list(weight.shape)}; it must be Float[{count}]")
    wrong = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
    if len(wrong):
        where = _where(dataset, split, wrong[0])
        raise DataError(f"{where}: {name} is {weight[wrong[0]]}; it must be a finite number of at least 0")
    if not weight.any():
        raise DataError(f"{name} of the {split} split is 0 everywhere; at least one row needs a weight above 0")


def _check_pointers(split: str, dataset: Dataset) -> None:
    pointers, count = dataset.splits[split].pointer, len(dataset.splits[split])
    if pointers.keys() != dataset.columns.keys():
        given, known = ", ".join(sorted(pointers)), ", ".join(sorted(dataset.columns))
        raise DataError(f"the {split} split points to the modalities {given or 'none'}; the columns are {known}")
    for name, pointer in pointers.items():
        pointer, items = np.asarray(pointer), dataset.columns[name].count
        if items < 1:
            raise DataError(f"modality {name!r} has no items; leave it out")
        if pointer.shape != (count,) or pointer.dtype.kind != "i":
            given = f"{pointer.dtype}{list(pointer.shape)}"
            raise DataError(f"pointer {name!r} of the {split} split is {given}; it must be Int[{count}]")
        wrong = np.flatnonzero((pointer < -1) | (pointer >= items))
        if len(wrong):
            raise DataError(
                f"{_where(dataset, split, wrong[0])}: it points to item {pointer[wrong[0]]} of {name!r}; items are 0 to "
                f"{items - 1}, and -1 is an absent one"
            )


def _check_targets(split: str, dataset: Dataset) -> None:
    count, targets = len(dataset.splits[split]), dataset.splits[split].targets
    first = dataset.splits["train"].targets
    if targets.keys() != first.keys():
        given, known = (", ".join(sorted(names)) or "none" for names in (targets, first))
        raise DataError(f"the {split} split has the targets {given}; the training split has {known}")
    for name, target in targets.items():
        target, trained = np.asarray(target), np.asarray(first[name])
        if target.ndim < 1 or len(target) != count or target.dtype.kind not in "if":
            given = f"{target.dtype}{list(target.shape)}"
            raise DataError(f"target {name!r} of the {split} split is {given}; it must be Int or Float with {count} rows")
        if target.dtype.kind != trained.dtype.kind or target.shape[1:] != trained.shape[1:]:
            given, known = (f"{array.dtype} with rows of the shape {list(array.shape[1:])}" for array in (target, trained))
            raise DataError(f"target {name!r} of the {split} split is {given}; that of the training split is {known}")
        wrong = np.isinf(target) if target.dtype.kind == "f" else _beyond_classes(target, dataset.classes.get(name))
        rows = np.flatnonzero(wrong.reshape(count, -1).any(axis=1))
        if len(rows):
            value, where = target[rows[0]][wrong[rows[0]]].flat[0], _where(dataset, split, rows[0])
            wanted = "a finite number, or NaN if it is missing"
            if target.dtype.kind == "i":
                wanted = f"0 to {max(len(dataset.classes[name]), 2) - 1}, or negative if it is missing"
            raise DataError(f"{where}: target {name!r} is {value}; it must be {wanted}")


def _beyond_classes(target: np.ndarray, classes: tuple[str, ...] | None) -> np.ndarray:
    """Where an integer target has no class of that number. A multi-label target is 0 or 1, also with a single label."""
    return np.zeros(target.shape, bool) if classes is None else target >= max(len(classes), 2 * (target.ndim > 1))


def _check_items(name: str, dataset: Dataset) -> dict[int, bytes] | None:
    """{item: a hash of its content} of the items that are read; None for a modality whose content is not compared."""
    column = dataset.columns[name]
    pointers = [_evenly(np.asarray(rows.pointer[name]), MAX_POINTERS) for rows in dataset.splits.values()]
    used = np.sort(np.concatenate(pointers))
    used = used[(used >= 0) & np.append(True, used[1:] != used[:-1])]
    if not len(used):
        return None
    example = _read(column, int(used[0]), name, dataset)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(example)]
    size = sum(leaf.nbytes for leaf in leaves)
    if any(leaf.dtype.kind == "f" for leaf in leaves):
        limit = min(MAX_FLOAT, max(1, MAX_BYTES // max(size, 1)))
        used = _evenly(used, limit)
    elif len(used) > MAX_OTHER:
        return {}
    shapes, contents = [(leaf.shape, leaf.dtype) for leaf in leaves], {}
    compared = _is_compared(leaves)
    for number in used.tolist():
        item = [np.asarray(leaf) for leaf in jax.tree.leaves(_read(column, number, name, dataset))]
        if [(leaf.shape, leaf.dtype) for leaf in item] != shapes:
            found, wanted = (_listed(of) for of in ([(leaf.shape, leaf.dtype) for leaf in item], shapes))
            raise DataError(f"{_of_item(dataset, name, number)}: its {name!r} is {found}; other items are {wanted}")
        for leaf in item:
            if leaf.dtype.kind == "f" and not np.isfinite(leaf).all():
                raise DataError(
                    f"{_of_item(dataset, name, number)}: its {name!r} has {leaf[~np.isfinite(leaf)].flat[0]}; all values of a "
                    "present input must be finite, and a missing input has the pointer -1"
                )
        if compared:
            contents[number] = hashlib.sha256(b"".join(leaf.tobytes() for leaf in item)).digest()
    return contents if compared else None


def _listed(shapes: Sequence[tuple[tuple[int, ...], np.dtype]]) -> str:
    return ", ".join(f"{dtype}{list(shape)}" for shape, dtype in shapes)


def _is_compared(leaves: list[np.ndarray]) -> bool:
    """Whether equal items are evidence of a leak: not token ids, since short texts repeat, and not a few numbers."""
    largest = max(leaves, key=lambda leaf: leaf.size)
    return largest.size >= MIN_SIZE and largest.dtype not in (np.int32, np.int64)


def _read(column: Column, number: int, name: str, dataset: Dataset) -> Any:
    try:
        return column.read(number)
    except (DataError, ImportError):
        raise
    except Exception as error:  # a user's function can raise anything
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{_of_item(dataset, name, number)}: its {name!r} cannot be read ({reason})") from error


def _of_item(dataset: Dataset, name: str, number: int) -> str:
    """The first row that points to an item."""
    for split, rows in dataset.splits.items():
        found = np.flatnonzero(np.asarray(rows.pointer[name]) == number)
        if len(found):
            return _where(dataset, split, int(found[0]))
    return f"item {number}"


def _shared(dataset: Dataset, contents: Mapping[str, Mapping[int, bytes] | None]) -> list[str]:
    """A line for each modality whose items rows of the test or validation split share with training rows.

    If there is none for a split, a line for the rows that equal a training row in the inputs of all modalities.
    """
    codes = {
        split: {name: _codes(rows, name, contents[name] or {}) for name in dataset.columns}
        for split, rows in dataset.splits.items()
    }
    lines = []
    for split in (split for split in dataset.splits if split != "train"):
        found = {
            repr(name): _in_both(codes["train"][name], codes[split][name])
            for name, known in contents.items()
            if known is not None
        }
        if not any(own for own, _ in found.values()):
            whole = _in_both(_mixed(codes["train"]), _mixed(codes[split]))
            found = {"inputs of all modalities": whole}
        total = len(next(iter(codes[split].values())))
        lines += [
            f"{own:,} of {total:,} rows of the {split} split have {what} equal to that of {trained:,} training rows; put rows "
            "with equal content into one group"
            for what, (own, trained) in found.items()
            if own
        ]
    return lines


def _codes(rows: Rows, name: str, contents: Mapping[int, bytes]) -> np.ndarray:
    """Int64[rows with a weight], equal for rows whose items have the same number or the same hash; -1 if absent."""
    pointer = np.asarray(rows.pointer[name])[_evenly(np.flatnonzero(np.asarray(rows.weight) > 0), MAX_ROWS)].astype(np.int64)
    if contents:
        first: dict[bytes, int] = {}
        numbers = np.array(list(contents))  # ascending
        same = np.array([first.setdefault(content, number) for number, content in contents.items()])
        at = np.minimum(np.searchsorted(numbers, pointer), len(numbers) - 1)
        pointer = np.where(numbers[at] == pointer, same[at], pointer)
    return pointer


def _mixed(codes: Mapping[str, np.ndarray]) -> np.ndarray:
    """Int64[n], equal for rows with equal codes in all modalities; -1 if all are absent. Collisions are negligible."""
    mixed = np.zeros(len(next(iter(codes.values()))), np.uint64)
    for code in codes.values():
        mixed = (mixed ^ code.view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    absent = np.all([code < 0 for code in codes.values()], axis=0)
    return np.where(absent, -1, (mixed >> np.uint64(1)).astype(np.int64))


def _in_both(train: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """The number of other rows, and of training rows, that have a code in common."""
    own = _contained(other, train)
    return int(own.sum()), int(_contained(train, other[own]).sum()) if own.any() else 0


def _contained(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Bool[n], where a value that is not negative is one of the others. One sort: `numpy.isin` makes several."""
    if not len(others):
        return np.zeros(len(values), bool)
    others = np.sort(others)
    return (others[np.minimum(np.searchsorted(others, values), len(others) - 1)] == values) & (values >= 0)


def _evenly(values: np.ndarray, most: int) -> np.ndarray:
    """At most this number of the values, evenly spaced."""
    return values if len(values) <= most else values[np.linspace(0, len(values) - 1, most).round().astype(int)]
