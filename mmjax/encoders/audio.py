"""Audio encoders: a Padded of spectral frames, x Float[b n bands] (`data.audio.LogMel` makes them) -> Tokens."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool

from mmjax.nn.attention import Transformer
from mmjax.nn.conv import Conv, max_pool
from mmjax.nn.dropout import Dropout
from mmjax.nn.presence import encode, takes_present
from mmjax.nn.recurrent import LSTM, read
from mmjax.types import Padded, Tokens


class FrameRNN(nn.Module):
    """A dense layer with ReLU on each frame, then a recurrent layer; its last state is the one token, or every state is one.

    width: of the dense layer. layer: LSTM, GRU, RNN, Bidirectional, Stack, or anything with their two methods
    (`mmjax.nn.recurrent`). dropout: rate on the frames' features and on the tokens. dtype: of the dense layer; the recurrent
    one has its own.
    """

    width: int = 128
    layer: nn.Module = LSTM(128)
    every_step: bool = False
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, frames: Padded, *, train: bool = False) -> Tokens:
        x = nn.relu(nn.Dense(self.width, dtype=self.dtype, name="frame")(frames.x))
        x = Dropout(self.dropout, name="frame_dropout")(x, train=train)
        tokens = read(self.layer, Padded(x, frames.length), self.every_step, train=train)
        return tokens.replace(x=Dropout(self.dropout, name="dropout")(tokens.x, train=train))


class SpectrogramCNN(nn.Module):
    """Stages of 3x3 convolution over time and frequency, ReLU and 2x2 max-pooling, then the mean over frequency.

    A token for each step of time that is left, as the CNNs of Kong et al. (2020, "PANNs") have before they pool over
    time, but with one convolution a stage and no batch norm. Steps beyond the length are zero before each convolution, so a
    clip's tokens do not depend on how far it is padded; a pooled step is there when any of its steps was.

    widths: channels of each stage; each halves time (rounded up) and bands (rounded down). dropout: rate on the tokens.
    dtype: of the convolutions.
    """

    widths: tuple[int, ...] = (16, 32, 64)
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, frames: Padded, *, train: bool = False) -> Tokens:
        shrink = 2 ** len(self.widths)
        if frames.x.shape[2] < shrink:
            raise ValueError(
                f"SpectrogramCNN.widths has {len(self.widths)} stages, each halving the bands: it needs at least {shrink} "
                f"and got {frames.x.shape[2]}"
            )
        x = jnp.pad(frames.x, ((0, 0), (0, -frames.x.shape[1] % shrink), (0, 0)))[..., None]
        mask = Padded(x, frames.length).mask
        x = jnp.where(mask[..., None, None], x, 0)
        for stage, width in enumerate(self.widths):
            x = Conv(width, dtype=self.dtype, name=f"stage{stage}")(x)
            x = nn.relu(max_pool(jnp.where(mask[..., None, None], x, 0)))  # zeros lose to any real value after the ReLU
            mask = mask[:, ::2]  # real steps come first, so a pair has one when its first is real
        x = jnp.mean(x, axis=2, dtype=jnp.float32)
        return Tokens(Dropout(self.dropout, name="dropout")(x, train=train), mask)


class AST(nn.Module):
    """Audio Spectrogram Transformer (Gong et al., 2021): overlapping patches of a log-mel spectrogram as tokens.

    Class and distillation token, then the patches, band by band and each band through time; learned positions, a pre-norm
    Transformer with exact GELU, and a final norm. All tokens come out; the paper classifies by the mean of the first two.
    Shorter inputs than `frames` get the patches that begin inside of them, at the same positions; a patch is there when any
    of its frames is real, and its frames beyond the length count as zeros.

    bands, frames: size of the largest input. patch: side of a square patch. stride: (bands, frames) between patches.
    width, depth, heads; hidden: of the MLPs. dropout: rate on the embedded tokens and in the Transformer. epsilon: of the
    norms. dtype: of convolution and matmuls; norms and tokens are float32.
    """

    bands: int = 128
    frames: int = 1024
    patch: int = 16
    stride: tuple[int, int] = (10, 10)
    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    dropout: float = 0.0
    epsilon: float = 1e-12
    dtype: Any = jnp.float32

    @property
    def grid(self) -> tuple[int, int]:
        """How many patches the largest input has, (over bands, over time)."""
        return tuple((size - self.patch) // step + 1 for size, step in zip((self.bands, self.frames), self.stride))

    @nn.compact
    def __call__(self, frames: Padded, *, train: bool = False) -> Tokens:
        (batch, length, bands), (rows, most) = frames.x.shape, self.grid
        if bands != self.bands or length > self.frames:
            raise ValueError(
                f"AST.bands is {self.bands} and .frames {self.frames}: it takes so many bands, and at most so many frames; "
                f"it got {bands} and {length}"
            )
        columns = min(most, -(-length // self.stride[1]))
        needed = (columns - 1) * self.stride[1] + self.patch
        x = jnp.where(frames.mask[..., None], frames.x, 0)[:, :needed]
        x = jnp.pad(x, ((0, 0), (0, needed - x.shape[1]), (0, 0))).swapaxes(1, 2)[..., None]
        conv = Conv(self.width, (self.patch, self.patch), self.stride, "VALID", dtype=self.dtype, name="patches")
        x = conv(x).astype(jnp.float32)

        positions = self.param("positions", nn.initializers.normal(0.02), (2 + rows * most, self.width))
        x = x + positions[2:].reshape(1, rows, most, self.width)[:, :, :columns]
        first = self.param("first", nn.initializers.zeros_init(), (2, self.width)) + positions[:2]
        first = jnp.broadcast_to(first[None], (batch, 2, self.width))
        x = jnp.concatenate([first, x.reshape(batch, rows * columns, self.width)], axis=1)

        begins = jnp.arange(columns) * self.stride[1]
        there = jnp.tile(begins[None] < frames.length[:, None], (1, rows))
        mask = jnp.concatenate([jnp.repeat(frames.length[:, None] > 0, 2, axis=1), there], axis=1)
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        transformer = Transformer(
            self.depth,
            self.heads,
            self.hidden,
            dropout=self.dropout,
            epsilon=self.epsilon,
            dtype=self.dtype,
            name="transformer",
        )
        return Tokens(nn.LayerNorm(self.epsilon, name="norm")(transformer(x, mask, train=train)), mask)


def ast_base(**fields: Any) -> AST:
    """The paper's size, 10.24 s in 128 bands every 10 ms: 12 layers of 768, 1212 patches. fields: any other field of AST."""
    return AST(width=768, depth=12, heads=12, hidden=3072, **fields)


class OnSpectrum(nn.Module):
    """A Padded of samples, x Float[b t] in [-1, 1] -> the front end's frames -> the encoder's tokens.

    With it the front end is part of the model: sounds can be augmented, and explained, as waveforms.
    front: LogMel, MFCC (`mmjax.nn.mel`) or anything with their `sequence`. encoder: one that takes frames.
    """

    front: Any
    encoder: nn.Module

    @property
    def takes_present(self) -> bool:
        return takes_present(self.encoder)

    @nn.compact
    def __call__(self, wave: Padded, *, train: bool = False, present: Bool[Array, " b"] | None = None) -> Tokens:
        return encode(self.encoder, self.front.sequence(wave), present, train=train)
