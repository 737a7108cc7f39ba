"""wav2vec 2.0 (Baevski et al., 2020): padded samples, x Float[b t] at 16 kHz -> Tokens."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from mmjax.nn.attention import Transformer, gelu
from mmjax.nn.checks import divides, positive, transformer_fields
from mmjax.nn.conv import Conv
from mmjax.nn.dropout import Dropout
from mmjax.types import Padded, Tokens

__all__ = ["TAPS_PER_MATMUL", "PositionalConv", "TimeNorm", "Wav2Vec2", "grouped_conv", "wav2vec2_base", "wav2vec2_large"]

TAPS_PER_MATMUL = 16


class TimeNorm(nn.Module):
    """Normalises each channel of each clip over the valid steps, in float32: torch's GroupNorm with one group per channel.

    The original code includes padding in the statistics; the results are equal for clips without padding.
    """

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Float[Array, "b n d"]:
        scale = self.param("scale", nn.initializers.ones_init(), x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros_init(), x.shape[-1:])
        valid = mask[..., None]
        count = jnp.maximum(valid.sum(axis=1, keepdims=True), 1)
        x = jnp.where(valid, x.astype(jnp.float32), 0)
        x = jnp.where(valid, x - x.sum(axis=1, keepdims=True) / count, 0)
        x = x * lax.rsqrt(jnp.square(x).sum(axis=1, keepdims=True) / count + self.epsilon)
        return x * scale[None, None] + bias[None, None]


def grouped_conv(x: Float[Array, "b n d"], kernel: Float[Array, "taps c d"]) -> Float[Array, "b n d"]:
    """Convolution over time in groups of c channels, with zero padding; an even kernel extends one step further back.

    Computed as matmuls over 16 concatenated taps: XLA's grouped convolution is slow on CPUs (see `nn.conv`), and one matmul
    over all 128 taps would take 128 times the memory of x.
    """
    taps, inside, features = kernel.shape
    groups, n = features // inside, x.shape[1]
    x = jnp.pad(x, ((0, 0), (taps // 2, (taps - 1) // 2), (0, 0))).reshape(x.shape[0], -1, groups, inside)
    total = 0
    for first in range(0, taps, TAPS_PER_MATMUL):
        part = kernel[first : first + TAPS_PER_MATMUL]
        views = jnp.concatenate([x[:, first + tap : first + tap + n] for tap in range(len(part))], axis=-1)
        part = part.reshape(-1, groups, features // groups)
        total = total + jnp.einsum("bngk,kgc->bngc", views, part, preferred_element_type=jnp.float32)
    return total.reshape(x.shape[0], n, features)


class PositionalConv(nn.Module):
    """Relative positions by a grouped convolution with weight normalisation per tap (Salimans and Kingma, 2016), and GELU.

    taps: length of the kernel. groups: of channels. activation: after the convolution. dtype: of the matmuls.
    """

    taps: int = 128
    groups: int = 16
    activation: Callable = gelu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        shape = (self.taps, x.shape[-1] // self.groups, x.shape[-1])
        norm = lambda v: jnp.sqrt(jnp.maximum(jnp.sum(v * v, axis=(1, 2)), 1e-12))
        direction = self.param("direction", nn.initializers.normal((4 / (self.taps * x.shape[-1])) ** 0.5), shape)
        length = self.param("length", lambda key: norm(direction))
        bias = self.param("bias", nn.initializers.zeros_init(), x.shape[-1:])
        kernel = jnp.asarray(direction * (length / norm(direction))[:, None, None], self.dtype)
        return self.activation(grouped_conv(x.astype(self.dtype), kernel) + bias[None, None])


class Wav2Vec2(nn.Module):
    """Convolutions over samples, a norm, a dense layer, a positional convolution, and a Transformer (figure 1 of the paper,
    without the quantisation of pretraining). With the default sizes, one token per 20 ms, computed from 25 ms.

    A token is valid if all samples of its window are, as in transformers; a shorter clip has no token. The tokens do not depend
    on the amount of padding.

    widths, kernels, strides: of the convolutions, each of the same length.
    each_norm: a layer norm after each convolution, as in the large models; otherwise `TimeNorm` after the first one.
    conv_bias: whether the convolutions have a bias.
    pre_norm: pre-norm blocks and a final norm; otherwise post-norm blocks and a norm before the first one.
    width, depth, heads, hidden, activation: of the Transformer.
    taps, groups: of the positional convolution; `groups` divides `width`.
    conv_activation: after all convolutions.
    epsilon: of the norms except those of the convolutions.
    dropout: rate before and in the Transformer. dtype: of convolutions and matmuls; norms and tokens are float32.
    """

    widths: tuple[int, ...] = (512,) * 7
    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    each_norm: bool = False
    conv_bias: bool = False
    pre_norm: bool = False
    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    taps: int = 128
    groups: int = 16
    conv_activation: Callable = gelu
    activation: Callable = gelu
    epsilon: float = 1e-5
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, wave: Padded, *, train: bool = False) -> Tokens:
        positive(self, "widths", "kernels", "strides", "taps")
        transformer_fields(self)
        divides(self, "groups", "width")
        if not len(self.widths) == len(self.kernels) == len(self.strides):
            raise ValueError(
                f"Wav2Vec2.widths, .kernels and .strides have {len(self.widths)}, {len(self.kernels)} and {len(self.strides)} "
                "entries; each convolution needs one of each"
            )
        x, mask = self._frames(wave)
        x = nn.LayerNorm(self.epsilon, name="frame_norm")(x)
        x = nn.Dense(self.width, dtype=self.dtype, name="projection")(x).astype(jnp.float32)
        x = jnp.where(mask[..., None], x, 0)
        x = x + PositionalConv(self.taps, self.groups, self.conv_activation, self.dtype, name="positions")(x)
        norm = nn.LayerNorm(self.epsilon, name="norm")
        x = x if self.pre_norm else norm(x)
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        transformer = Transformer(
            self.depth,
            self.heads,
            self.hidden,
            dropout=self.dropout,
            pre_norm=self.pre_norm,
            activation=self.activation,
            epsilon=self.epsilon,
            dtype=self.dtype,
            name="transformer",
        )
        x = transformer(x, mask, train=train)
        return Tokens(norm(x) if self.pre_norm else x, mask)

    def _frames(self, wave: Padded) -> tuple[Float[Array, "b n d"], Bool[Array, "b n"]]:
        min_samples = 1
        for kernel, stride in zip(self.kernels[::-1], self.strides[::-1]):
            min_samples = (min_samples - 1) * stride + kernel
        x = jnp.where(wave.mask, wave.x, 0)
        x, length = jnp.pad(x, ((0, 0), (0, max(0, min_samples - x.shape[1]))))[..., None], wave.length
        for number, (width, kernel, stride) in enumerate(zip(self.widths, self.kernels, self.strides)):
            conv = Conv(width, (1, kernel), (1, stride), "VALID", self.conv_bias, self.dtype, name=f"conv{number}")
            x = conv(x[:, None])[:, 0].astype(jnp.float32)
            length = jnp.maximum(0, (length - kernel) // stride + 1)
            if self.each_norm:
                x = nn.LayerNorm(1e-5, name=f"conv_norm{number}")(x)
            elif number == 0:
                x = TimeNorm(name="conv_norm0")(x, Padded(x, length).mask)
            x = self.conv_activation(x)
        return x, Padded(x, length).mask


def wav2vec2_base(**fields: Any) -> Wav2Vec2:
    """Base in the paper (section 4.2): 12 layers of width 768; 94.4 million parameters. fields: any other field of Wav2Vec2."""
    return Wav2Vec2(width=768, depth=12, heads=12, hidden=3072, **fields)


def wav2vec2_large(**fields: Any) -> Wav2Vec2:
    """Large in the paper, 24 layers of width 1024, as trained on LibriVox: pre-norm, convolutions with norm and bias."""
    return Wav2Vec2(width=1024, depth=24, heads=16, hidden=4096, each_norm=True, conv_bias=True, pre_norm=True, **fields)
