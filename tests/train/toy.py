"""A minimal training problem with all features: two modalities, dropout, augmentation, unequal weights."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.data.augment import DropModalities, Flip, Shift
from mmjax.data.dataset import Rows
from mmjax.encoders import CNN, TextRNN
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.losses import cross_entropy
from mmjax.model import Multimodal
from mmjax.nn import LSTM
from mmjax.train.loop import TrainData
from mmjax.train.optim import AdamW
from mmjax.train.seeds import orders
from mmjax.train.step import make_step
from mmjax.train.training import Schedule, Training
from mmjax.types import Batch, Padded

ROWS, CLASSES = 20, 3
AUGMENT = {"shift": Shift(1), "flip": Flip(0.5), "modalities": DropModalities(0.4)}


def dataset(rows: int = ROWS) -> Batch:
    """NumPy leaves [rows ...]: weights from 0.25 to 1 and some 0, some rows without an image, a text or both."""
    random = np.random.default_rng(0)
    number = np.arange(rows)
    inputs = {
        "image": random.normal(size=(rows, 4, 4, 4)).astype(np.float32),
        "text": Padded(random.integers(0, 9, (rows, 3)).astype(np.int32), (1 + number % 3).astype(np.int32)),
    }
    present = {"image": number % 5 != 0, "text": number % 3 != 1}
    targets = {"label": (number % CLASSES).astype(np.int32)}
    weight = np.where(number % 7 == 6, 0, (1 + number % 4) / 4).astype(np.float32)
    return Batch(inputs, present, targets, weight)


@dataclass(frozen=True)
class Toy:
    """Model, data and training of one problem. options: fields of `Schedule` and `Training`."""

    modalities: tuple[str, ...] = ("image", "text")
    dropout: float = 0.3
    batch: int = 8
    steps: int = 6
    options: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def model(self) -> Multimodal:
        encoders = {
            "image": CNN(widths=(3,), dropout=self.dropout),
            "text": TextRNN(vocabulary=9, embedding=3, layer=LSTM(3), dropout=self.dropout),
        }
        encoders = {name: encoders[name] for name in self.modalities}
        return Multimodal(encoders, Concat(width=4, dropout=self.dropout), {"label": Classifier(CLASSES)})

    @cached_property
    def tx(self):
        return AdamW(lr=0.02)(self.steps)

    @cached_property
    def data(self) -> Batch:
        return dataset()

    @cached_property
    def training(self) -> Training:
        """Evaluated every second step, a checkpoint every third."""
        schedule = {"steps": self.steps, "evaluate_every": 2, "checkpoint_every": 3}
        schedule |= {name: value for name, value in self.options.items() if name in Schedule.__dataclass_fields__}
        rest = {name: value for name, value in self.options.items() if name in Training.__dataclass_fields__}
        training = Training(self.model, cross_entropy, AdamW(lr=0.02), Schedule(**schedule), augment=AUGMENT)
        return replace(training, **rest)

    @property
    def rows(self) -> Rows:
        """The rows of the data; item i of each modality is that of row i."""
        pointer = {name: np.where(there, np.arange(ROWS), -1) for name, there in self.data.present.items()}
        return Rows(pointer, self.data.targets, self.data.weight)

    def step(self, augment=AUGMENT):
        return make_step(self.model, cross_entropy, self.tx, augment)

    def batch_of(self, seeds, step: int) -> Batch:
        """[s b ...], each seed's rows in its own order."""
        rows = orders(seeds, ROWS, self.batch)(step)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf[rows]), self.data)

    def chunk_of(self, seeds, steps) -> Batch:
        """[k s b ...]."""
        rows = np.stack([orders(seeds, ROWS, self.batch)(step) for step in steps])
        return jax.tree.map(lambda leaf: jnp.asarray(leaf[rows]), self.data)

    def train_data(self, seeds) -> TrainData:
        return TrainData(lambda chunks: (self.chunk_of(seeds, chunk) for chunk in chunks), orders(seeds, ROWS, self.batch))

    def one_seed(self) -> Batch:
        """A batch [b ...] for its shapes."""
        return jax.tree.map(lambda leaf: jnp.asarray(leaf[: self.batch]), self.data)
