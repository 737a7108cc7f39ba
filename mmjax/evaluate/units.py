"""What is scored: the entries of a target that have a label. A row may have one, none (-1), or one at each of its steps."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mmjax.data.dataset import Rows


@dataclass(frozen=True)
class Units:
    """label Int[u]; weight Float[u], a row's weight shared equally by its units; about: {name: array [u]}.

    place: where the units lie among the row-major entries of the target; at: their places in the split's `about`.
    """

    label: np.ndarray
    weight: np.ndarray
    about: Mapping[str, np.ndarray]
    place: np.ndarray
    at: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def of(self, outputs: Float[np.ndarray, "s k rows *n c"]) -> Float[np.ndarray, "s k u c"]:
        """A model's outputs for all rows -> those of the units."""
        seeds, subsets, *entries, classes = outputs.shape
        return outputs.reshape(seeds, subsets, int(np.prod(entries)), classes)[:, :, self.place]


def units(rows: Rows, about: Mapping[str, np.ndarray], target: str) -> Units:
    """The units of a split. `about` has an entry for each row; where rows have steps, for each step with a label."""
    label = np.asarray(rows.targets[target])
    there = label >= 0
    place = np.flatnonzero(there)
    if label.ndim == 1:
        weight, at = np.asarray(rows.weight)[place], place
    else:
        share = np.asarray(rows.weight) / np.maximum(there.sum(axis=1), 1)
        weight, at = np.repeat(share, label.shape[1])[place], np.arange(len(place))
    known = {name: np.asarray(array)[at] for name, array in about.items()}
    known |= {name: np.full(len(place), "") for name in ("language", "text") if name not in known}
    return Units(label.reshape(-1)[place], weight.astype(np.float32), known, place, at)
