"""Corruptions of batches and of the items of a data set."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from mmjax.data.augment.each import for_each_example
from mmjax.data.dataset import Column, Dataset, stack
from mmjax.robust.corruptions.levels import SEVERITIES, Change, Severity, TextChange
from mmjax.types import Batch, Declared, Padded

__all__ = ["CHUNK", "COLOURS", "Corruption", "changed", "corrupted", "corrupted_items"]

COLOURS = 3  # channels beyond it, such as alpha, stay as they are
CHUNK = 64  # items in one call


@dataclass(frozen=True)
class Corruption:
    """An `Augment` that corrupts the inputs of one modality, at one severity: in training, or by `robust.Corrupt` in a test.

    change: a `Change`, such as `GaussianNoise()`. severity: 1 to 5, or 0 for the identity. mean, deviation: how the model's
    input was made from the original one, x = (original - mean) / deviation, for all channels or for each one.
    """

    change: Declared[Change]
    severity: int = 1
    modality: str = "image"
    mean: float | tuple[float, ...] = 0.0
    deviation: float | tuple[float, ...] = 1.0

    def __post_init__(self):
        _check(self.severity)

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        def one(key, x):
            old, array = x, x.x if isinstance(x, Padded) else x
            wide = lambda values: jnp.broadcast_to(jnp.asarray(values, jnp.float32), array.shape[-1:])
            lead = (None,) * (array.ndim - 1)
            mean, deviation = (wide(values)[lead] if array.ndim > 1 else values for values in (self.mean, self.deviation))
            original = array * deviation + mean
            new = changed(self.change, key, x.replace(x=original) if isinstance(x, Padded) else original, self.severity)
            back = ((new.x if isinstance(new, Padded) else new) - mean) / deviation
            if not isinstance(x, Padded):
                return back
            return new.replace(x=jnp.where(_valid(new), back, old.x))

        return for_each_example(one, batch, self.modality, key) if self.severity else batch


def changed(change: Change, key: Key[Array, ""], x: Any, severity: Severity) -> Any:
    """One example's input in original units after a corruption; exactly x at severity 0. Padding and alpha stay as they are."""
    if isinstance(x, Padded):
        new = change(key, x, severity)
        new = new.replace(x=jnp.where(_valid(new), new.x, jnp.where(new.length == x.length, x.x, 0)).astype(x.x.dtype))
    elif x.ndim == 3 and x.shape[-1] > COLOURS:
        new = jnp.concatenate([change(key, x[..., :COLOURS], severity), x[..., COLOURS:]], axis=-1).astype(x.dtype)
    else:
        new = change(key, x, severity).astype(x.dtype)
    return jax.tree.map(lambda new, old: jnp.where(jnp.asarray(severity) > 0, new, old), new, x)


def corrupted(
    dataset: Dataset, changes: Mapping[str, Any], severity: int, split: str = "test", seed: int = 0
) -> Dataset:
    """The data set with corrupted inputs of one split. Other splits must not be used.

    changes: {modality: a `Change` or `TextChange`}; they apply to the items as they are read, before preprocessing. An item
    that several rows have is corrupted once, with random numbers that depend on its number and the seed, not on the severity.
    All items of the split are held in memory. ValueError for a severity other than 0 to 5.
    """
    _check(severity)
    rows, columns = dataset.splits[split], dict(dataset.columns)
    pointer = dict(rows.pointer)
    for name, change in changes.items():
        old = np.asarray(rows.pointer[name])
        used = np.unique(old[old >= 0])
        pointer[name] = np.where(old >= 0, np.searchsorted(used, old), -1).astype(old.dtype)
        items = corrupted_items(columns[name], used, change, severity, seed)
        columns[name] = dataclasses.replace(columns[name], count=max(len(used), 1), read=partial(_item, items), original=None)
    splits = {**dataset.splits, split: rows.replace(pointer=pointer)}
    return dataclasses.replace(dataset, columns=columns, splits=splits)


def corrupted_items(column: Column, numbers: np.ndarray, change: Any, severity: int, seed: int = 0) -> Any:
    """These items of a column, [k ...] in NumPy, after a corruption; the first item of the column if there are no numbers.

    Bytes (uint8) are pixels in [0, 255], and int16 samples of a sound, as `Column.read` returns them; results are rounded.
    """
    if severity == 0 or not len(numbers):
        return stack([column.read(int(number)) for number in (numbers if len(numbers) else [0])])
    if isinstance(change, TextChange):
        random = lambda number: np.random.default_rng([seed, int(number)])
        text = lambda number: change.text(random(number), column.original(int(number)), severity)
        return stack([column.parse(text(number)) for number in numbers])
    parts = []
    for start in range(0, len(numbers), CHUNK):
        part = numbers[start : start + CHUNK]
        full = np.concatenate([part, np.repeat(part[-1:], CHUNK - len(part))])  # one shape, one compilation
        items = stack([column.read(int(number)) for number in full])
        found = _changed(change, jax.random.key(seed), full.astype(np.uint32), items, severity)
        parts.append(jax.tree.map(lambda leaf, n=len(part): np.asarray(leaf)[:n], found))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


@partial(jax.jit, static_argnames="change")
def _changed(change: Change, key: Key[Array, ""], numbers: Any, items: Any, severity: Any) -> Any:
    """Items [k ...] in original units, changed, and rounded to their dtype again."""
    array = items.x if isinstance(items, Padded) else items
    scale = {"u": 255, "i": 32767}.get(np.dtype(array.dtype).kind, 1)
    whole = scale > 1

    def one(number, item):
        key_of_item = jax.random.fold_in(key, number)
        floats = lambda x: x.astype(jnp.float32) / scale if whole else x
        original = item.replace(x=floats(item.x)) if isinstance(item, Padded) else floats(item)
        new = changed(change, key_of_item, original, severity)
        back = lambda x: jnp.round(x * scale).astype(array.dtype) if whole else x
        return new.replace(x=back(new.x)) if isinstance(new, Padded) else back(new)

    return jax.vmap(one)(numbers, items)


def _item(items: Any, number: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[number], items)


def _valid(x: Padded) -> Array:
    return (jnp.arange(x.x.shape[0]) < x.length).reshape(-1, *(1,) * (x.x.ndim - 1))


def _check(severity: int) -> None:
    if severity not in (0, *SEVERITIES):
        raise ValueError(f"severity is {severity}; it must be 0 (unchanged) to {SEVERITIES[-1]}")
