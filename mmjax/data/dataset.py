"""A prepared data set: rows that point into columns, one column a modality, read from a device or from a stream.

A row is an example. Its pointer into a column says which item it has of that modality, -1 that it has none; several rows may
point at one item (a picture described by nine voices is kept once).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Int

from mmjax.types import Batch


@struct.dataclass
class Rows:
    """Examples of one split; a pytree of arrays that lead with n.

    pointer: {modality: Int[n]}, -1 where absent; targets: {name: Int[n]}, or Int[n m] for rows of m steps, -1 where there is
    no label; weight: Float[n].
    """

    pointer: Mapping[str, Any]
    targets: Mapping[str, Any]
    weight: Any

    def __len__(self) -> int:
        return self.weight.shape[0]

    def at(self, index: Int[Array, "*b"]) -> "Rows":
        """The rows with these numbers; -1 gives padding: nothing present, weight 0."""
        real = index >= 0
        taken = jax.tree.map(lambda leaf: leaf[index], self)
        pointer = {name: jnp.where(real, p, -1) for name, p in taken.pointer.items()}
        return taken.replace(pointer=pointer, weight=jnp.where(real, taken.weight, 0))


def equally_weighted(rows: Rows, target: str) -> Rows:
    """NumPy rows in which every class of a target, Int[n], weighs the same, and all of them as much as before; those without
    a label (-1) keep their weight."""
    label, weight = rows.targets[target], np.array(rows.weight)
    there = label >= 0
    total = np.bincount(label[there], weight[there])
    weight[there] *= (total.sum() / max(np.count_nonzero(total), 1) / np.maximum(total, 1e-30))[label[there]]
    return rows.replace(weight=weight)


@dataclasses.dataclass(frozen=True)
class Column:
    """How one modality's items are had. `read` runs on the host, an item at a time; `finish` is jitted, on batches.

    count: items; read: number -> array or Sequence without batch dimension, raw and small (uint8, int16);
    finish: batch of raw items -> what the encoder takes (float32; log-mel and z-scores belong here).
    raw: number -> the item as it comes, for a published preprocessing: a picture uint8 [h w c], a str, or a sound (samples
    float32 [t], rate in Hz); None where there is no such thing. identity: sha256 of all raw items in their order, "" without.
    """

    count: int
    read: Callable[[int], Any]
    finish: Callable[[Any], Any]
    raw: Callable[[int], Any] | None = None
    identity: str = ""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """columns: {modality: Column}; splits: {"train" | "validation" | "test": Rows} with NumPy leaves; classes: {target: names}.

    sizes: {modality: numbers an encoder must know, such as the vocabulary}. about: {split: {name: array [n]}}, what reports
    and groupings need of each row, or of each labelled step where targets have steps: "id" (str) and "group" (int; groups are
    never split), and where there is such a thing "text" and "language" (str). dropped: {why: count}. fingerprint: of the data
    and of every choice that made it. media: place in the test split's `about` -> what a person sees and hears of it: any of
    caption, language (str), image (PNG), sound (MP3) (bytes). source: what the examples were read through.
    """

    columns: Mapping[str, Column]
    splits: Mapping[str, Rows]
    classes: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, Mapping[str, int]]
    about: Mapping[str, Mapping[str, np.ndarray]]
    dropped: Mapping[str, int]
    fingerprint: str
    media: Callable[[int], dict[str, Any]]
    source: str


def stack(items: list[Any]) -> Any:
    """Items without a batch dimension -> one with it."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *items)


def gather(columns: Mapping[str, Any], rows: Rows) -> Batch:
    """The batch of these rows from columns kept on the device, {modality: array [m ...] or Sequence}; jit- and vmap-safe.

    Where a modality is absent the batch holds some other row's item: `present` says so, and nothing may look.
    """
    inputs = {name: jax.tree.map(lambda leaf, p=rows.pointer[name]: leaf[p], column) for name, column in columns.items()}
    present = {name: rows.pointer[name] >= 0 for name in columns}
    return Batch(inputs, present, rows.targets, rows.weight)
