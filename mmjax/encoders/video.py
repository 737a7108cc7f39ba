"""Video encoders: a Padded of frames, x Float[b frames h w c] -> Tokens."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mmjax.encoders.series import TimeTransformer
from mmjax.nn import Dropout, Transformer, masked_mean
from mmjax.nn.attention import gelu_tanh
from mmjax.nn.presence import encode
from mmjax.types import Padded, Tokens


class Identity(nn.Module):
    """Returns the frames unchanged. The mean of its output ignores their order."""

    def __call__(self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"], *, train: bool = False) -> Float[Array, "b n d"]:
        return x


class FrameWise(nn.Module):
    """An image encoder on each frame, the mean of a frame's tokens, then `over_time` on the frames' vectors.

    encoder: any image encoder. over_time: (x [b n d], mask Bool[b n]) -> [b n h], such as `GRU(64)`, `TimeTransformer()`,
    `TemporalConvolutions()` or `Identity()`. every_step: a token for each frame, whose mean fusions and heads take; else one,
    the state after the last real frame, which recurrent layers have.
    """

    encoder: nn.Module
    over_time: nn.Module
    every_step: bool = True

    @nn.compact
    def __call__(self, video: Padded, *, train: bool = False) -> Tokens:
        batch, frames, *picture = video.x.shape
        mask = video.mask
        pictures = video.x.reshape(batch * frames, *picture)
        tokens = encode(self.encoder, pictures, mask.reshape(-1), train=train)
        x = masked_mean(tokens).astype(jnp.float32).reshape(batch, frames, -1)
        x = self.over_time(jnp.where(mask[..., None], x, 0), mask, train=train)
        if self.every_step:
            return Tokens(x, mask)
        return Tokens(self.over_time.last(x, video.length)[:, None], (video.length > 0)[:, None])


class ViViT(nn.Module):
    """Video vision Transformer, model 1 (Arnab et al., 2021, "ViViT: a video vision transformer", sections 3.1 to 3.3).

    Tubelets of frames x height x width pixels, each projected to one vector, which is a three-dimensional convolution whose
    stride is its size; a class token before them, learned positions, a pre-norm Transformer over all, a layer norm. GELU is
    the tanh approximation, epsilon 1e-6, as published weights have it. Tokens: the class token, then tubelets by frame, row
    and column; a tubelet without a real frame is masked, and its frames beyond the length are zeros.

    tubelet: (frames, pixels, pixels), which divide the video's. width: of the tokens. depth, heads, hidden: of the
    Transformer. dropout: rate on embeddings, attention and residuals. dtype: of the matmuls.
    """

    tubelet: tuple[int, int, int] = (2, 16, 16)
    width: int = 192
    depth: int = 12
    heads: int = 3
    hidden: int = 768
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, video: Padded, *, train: bool = False) -> Tokens:
        x = jnp.where(video.mask[..., None, None, None], video.x, 0)
        x = nn.Dense(self.width, dtype=self.dtype, name="tubelet_embedding")(tubelets(x, self.tubelet)).astype(jnp.float32)
        mask = jnp.concatenate([video.length[:, None] > 0, begun(video, x.shape[1], self.tubelet[0])], axis=1)
        token = self.param("class_token", nn.initializers.zeros_init(), (self.width,))
        x = jnp.concatenate([jnp.broadcast_to(token[None, None], (x.shape[0], 1, self.width)), x], axis=1)
        encoder = TimeTransformer(
            self.depth, self.heads, self.hidden, self.dropout, activation=gelu_tanh, dtype=self.dtype, name="encoder"
        )
        return Tokens(encoder(x, mask, train=train), mask)


class VideoMAE(nn.Module):
    """Encoder of a video masked autoencoder (Tong et al., 2022, "VideoMAE"), on all tubelets, as it is fine-tuned.

    Tubelets as in `ViViT`, without a class token; fixed sinusoidal positions, a pre-norm Transformer with exact GELU whose keys
    have no bias, and a norm. Tokens: tubelets by frame, row and column; one without a real frame is masked, and its frames
    beyond the length are zeros.

    tubelet: (frames, pixels, pixels), which divide the video's. width: of the tokens. depth, heads, hidden: of the
    Transformer. final_norm: False where a head takes the mean and has the norm after it. epsilon: of the norms. dropout: rate
    in the Transformer. dtype: of the matmuls.
    """

    tubelet: tuple[int, int, int] = (2, 16, 16)
    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    final_norm: bool = True
    epsilon: float = 1e-12
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, video: Padded, *, train: bool = False) -> Tokens:
        x = jnp.where(video.mask[..., None, None, None], video.x, 0)
        x = nn.Dense(self.width, dtype=self.dtype, name="tubelet_embedding")(tubelets(x, self.tubelet)).astype(jnp.float32)
        mask = begun(video, x.shape[1], self.tubelet[0])
        x = Dropout(self.dropout, name="dropout")(x + interleaved_sinusoids(*x.shape[1:])[None], train=train)
        transformer = Transformer(
            self.depth,
            self.heads,
            self.hidden,
            dropout=self.dropout,
            epsilon=self.epsilon,
            key_bias=False,
            dtype=self.dtype,
            name="transformer",
        )
        x = transformer(x, mask, train=train)
        return Tokens(nn.LayerNorm(self.epsilon, name="norm")(x) if self.final_norm else x, mask)


def videomae_b16(**fields: Any) -> VideoMAE:
    """The paper's ViT-B: 86.2 million parameters. fields: any other field of VideoMAE."""
    return VideoMAE(width=768, depth=12, heads=12, hidden=3072, **fields)


def interleaved_sinusoids(positions: int, width: int) -> Float[np.ndarray, "n d"]:
    """sin(p / 10000^(2 i / width)) at 2 i and the cosine of the same at 2 i + 1 (Vaswani et al., 2017, section 3.5)."""
    angles = np.arange(positions)[:, None] / 10_000 ** (np.arange(width)[None] // 2 * 2 / width)
    return np.where(np.arange(width)[None] % 2, np.cos(angles), np.sin(angles)).astype(np.float32)


def begun(video: Padded, count: int, frames: int) -> Bool[Array, "b n"]:
    """Which of `count` tubelets of so many frames have a real one."""
    grid = count * frames // video.x.shape[1]  # tubelets of the same frames
    return (jnp.arange(count) // grid * frames)[None] < video.length[:, None]


def tubelets(x: Float[Array, "b t h w c"], size: tuple[int, int, int]) -> Float[Array, "b n p"]:
    """Blocks of `size` (frames, rows, columns) side by side in that order, each flattened with its channels last.

    Raises ValueError unless the sizes divide the video's.
    """
    if any(whole % part for whole, part in zip(x.shape[1:4], size)):
        raise ValueError(f"ViViT.tubelet is {size}, which does not divide the video's {x.shape[1:4]} frames, rows and columns")
    (t, h, w), (dt, dh, dw) = (whole // part for whole, part in zip(x.shape[1:4], size)), size
    x = x.reshape(x.shape[0], t, dt, h, dh, w, dw, x.shape[-1])
    return x.transpose(0, 1, 3, 5, 2, 4, 6, 7).reshape(x.shape[0], t * h * w, -1)


def vivit_b16x2(**fields: Any) -> ViViT:
    """ViViT-B/16x2 (section 4.1): 88.6 million parameters at 224 px and 32 frames, as the weights published on Kinetics.
    fields: any other field of ViViT."""
    return ViViT(tubelet=(2, 16, 16), width=768, depth=12, heads=12, hidden=3072, **fields)
