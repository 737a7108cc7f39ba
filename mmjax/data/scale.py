"""Normalisation of a column: by the mean and deviation of its training items, or without any statistics of them."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.data.dataset import Column, stack
from mmjax.data.decode import DataError
from mmjax.types import Padded

__all__ = [
    "MAX_ITEMS", "Normalize", "Scaled", "Standardize", "Unchanged", "UnitDirections", "UnitLength", "standardized",
    "unit_vectors",
]  # fmt: skip

MAX_ITEMS = 400  # training items that the mean and deviation of a column are computed from


def standardized(
    column: Column, pointer: np.ndarray, max_items: int = MAX_ITEMS, shared_deviation: bool = False
) -> Column:
    """The column with z-scores, (x - mean) / deviation, of each feature along the last axis.

    Features are the colours of images, the bands of spectra or the channels of series; constant features are only centred.
    pointer: Int[n], the items of the training rows, negative if absent; at most `max_items` of them, evenly spaced, are read.
    Padding is ignored. shared_deviation: divides all features by the root of their mean variance, which preserves the angles
    between centred vectors.
    Raises DataError if there is no training item.
    """
    used = np.unique(pointer[pointer >= 0])
    if not len(used):
        raise DataError("the training split has no item of a modality that other splits have; use more data or another fold")
    used = used[np.linspace(0, len(used) - 1, min(max_items, len(used))).round().astype(int)]
    items = jax.jit(column.preprocess)(stack([column.read(int(number)) for number in used]))
    if isinstance(items, Padded):
        values = np.asarray(items.x)[np.asarray(items.mask)]
    else:
        values = np.asarray(items).reshape(-1, items.shape[-1])
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    if shared_deviation:
        deviation = np.full_like(deviation, np.sqrt(np.mean(np.square(deviation))))
    constant = deviation <= 1e-6 * np.abs(values).max(axis=0)  # relative, since a constant feature varies by rounding
    deviation = np.where(constant, 1, deviation).astype(deviation.dtype)

    return dataclasses.replace(column, preprocess=Scaled(column.preprocess, mean, deviation))


@dataclasses.dataclass(frozen=True, eq=False)
class Scaled:
    """(x - mean) / deviation along the last axis, after other preprocessing. mean, deviation: Float32[d]."""

    before: Callable[[Any], Any]
    mean: np.ndarray
    deviation: np.ndarray

    def __call__(self, batch: Any) -> Any:
        x = self.before(batch)
        return Padded(self._scale(x.x), x.length) if isinstance(x, Padded) else self._scale(x)

    def _scale(self, x):
        lead = (None,) * (x.ndim - 1)
        return (x - self.mean[lead]) / self.deviation[lead]


@runtime_checkable
class Normalize(Protocol):
    """(column, pointer Int[n] of the training rows) -> the normalised column; a frozen dataclass."""

    def __call__(self, column: Column, pointer: np.ndarray) -> Column: ...


@dataclasses.dataclass(frozen=True)
class Standardize:
    """z-scores of every feature, with the statistics of all training items."""

    def __call__(self, column: Column, pointer: np.ndarray) -> Column:
        return standardized(column, pointer, column.count)


@dataclasses.dataclass(frozen=True)
class Unchanged:
    """The column as it is, for features that a published decoder reads."""

    def __call__(self, column: Column, pointer: np.ndarray) -> Column:
        del pointer
        return column


@dataclasses.dataclass(frozen=True)
class UnitDirections:
    """Scales vectors to unit length, subtracts the mean of all training items, and divides by one deviation for all features.

    Suits fusions that depend on angles, such as `RandomFourier`: z-scores would amplify features that are near zero in most
    items.
    """

    def __call__(self, column: Column, pointer: np.ndarray) -> Column:
        unit = dataclasses.replace(column, preprocess=partial(unit_vectors, column.preprocess))
        return standardized(unit, pointer, column.count, shared_deviation=True)


@dataclasses.dataclass(frozen=True)
class UnitLength:
    """Scales vectors to unit length. Nothing is computed from the training items, as differential privacy needs it."""

    def __call__(self, column: Column, pointer: np.ndarray) -> Column:
        return dataclasses.replace(column, preprocess=partial(unit_vectors, column.preprocess))


def unit_vectors(before: Callable[[Any], Any], batch: Any) -> Any:
    """The preprocessed batch, with vectors of length 1."""
    return _unit(before(batch))


def _unit(x):
    """Vectors of length 1 along the last axis; zeros remain zero."""
    if isinstance(x, Padded):
        return Padded(_unit(x.x), x.length)
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
