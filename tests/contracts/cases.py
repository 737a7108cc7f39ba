"""What the contract suite runs over. A new encoder or fusion joins by adding a line, and all the properties apply to it."""

import jax
import jax.numpy as jnp

from mmjax.encoders import CNN, FrameLSTM, TextLSTM
from mmjax.fusion import Concat, Gated, MeanLogits
from mmjax.heads import Classifier, Mean
from mmjax.types import Sequence

CLASSES, BATCH = 5, 8


def image(key, size=16):
    return jax.random.normal(key, (BATCH, size, size, 4))


def words(key, length=7, vocabulary=30):
    numbers, lengths = jax.random.split(key)
    return Sequence(
        jax.random.randint(numbers, (BATCH, length), 0, vocabulary), jax.random.randint(lengths, (BATCH,), 1, length + 1)
    )


def frames(key, length=9, bands=6):
    values, lengths = jax.random.split(key)
    return Sequence(
        jax.random.normal(values, (BATCH, length, bands)), jax.random.randint(lengths, (BATCH,), 1, length + 1)
    )


# name -> (module, key -> input)
ENCODERS = {
    "cnn": (CNN(widths=(4, 6), dropout=0.3), image),
    "text_lstm": (TextLSTM(vocabulary=30, width=6, dropout=0.3), words),
    "frame_lstm": (FrameLSTM(width=6, dropout=0.3), frames),
}

# name -> (fusion, head)
FUSIONS = {
    "concat": (Concat(width=6, dropout=0.3), Classifier(CLASSES)),
    "gated": (Gated(width=6, dropout=0.3), Classifier(CLASSES)),
    "late": (MeanLogits(CLASSES, width=6, dropout=0.3), Mean()),
}


def is_float(x) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating)
