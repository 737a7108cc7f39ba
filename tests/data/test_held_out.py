import dataclasses

import numpy as np
import pytest

from mmjax.data.check import check_dataset
from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.decode import DataError
from mmjax.data.held_out import HeldOut
from mmjax.data.splits import folds_of, with_fold

SPLITS = {"train": range(0, 12), "validation": range(12, 18), "test": range(18, 24)}


@dataclasses.dataclass(frozen=True)
class Spoken:
    """24 rows in three languages, in turn."""

    def load(self):
        at = {name: np.array(rows) for name, rows in SPLITS.items()}
        rows = lambda of: Rows({"x": of}, {"label": of % 2}, np.ones(len(of), np.float32))
        language = np.array(["fr", "es", "ru"])
        return Dataset(
            {"x": Column(24, lambda i: np.zeros(1, np.float32), identity)},
            {name: rows(of) for name, of in at.items()},
            {name: {"id": of.astype(str), "group": of, "language": language[of % 3]} for name, of in at.items()},
            "spoken",
            classes={"label": ("a", "b")},
        )


def languages(dataset):
    return {split: sorted(set(of["language"].tolist())) for split, of in dataset.metadata.items()}


def test_a_value_is_in_the_test_split_alone():
    held = HeldOut(Spoken(), "language", ("fr", "ru"))
    assert folds_of(held) == 2
    dataset = with_fold(held, 1).load()
    check_dataset(dataset)
    assert languages(dataset) == {"train": ["es", "fr"], "validation": ["es", "fr"], "test": ["ru"]}
    assert dataset.splits["test"].pointer["x"].tolist() == [20, 23]
    seen = with_fold(dataclasses.replace(held, unseen=False), 1).load()
    assert languages(seen) == {"train": ["es", "fr", "ru"], "validation": ["es", "fr", "ru"], "test": ["ru"]}
    assert seen.splits["test"].pointer["x"].tolist() == [20, 23]
    prints = {one.load().fingerprint for one in (held, with_fold(held, 1), dataclasses.replace(held, unseen=False), Spoken())}
    assert len(prints) == 4


def test_errors_name_what_is_there():
    with pytest.raises(DataError, match="one of group, id, language"):
        HeldOut(Spoken(), "speaker", ("fr",)).load()
    with pytest.raises(DataError, match="the test split has es, fr, ru, so nothing is left"):
        HeldOut(Spoken(), "language", ("la",)).load()
    with pytest.raises(DataError, match="there are 1 values"):
        HeldOut(Spoken(), "language", ("fr",), fold=1)
