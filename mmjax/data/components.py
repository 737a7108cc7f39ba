"""Normalisation of a column of vectors by its principal components."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.data.dataset import Column, stack
from mmjax.data.decode import DataError

__all__ = ["PrincipalComponents", "Projected"]


@dataclasses.dataclass(frozen=True)
class PrincipalComponents:
    """The first principal components of the training items, divided by one deviation so that their mean variance is 1.

    A `data.scale.Normalize` for vectors [d], such as `CachedFeatures(normalize=PrincipalComponents(64))`. Suits generators and
    regressions from few examples. Raises DataError if the items are not vectors.

    dimensions: of the result; at most d and the number of training items less one, otherwise as many as there are.
    """

    dimensions: int = 64

    def __post_init__(self):
        if self.dimensions < 1:
            raise DataError(f"PrincipalComponents.dimensions is {self.dimensions}; it must be at least 1")

    def __call__(self, column: Column, pointer: np.ndarray) -> Column:
        used = np.unique(pointer[pointer >= 0])
        if len(used) < 2:
            raise DataError(f"PrincipalComponents needs two training items, but there are {len(used)}")
        items = jax.jit(column.preprocess)(stack([column.read(int(number)) for number in used]))
        if getattr(items, "ndim", None) != 2:
            raise DataError("PrincipalComponents needs items that are vectors [d], such as the features of CachedFeatures")
        x = np.asarray(items, np.float64)
        mean = x.mean(axis=0)
        _, singular, directions = np.linalg.svd(x - mean, full_matrices=False)
        count = min(self.dimensions, len(used) - 1, x.shape[1])
        deviation = np.sqrt(np.mean(np.square(singular[:count])) / len(used))
        matrix = directions[:count].T / max(deviation, 1e-12)
        return dataclasses.replace(
            column, preprocess=Projected(column.preprocess, mean.astype(np.float32), matrix.astype(np.float32))
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Projected:
    """(x - mean) @ matrix, after other preprocessing. mean: Float32[d]. matrix: Float32[d c]."""

    before: Callable[[Any], Any]
    mean: np.ndarray
    matrix: np.ndarray

    def __call__(self, batch: Any) -> Any:
        return jnp.matmul(self.before(batch) - self.mean[None], self.matrix, precision="highest")
