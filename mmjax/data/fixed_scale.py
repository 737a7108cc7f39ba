"""A wrapper that scales inputs by fixed numbers instead of statistics of the training split."""

import dataclasses
import hashlib
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import tyro

from mmjax.data.dataset import Dataset
from mmjax.data.decode import DataError
from mmjax.data.scale import Scaled
from mmjax.data.splits import folds_of, with_fold
from mmjax.types import Padded

__all__ = ["FixedScale", "fixed"]


@dataclasses.dataclass(frozen=True)
class FixedScale:
    """The same data with (x - mean) / deviation of given numbers in the place of z-scores of the training split.

    Differential privacy needs it: z-scores are computed from the training rows without noise.

    data: any value with `load() -> Dataset` whose columns are z-scored, such as Stamps(). scales: (modality, mean, deviation)
    of each z-scored modality, such as ("image", 0.5, 0.5) for pixels in [0, 1]. Modalities that are not named keep their
    z-scores.
    """

    data: Annotated[Any, tyro.conf.arg(name="")]
    scales: tuple[tuple[str, float, float], ...] = (("image", 0.5, 0.5),)

    @property
    def folds(self) -> int:
        return folds_of(self.data)

    def at_fold(self, fold: int) -> "FixedScale":
        """The same data with this test fold."""
        return dataclasses.replace(self, data=with_fold(self.data, fold))

    def load(self) -> Dataset:
        """Loads the data. Raises DataError if a modality is not z-scored, or a deviation is not above 0."""
        dataset = self.data.load()
        columns = dict(dataset.columns)
        for name, mean, deviation in self.scales:
            if name not in columns or not isinstance(columns[name].preprocess, Scaled):
                known = ", ".join(sorted(m for m, column in columns.items() if isinstance(column.preprocess, Scaled))) or "none"
                raise DataError(f"FixedScale.scales names {name!r}; the modalities with z-scores are {known}")
            if not deviation > 0:
                raise DataError(f"FixedScale.scales: the deviation of {name!r} is {deviation}; it must be above 0")
            preprocess = partial(fixed, columns[name].preprocess.before, mean, deviation)
            columns[name] = dataclasses.replace(columns[name], preprocess=preprocess)
        fingerprint = hashlib.sha256(f"{dataset.fingerprint} fixed {self.scales}".encode()).hexdigest()
        return dataclasses.replace(dataset, columns=columns, fingerprint=fingerprint)


def fixed(before: Callable[[Any], Any], mean: float, deviation: float, batch: Any) -> Any:
    """(x - mean) / deviation after other preprocessing."""
    x = before(batch)
    return Padded((x.x - mean) / deviation, x.length) if isinstance(x, Padded) else (x - mean) / deviation
