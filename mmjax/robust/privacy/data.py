"""What a data set computes from its training rows before any private step: scales, vocabularies, repeated rows."""

import dataclasses
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from mmjax.data.components import Projected
from mmjax.data.dataset import Column
from mmjax.data.mosi.dataset import ZScores
from mmjax.data.scale import Scaled
from mmjax.data.text import TrainedTokenizer

__all__ = ["DEPTH", "FITTED", "fitted", "shared_item"]

FITTED = {
    Scaled: "means and deviations",
    ZScores: "z-scores",
    Projected: "principal components",
    TrainedTokenizer: "a trained vocabulary",
    np.ndarray: "an array of numbers",  # of unknown origin
}
DEPTH = 20


def fitted(column: Column) -> str | None:
    """What a column computes from the training rows, in words; None if nothing is known to be.

    Finds the scales and tokenizers of `mmjax.data`, and any array, in the functions of the column. A user's own column must be
    built without such statistics.
    """
    for part in (*_parts(column.preprocess, DEPTH), *_parts(column.parse, DEPTH)):
        for kind, words in FITTED.items():
            if isinstance(part, kind):
                return words
    return None


def _parts(value: Any, depth: int) -> Iterator[Any]:
    """The value, the fields of dataclasses and the arguments of partial functions inside it."""
    yield value
    if depth == 0:
        return
    inner = ()
    if isinstance(value, partial):
        inner = (value.func, *value.args, *value.keywords.values())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        inner = tuple(getattr(value, field.name) for field in dataclasses.fields(value))
    for part in inner:
        yield from _parts(part, depth - 1)


def shared_item(pointer: Mapping[str, np.ndarray], ids: np.ndarray) -> str | None:
    """Two training rows of one item or one id, in words; None if there are none.

    pointer: {modality: Int[n]}, negative if absent. ids: of the rows, [n], or of their labelled steps.
    """
    for name, numbers in pointer.items():
        if (pair := _repeated(numbers, numbers >= 0)) is not None:
            return f"training rows {pair[0]} and {pair[1]} have the same item of {name!r}"
    if len(ids) == len(next(iter(pointer.values()))) and (pair := _repeated(np.asarray(ids), np.ones(len(ids), bool))):
        return f"training rows {pair[0]} and {pair[1]} have the same id"
    return None


def _repeated(values: np.ndarray, valid: np.ndarray) -> tuple[int, int] | None:
    """The positions of two equal valid values."""
    first: dict[Any, int] = {}
    for position in np.flatnonzero(valid).tolist():
        other = first.setdefault(values[position].item(), position)
        if other != position:
            return other, position
    return None
