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
ROWS = Rows({"image": np.zeros(2, np.int32), "text": np.zeros(2, np.int32)}, {"label": np.arange(2)}, np.ones(2, np.float32))
DATA = Dataset(
    columns={
        "image": Column(1, lambda i: np.zeros((8, 8, 4), np.float32), lambda x: x),
        "text": Column(1, lambda i: Padded(np.zeros(5, np.int32), np.int32(3)), lambda x: x),
    },
    splits={"train": ROWS, "validation": ROWS, "test": ROWS},
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
