"""A small dataset and an experiment that fits it."""

import numpy as np

from mmjax.data.dataset import Column, Dataset, Rows
from mmjax.encoders import CNN, TextRNN
from mmjax.experiment import Experiment
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.tasks import Classify
from mmjax.types import Padded


# Two modalities, a vocabulary of 30, and one target of 4 classes.
def rows(first: int) -> Rows:
    """Two rows with the items `first` and `first` + 1."""
    item = first + np.arange(2, dtype=np.int32)
    return Rows({"image": item, "text": item}, {"label": np.arange(2)}, np.ones(2, np.float32))


ROWS = rows(0)
DATA = Dataset(
    columns={
        "image": Column(6, lambda i: np.full((8, 8, 4), i, np.float32), lambda x: x),
        "text": Column(6, lambda i: Padded(np.full(5, i, np.int32), np.int32(3)), lambda x: x),
    },
    splits={"train": ROWS, "validation": rows(2), "test": rows(4)},
    classes={"label": tuple("abcd")},
    sizes={"image": {}, "text": {"vocabulary": 30}},
    metadata={
        split: {"id": np.array([f"{split} 0", f"{split} 1"]), "group": np.array([number, number + 1])}
        for number, split in ((0, "train"), (2, "validation"), (4, "test"))
    },
    dropped={},
    fingerprint="",
    media=lambda row: {},
    source="",
)
GOOD = Experiment(
    data=None,
    encoders={"image": CNN(widths=(4,)), "text": TextRNN(vocabulary=30, embedding=4)},
    fusion=Concat(width=4),
    heads={"label": Classifier(4)},
    tasks={"label": Classify("label")},
)
