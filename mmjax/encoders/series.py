"""Encoders of time series (sensors, motion): padded readings, x Float[b n channels] -> Tokens."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmjax.nn import Dropout, Transformer, last_state
from mmjax.nn.attention import gelu
from mmjax.nn.checks import non_negative, positive, rate, transformer_fields
from mmjax.types import Padded, Tokens

__all__ = ["TCN", "CausalConv", "PatchTransformer", "TemporalConvolutions", "TimeTransformer", "causal_conv"]


def causal_conv(x: Float[Array, "b n c"], kernel: Float[Array, "k c d"], dilation: int) -> Float[Array, "b n d"]:
    """y_t = sum_i kernel_i x_{t - dilation (k - 1 - i)}, with zeros before the first step (Bai et al., 2018, equation 2).

    Computed as one matmul over the k concatenated shifted views, which is also fast on a CPU under `vmap` over kernels and
    inside `scan`.
    """
    taps, channels, features = kernel.shape
    padded = jnp.pad(x, ((0, 0), (dilation * (taps - 1), 0), (0, 0)))
    views = [padded[:, dilation * i : dilation * i + x.shape[1]] for i in range(taps)]
    kernel = kernel.reshape(taps * channels, features)
    return jnp.matmul(jnp.concatenate(views, axis=-1), kernel, preferred_element_type=jnp.float32)


class CausalConv(nn.Module):
    """`causal_conv` with a bias and weight normalisation (Salimans and Kingma, 2016, equation 2): kernel = g v / |v|.

    The norm is over the taps and channels of each feature, and g starts at |v|. The output is float32.
    features: output channels. taps: length of the kernel. dilation: in steps. dtype: of the matmul.
    """

    features: int
    taps: int
    dilation: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n d"]:
        norm = lambda v: jnp.sqrt(jnp.maximum(jnp.sum(v * v, axis=(0, 1)), 1e-12))
        shape = (self.taps, x.shape[-1], self.features)
        direction = self.param("direction", nn.initializers.he_normal(in_axis=(0, 1)), shape)
        length = self.param("length", lambda key: norm(direction))
        kernel = direction * (length / norm(direction))[None, None]
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return causal_conv(x.astype(self.dtype), kernel.astype(self.dtype), self.dilation) + bias[None, None]


class TemporalConvolutions(nn.Module):
    """A layer of residual blocks, block i with dilation 2^i (Bai et al., 2018, figure 1): [b n c] -> [b n widths[-1]].

        x <- relu(x + F(x)),   F = twice (weight-normalised dilated causal convolution, ReLU, spatial dropout)

    If the widths differ, the added x passes a 1x1 convolution. The output at a step depends on it and earlier steps only, on
    1 + 2 (taps - 1) (2^blocks - 1) steps in all, so padding at the end has no influence.

    widths: channels of each block. taps: length of each kernel. dropout: rate of dropping whole channels of an example, as in
    the paper (its code drops single values). dtype: of the convolutions.
    """

    widths: tuple[int, ...] = (32, 32, 32)
    taps: int = 3
    dropout: float = 0.0
    dtype: Any = jnp.float32

    last = staticmethod(last_state)

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"], mask: Bool[Array, "b n"], *, train: bool = False) -> Float[Array, "b n d"]:
        positive(self, "widths", "taps")
        rate(self, "dropout")
        x = jnp.where(mask[..., None], x, 0).astype(jnp.float32)
        for block, width in enumerate(self.widths):
            y = x
            for layer in ("a", "b"):
                y = nn.relu(CausalConv(width, self.taps, 2**block, self.dtype, name=f"block{block}{layer}")(y))
                channels = jnp.ones((y.shape[0], 1, width), y.dtype)
                y = y * Dropout(self.dropout, name=f"dropout{block}{layer}")(channels, train=train)
            if x.shape[-1] != width:
                x = nn.Dense(width, dtype=self.dtype, name=f"skip{block}")(x).astype(jnp.float32)
            x = nn.relu(x + y)
        return x


class TCN(nn.Module):
    """Temporal convolutional network (Bai, Kolter and Koltun, 2018, "An empirical evaluation of generic convolutional and
    recurrent networks for sequence modeling"): `TemporalConvolutions`, with the last valid step as the single token.

    widths, taps, dropout, dtype: as in `TemporalConvolutions`. every_step: one token per step instead.
    """

    widths: tuple[int, ...] = (32, 32, 32)
    taps: int = 3
    every_step: bool = False
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, series: Padded, *, train: bool = False) -> Tokens:
        positive(self, "widths", "taps")
        rate(self, "dropout")
        layer = TemporalConvolutions(self.widths, self.taps, self.dropout, self.dtype, name="convolutions")
        x = layer(series.x, series.mask, train=train)
        if self.every_step:
            return Tokens(x, series.mask)
        return Tokens(last_state(x, series.length)[:, None], (series.length > 0)[:, None])


class TimeTransformer(nn.Module):
    """Learned position embeddings, a pre-norm Transformer and a layer norm, as in ViT: a layer, [b n d] -> [b n d].

    depth, heads, hidden, dropout, activation, dtype: as in `nn.Transformer`. The number of positions n is that of the input at
    initialisation.
    """

    depth: int = 2
    heads: int = 4
    hidden: int = 128
    dropout: float = 0.0
    activation: Callable = gelu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"], *, train: bool = False) -> Float[Array, "b n d"]:
        positive(self, "heads", "hidden")
        non_negative(self, "depth")
        rate(self, "dropout")
        positions = self.param("positions", nn.initializers.normal(0.02), x.shape[1:])
        x = Dropout(self.dropout, name="dropout")(x.astype(jnp.float32) + positions[None], train=train)
        x = Transformer(
            self.depth, self.heads, self.hidden, self.dropout, activation=self.activation, dtype=self.dtype, name="transformer"
        )(x, mask, train=train)
        return nn.LayerNorm(epsilon=1e-6, name="norm")(x)


class PatchTransformer(nn.Module):
    """A Transformer over patches of time: one token per patch, which is valid if one of its steps is.

    A dense layer projects each patch of `patch` steps, with all channels, to a token; then `TimeTransformer`. PatchTST (Nie et
    al., 2023, "A time series is worth 64 words") has overlapping patches and processes each channel by itself; for the latter,
    make each channel a modality. Steps beyond the length count as zeros.

    patch: steps per patch. width: of the tokens. depth, heads, hidden, dropout: as in `TimeTransformer`. dtype: of the
    matmuls.
    """

    patch: int = 4
    width: int = 64
    depth: int = 2
    heads: int = 4
    hidden: int = 128
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, series: Padded, *, train: bool = False) -> Tokens:
        positive(self, "patch")
        transformer_fields(self)
        x = jnp.where(series.mask[..., None], series.x, 0)
        x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % self.patch), (0, 0)))
        x = x.reshape(x.shape[0], -1, self.patch * x.shape[-1])
        mask = jnp.arange(x.shape[1])[None] * self.patch < series.length[:, None]
        x = nn.Dense(self.width, dtype=self.dtype, name="patch_embedding")(x)
        over_time = TimeTransformer(self.depth, self.heads, self.hidden, self.dropout, dtype=self.dtype, name="over_time")
        return Tokens(over_time(x, mask, train=train), mask)
