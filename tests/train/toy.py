"""The smallest training problem that has everything: two modalities, dropout, augmentation, unequal weights."""

from dataclasses import dataclass
from functools import cached_property, partial

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.data.augment import DropModalities, Flip, Shift
from mmjax.encoders import CNN, TextRNN
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.losses import cross_entropy
from mmjax.model import Multimodal
from mmjax.nn import LSTM
from mmjax.train.loop import Leg
from mmjax.train.optim import AdamW
from mmjax.train.parallel import single
from mmjax.train.seeds import orders
from mmjax.train.step import begin, make_step
from mmjax.types import Batch, Padded

ROWS, CLASSES = 20, 3
AUGMENT = {"shift": Shift(1), "flip": Flip(0.5), "modalities": DropModalities(0.4)}


def dataset(rows: int = ROWS) -> Batch:
    """NumPy leaves [rows ...]: weights from 0.25 to 1 and some 0, some rows without a picture, a text or both."""
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
    """model, tx and step of one problem; `batches` as `train.loop.fit` wants them, of all seeds [s b ...]."""

    modalities: tuple[str, ...] = ("image", "text")
    dropout: float = 0.3
    batch: int = 8
    steps: int = 6

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

    def step(self, augment=AUGMENT):
        return make_step(self.model, cross_entropy, self.tx, augment)

    def leg(self, first=0, learns=None) -> Leg:
        """A stage of this training that begins at step `first`."""
        step = make_step(self.model, cross_entropy, self.tx, AUGMENT, learns=learns)
        return Leg(first, jax.vmap(partial(begin, tx=self.tx, learns=learns)), single(step))

    def batch_of(self, seeds, step: int) -> Batch:
        """[s b ...], each seed's rows in its own order."""
        rows = orders(seeds, ROWS, self.batch)(step)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf[rows]), self.data)

    def batches(self, seeds):
        return lambda first: (self.batch_of(seeds, step) for step in range(first, self.steps))

    def one_seed(self) -> Batch:
        """A batch [b ...] that gives shapes."""
        return jax.tree.map(lambda leaf: jnp.asarray(leaf[: self.batch]), self.data)
