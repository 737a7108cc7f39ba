"""Presence reaches every encoder with batch statistics, through every wrapper, and no other encoder."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.encoders import CNN, VGG, EfficientNetLite, FrameRNN, FrameWise, LoRA, OnSpectrum, Pooled, ResNet
from mmjax.nn.mel import LogMel
from mmjax.nn.presence import encode, takes_present
from mmjax.nn.recurrent import LSTM
from mmjax.types import Padded, Tokens


class Count(nn.Module):
    """An encoder whose token is the number of present examples."""

    takes_present = True

    def __call__(self, x, *, train=False, present=None):
        size = (x.x if isinstance(x, Padded) else x).shape[0]
        return Tokens(jnp.full((size, 1, 1), present.sum(), jnp.float32), jnp.ones((size, 1), bool))


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        (ResNet(), True),
        (EfficientNetLite(), True),
        (VGG(batch_norm=True), True),
        (VGG(batch_norm=False), False),
        (CNN(), False),
        (Pooled(ResNet()), True),
        (Pooled(CNN()), False),
        (OnSpectrum(LogMel(), Count()), True),
        (OnSpectrum(LogMel(), FrameRNN()), False),
        (FrameWise(ResNet(), LSTM(4)), False),  # it passes the mask of the frames instead
        (LoRA(CNN()), False),  # its encoder has no batch statistics
    ],
)
def test_declarations(encoder, expected):
    assert takes_present(encoder) is expected


@pytest.mark.parametrize(
    ("encoder", "x"),
    [
        (Count(), jnp.zeros((3, 2))),
        (Pooled(Count()), jnp.zeros((3, 2))),
        (OnSpectrum(LogMel(), Count()), Padded(jnp.zeros((3, 700)), jnp.full(3, 700))),
    ],
)
def test_present_reaches_the_encoder(encoder, x):
    class Model(nn.Module):
        inner: nn.Module

        def __call__(self, x):
            return encode(self.inner, x, jnp.array([True, False, True]))

    np.testing.assert_array_equal(Model(encoder).apply({}, x).x[:, 0, 0], [2, 2, 2])
