"""z-scores, fitted on the training split alone."""

import dataclasses

import jax
import numpy as np

from mmjax.data.dataset import Column, stack
from mmjax.data.decode import DataError
from mmjax.types import Padded

FITTED_ON = 400  # training items from which a column's mean and deviation are taken


def standardised(column: Column, pointer: np.ndarray, items: int = FITTED_ON, alike: bool = False) -> Column:
    """The column with z-scores, (x - mean) / deviation for each value of the last axis, fitted on training items alone.

    The last axis is what is measured: colours of pictures, bands of spectra, channels of a series.
    pointer: the training rows' items. At most `items` of them, evenly spread, are read; padding does not count.
    alike: one deviation for all values, the root of their mean variance: angles between centred vectors stay as they are.
    Raises DataError where there is no training item.
    """
    used = np.unique(pointer[pointer >= 0])
    if not len(used):
        raise DataError(
            "the training split has no item of a modality that other splits have; take more of the data, or another fold"
        )
    used = used[np.linspace(0, len(used) - 1, min(items, len(used))).round().astype(int)]
    seen = jax.jit(column.finish)(stack([column.read(int(number)) for number in used]))
    if isinstance(seen, Padded):
        values = np.asarray(seen.x)[np.asarray(seen.mask)]
    else:
        values = np.asarray(seen).reshape(-1, seen.shape[-1])
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    if alike:
        deviation = np.full_like(deviation, np.sqrt(np.mean(np.square(deviation))))
    constant = deviation <= 1e-6 * np.abs(values).max(axis=0)  # rounding alone, whatever the units: nothing to divide by
    deviation = np.where(constant, 1, deviation).astype(deviation.dtype)

    def scale(x):
        lead = (None,) * (x.ndim - 1)
        return (x - mean[lead]) / deviation[lead]

    def finish(raw):
        x = column.finish(raw)
        return Padded(scale(x.x), x.length) if isinstance(x, Padded) else scale(x)

    return dataclasses.replace(column, finish=finish)
