"""Encoders of feature vectors for the contract suite."""

import jax

from mmjax.encoders.features import Contextual, Features
from mmjax.nn import LSTM
from mmjax.nn.context import SelfAttention
from mmjax.nn.recurrent import Bidirectional
from tests.contracts.inputs import BATCH, frames


def vectors(key, width=6):
    return jax.random.normal(key, (BATCH, width))


# name -> (module, key -> input)
ENCODERS = {
    "features": (Features(width=6, dropout=0.3), vectors),
    "contextual_lstm": (Contextual(Bidirectional(LSTM(4)), width=6, dropout=0.3), frames),
    "contextual_attention": (Contextual(SelfAttention(4, heads=2, dropout=0.3), dropout=0.3), frames),
}
