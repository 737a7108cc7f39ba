"""Audio encoders: padded spectral frames, x Float[b n bands] (see `mmjax.nn.mel`) -> Tokens."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool

from mmjax.nn.attention import Transformer
from mmjax.nn.checks import positive, rate, transformer_fields
from mmjax.nn.conv import Conv, max_pool
from mmjax.nn.dropout import Dropout
from mmjax.nn.presence import encode, takes_present
from mmjax.nn.recurrent import LSTM, read
from mmjax.types import Padded, Tokens

__all__ = ["AST", "FrameRNN", "OnSpectrum", "SpectrogramCNN", "ast_base"]


class FrameRNN(nn.Module):
    """A dense layer with ReLU on each frame, then a recurrent layer. Its last state is the single token.

    width: of the dense layer. layer: a recurrent layer of `mmjax.nn.recurrent`, or a module with the same methods.
    every_step: one token per frame instead. dropout: rate on the output of the dense layer and on the tokens. dtype: of the
    dense layer; the recurrent layer has its own.
    """

    width: int = 128
    layer: nn.Module = LSTM(128)
    every_step: bool = False
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, frames: Padded, *, train: bool = False) -> Tokens:
        positive(self, "width")
        rate(self, "dropout")
        x = nn.relu(nn.Dense(self.width, dtype=self.dtype, name="frame")(frames.x))
        x = Dropout(self.dropout, name="frame_dropout")(x, train=train)
        tokens = read(self.layer, Padded(x, frames.length), self.every_step, train=train)
        return tokens.replace(x=Dropout(self.dropout, name="dropout")(tokens.x, train=train))


class SpectrogramCNN(nn.Module):
    """Stages of 3x3 convolution over time and frequency, ReLU and 2x2 max-pooling, then the mean over frequency.

    One token per remaining time step, as in the CNNs of Kong et al. (2020, "PANNs") before pooling over time, but with one
    convolution per stage and without batch norm. Steps beyond the length are zeroed before each convolution, so the tokens do
    not depend on the amount of padding. A pooled step is valid if one of its steps is.

    widths: channels of each stage; each stage halves time (rounded up) and bands (rounded down). dropout: rate on the tokens.
    dtype: of the convolutions. Raises ValueError if there are fewer than 2^stages bands.
    """

    widths: tuple[int, ...] = (16, 32, 64)
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, frames: Padded, *, train: bool = False) -> Tokens:
        positive(self, "widths")
        rate(self, "dropout")
        shrink = 2 ** len(self.widths)
        if frames.x.shape[2] < shrink:
            raise ValueError(
                f"SpectrogramCNN.widths has {len(self.widths)} stages, each of which halves the bands; it needs at least "
                f"{shrink} bands, but the input has {frames.x.shape[2]}"
            )
        x = jnp.pad(frames.x, ((0, 0), (0, -frames.x.shape[1] % shrink), (0, 0)))[..., None]
        mask = Padded(x, frames.length).mask
        x = jnp.where(mask[..., None, None], x, 0)
        for stage, width in enumerate(self.widths):
            x = Conv(width, dtype=self.dtype, name=f"stage{stage}")(x)
            x = nn.relu(max_pool(jnp.where(mask[..., None, None], x, 0)))  # after the ReLU, zeros never exceed a valid value
            mask = mask[:, ::2]  # valid steps come first: a pair has one if its first step is valid
        x = jnp.mean(x, axis=2, dtype=jnp.float32)
        return Tokens(Dropout(self.dropout, name="dropout")(x, train=train), mask)


class AST(nn.Module):
    """Audio Spectrogram Transformer (Gong et al., 2021): overlapping patches of a log-mel spectrogram as tokens.

    A class token, a distillation token and the patches, ordered by band and then by time; learned positions, a pre-norm
    Transformer with exact GELU, and a final norm. It returns all tokens; the paper classifies the mean of the first two.

    An input shorter than `frames` has the patches that start inside it, with the same positions. A patch is valid if one of
    its frames is; its frames beyond the length count as zeros.

    bands, frames: size of the largest input. patch: side of a square patch. stride: distance of patches, (bands, frames).
    width, depth, heads, hidden: of the Transformer. dropout: rate on the embedded tokens and in the Transformer. epsilon: of
    the norms. dtype: of convolution and matmuls; norms and tokens are float32. Raises ValueError if the input has another
    number of bands or more frames.
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
        """The number of patches of the largest input, (over bands, over time)."""
        return tuple((size - self.patch) // step + 1 for size, step in zip((self.bands, self.frames), self.stride))

    @nn.compact
    def __call__(self, frames: Padded, *, train: bool = False) -> Tokens:
        positive(self, "bands", "frames", "patch", "stride")
        transformer_fields(self)
        if self.patch > min(self.bands, self.frames):
            raise ValueError(
                f"AST.patch is {self.patch}; it must be at most AST.bands ({self.bands}) and AST.frames ({self.frames})"
            )
        (batch, length, bands), (rows, max_columns) = frames.x.shape, self.grid
        if bands != self.bands or length > self.frames:
            raise ValueError(
                f"AST takes {self.bands} bands (AST.bands) and at most {self.frames} frames (AST.frames), but the input has "
                f"{bands} bands and {length} frames"
            )
        columns = min(max_columns, -(-length // self.stride[1]))
        needed = (columns - 1) * self.stride[1] + self.patch
        x = jnp.where(frames.mask[..., None], frames.x, 0)[:, :needed]
        x = jnp.pad(x, ((0, 0), (0, needed - x.shape[1]), (0, 0))).swapaxes(1, 2)[..., None]
        conv = Conv(self.width, (self.patch, self.patch), self.stride, "VALID", dtype=self.dtype, name="patches")
        x = conv(x).astype(jnp.float32)

        positions = self.param("positions", nn.initializers.normal(0.02), (2 + rows * max_columns, self.width))
        x = x + positions[2:].reshape(1, rows, max_columns, self.width)[:, :, :columns]
        first = self.param("first", nn.initializers.zeros_init(), (2, self.width)) + positions[:2]
        first = jnp.broadcast_to(first[None], (batch, 2, self.width))
        x = jnp.concatenate([first, x.reshape(batch, rows * columns, self.width)], axis=1)

        starts = jnp.arange(columns) * self.stride[1]
        valid = jnp.tile(starts[None] < frames.length[:, None], (1, rows))
        mask = jnp.concatenate([jnp.repeat(frames.length[:, None] > 0, 2, axis=1), valid], axis=1)
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
    """The size of the paper: 10.24 s at 100 frames per second, 128 bands, 1212 patches, 12 layers of width 768.

    fields: any other field of AST.
    """
    return AST(width=768, depth=12, heads=12, hidden=3072, **fields)


class OnSpectrum(nn.Module):
    """An encoder of waveforms: padded samples, x Float[b t] in [-1, 1] -> frames of the front end -> the encoder's tokens.

    The front end is part of the model, so augmentation and attribution apply to waveforms.
    front: LogMel or MFCC of `mmjax.nn.mel`, or an object with their method `sequence`. encoder: an encoder of frames.
    """

    front: Any
    encoder: nn.Module

    @property
    def takes_present(self) -> bool:
        return takes_present(self.encoder)

    @nn.compact
    def __call__(self, wave: Padded, *, train: bool = False, present: Bool[Array, " b"] | None = None) -> Tokens:
        return encode(self.encoder, self.front.sequence(wave), present, train=train)
