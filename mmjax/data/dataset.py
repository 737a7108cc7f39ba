"""A prepared data set: rows that point into columns, one column per modality.

A row is an example. Its pointer into a column is the number of its item of that modality, or -1 if the modality is absent.
Several rows may point to one item: an image that nine voices describe is stored once.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Int

from mmjax.types import Batch


@struct.dataclass
class Rows:
    """The examples of one split: a pytree of arrays that lead with the n rows.

    pointer: {modality: Int[n]}, -1 where the modality is absent.
    targets: {name: array}: Int[n], a class; Int[n m], a class for each of m steps; Int[n l], 0 or 1 for each of l labels; or
    Float[n ...], values. A target is missing if it is negative (integers) or NaN (floats).
    weight: Float[n].
    """

    pointer: Mapping[str, Any]
    targets: Mapping[str, Any]
    weight: Any

    def __len__(self) -> int:
        return self.weight.shape[0]

    def at(self, index: Int[Array, "*b"]) -> "Rows":
        """The rows with these numbers. -1 gives padding: all modalities absent, weight 0, any target."""
        real = index >= 0
        taken = jax.tree.map(lambda leaf: leaf[index], self)
        pointer = {name: jnp.where(real, p, -1) for name, p in taken.pointer.items()}
        return taken.replace(pointer=pointer, weight=jnp.where(real, taken.weight, 0))


@dataclasses.dataclass(frozen=True)
class Column:
    """How one modality's items are read and preprocessed.

    count: the number of items. read: number -> array or Padded without batch dimension, small (uint8, int16); runs on the host.
    preprocess: batch of such items -> the encoder's input (float32; log-mel and z-scores belong here); jitted.
    original: number -> the decoded item for the preprocessing of published weights: an image uint8 [h w c], a str, or a sound
    (samples float32 [t], rate in Hz); None if there is none. fingerprint: sha256 of all originals in order, "" without them.
    encode: any text -> an item as `read` returns it; None for other modalities.
    """

    count: int
    read: Callable[[int], Any]
    preprocess: Callable[[Any], Any]
    original: Callable[[int], Any] | None = None
    fingerprint: str = ""
    encode: Callable[[str], Any] | None = None


def identity(x: Any) -> Any:
    """The preprocessing of a column whose items are the encoder's input."""
    return x


def no_media(row: int) -> dict[str, Any]:
    """The media of a data set that has nothing to display."""
    del row
    return {}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What `load` of a data value returns; splits are named "train", "validation" and "test", their leaves are NumPy arrays.

    columns: {modality: Column}. splits: {split: Rows}.
    metadata: {split: {column: array [n]}}, with an entry for each row, or for each labelled step if targets have steps. Always
    "id" (str), which names an example, and "group" (int): examples of one group are not independent and share a split.
    Optional columns, such as "text" and "language" (str), are displayed and group the results.
    fingerprint: sha256 of the data and of every choice that made them.
    sizes: {modality: {name: int}}, what encoders must know, such as the vocabulary. classes: {target: names of its classes or
    labels}; regression, retrieval and captions have none. dropped: {reason: count}. media: index into the metadata of the test
    split -> what the report displays: any of id, caption, language (str), image (PNG) and sound (MP3) (bytes).
    source: what the examples were read through. training_weight: Float[n], the weights of the training rows in the loss, None
    for those of the split; baselines are fitted with those of the split.
    """

    columns: Mapping[str, Column]
    splits: Mapping[str, Rows]
    metadata: Mapping[str, Mapping[str, np.ndarray]]
    fingerprint: str
    sizes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    media: Callable[[int], dict[str, Any]] = no_media
    source: str = ""
    training_weight: np.ndarray | None = None

    @property
    def training_rows(self) -> Rows:
        """The rows of the training split with their weights in the loss."""
        rows = self.splits["train"]
        return rows if self.training_weight is None else rows.replace(weight=self.training_weight)


def stack(items: list[Any]) -> Any:
    """Items without a batch dimension -> one batch."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *items)


def gather(columns: Mapping[str, Any], rows: Rows) -> Batch:
    """The batch of these rows from columns on the device, {modality: array [m ...] or Padded}; works under jit and vmap.

    The input of an absent modality is the item of some other row; it must not be used.
    """
    inputs = {name: jax.tree.map(lambda leaf, p=rows.pointer[name]: leaf[p], column) for name, column in columns.items()}
    present = {name: rows.pointer[name] >= 0 for name in columns}
    return Batch(inputs, present, rows.targets, rows.weight)
