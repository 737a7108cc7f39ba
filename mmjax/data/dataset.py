"""A prepared data set: rows that point into columns, one column per modality.

A row is an example. Its pointer into a column is the number of its item of that modality, or -1 if the modality is absent.
Several rows may point to one item: an image with nine spoken descriptions gives nine rows and is stored once.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Int

from mmjax.types import Batch

__all__ = ["Column", "Data", "Dataset", "Rows", "gather", "identity", "no_media", "stack"]


@struct.dataclass
class Rows:
    """The n examples of one split: a pytree of arrays [n ...].

    pointer: {modality: Int[n]}, the number of each row's item, -1 if the modality is absent. targets: {name: array}: Int[n], a
    class; Int[n m], a class for each of m steps, or the token ids of a text and its end token; Int[n l], 0 or 1 for each of l
    labels; or Float[n ...], values. A target is missing if it is negative (integers) or NaN (floats).
    weight: Float[n].
    """

    pointer: Mapping[str, Any]
    targets: Mapping[str, Any]
    weight: Any

    def __len__(self) -> int:
        return self.weight.shape[0]

    def at(self, index: Int[Array, "*b"]) -> "Rows":
        """The rows with these numbers. -1 is padding: all modalities absent, weight 0, undefined targets."""
        real = index >= 0
        taken = jax.tree.map(lambda leaf: leaf[index], self)
        pointer = {name: jnp.where(real, p, -1) for name, p in taken.pointer.items()}
        return taken.replace(pointer=pointer, weight=jnp.where(real, taken.weight, 0))


@dataclasses.dataclass(frozen=True)
class Column:
    """How one modality's items are read and preprocessed.

    count: the number of items. read: number -> array or Padded without batch dimension, of a small dtype (uint8, int16); runs
    on the host. preprocess: a batch of these items -> the encoder's input (float32; computes log-mel frames and z-scores);
    jitted.
    original: number -> the decoded item for the preprocessing of published models: an image uint8 [h w c], a str, a sound
    (samples float32 [t], rate in Hz), or a video (`Frames`, as many as its item has); None if there are no originals.
    fingerprint: sha256 of all originals in order, "" without originals. parse: a new raw input, such as a path, text or array
    -> an item as `read` returns it (see `mmjax.data.inputs`); None if the column has no inputs from outside.

    A trained model is saved with `preprocess` and `parse`, so they should be functions with a name at the top of their file,
    frozen dataclasses, or `functools.partial` of these.
    """

    count: int
    read: Callable[[int], Any]
    preprocess: Callable[[Any], Any]
    original: Callable[[int], Any] | None = None
    fingerprint: str = ""
    parse: Callable[[Any], Any] | None = None


def identity(x: Any) -> Any:
    """The preprocessing of a column whose items are the encoder's input."""
    return x


def no_media(row: int) -> dict[str, Any]:
    """The media of a data set that has nothing to display."""
    del row
    return {}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The prepared splits of a data set, such as `Stamps().load()` returns them.

    columns: {modality: Column}. splits: {split: Rows} for "train", "validation" and "test"; the leaves are NumPy arrays.
    metadata: {split: {column: array [n]}}, with an entry for each row, or for each labelled step if targets have steps. Always
    "id" (str), which names an example, and "group" (int): examples of one group are not independent and share a split. Other
    columns, such as "text" and "language" (str), are displayed, and results can be grouped by them. fingerprint: sha256 of the
    data and of all options that affect an example. sizes: {modality: {name: int}}, sizes that determine the fields of encoders,
    such as the vocabulary. classes: {target: names of its classes or labels}; other targets have no entry. tokenizers: {target:
    `Tokenizer`} of targets that are texts; the texts themselves are a metadata column of the target's name. dropped: {reason:
    count} of examples or parts that are left out. media: index into the metadata of the test split -> media for the report: any
    of id, caption, language (str), image (PNG bytes) and sound (MP3 bytes). source: the name of the reader of the examples.
    training_weight: Float[n], the weights of the training rows in the loss; None: the weights of the split, which baselines
    always use.
    """

    columns: Mapping[str, Column]
    splits: Mapping[str, Rows]
    metadata: Mapping[str, Mapping[str, np.ndarray]]
    fingerprint: str
    sizes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tokenizers: Mapping[str, Any] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    media: Callable[[int], dict[str, Any]] = no_media
    source: str = ""
    training_weight: np.ndarray | None = None

    @property
    def training_rows(self) -> Rows:
        """The rows of the training split with their weights in the loss."""
        rows = self.splits["train"]
        return rows if self.training_weight is None else rows.replace(weight=self.training_weight)


@runtime_checkable
class Data(Protocol):
    """A data set as the value of an experiment: a frozen dataclass, whose fields are flags."""

    def load(self) -> Dataset: ...


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
