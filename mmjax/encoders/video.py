"""Video encoders: padded frames, x Float[b n h w c] -> Tokens."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mmjax.encoders.series import TimeTransformer
from mmjax.nn import Dropout, Transformer, masked_mean
from mmjax.nn.attention import gelu_tanh
from mmjax.nn.checks import positive, transformer_fields
from mmjax.nn.presence import encode
from mmjax.types import Padded, Tokens

__all__ = [
    "FrameWise", "Identity", "ViViT", "VideoMAE", "interleaved_sinusoids", "tubelets", "valid_tubelets", "videomae_b16",
    "vivit_b16x2",
]


class Identity(nn.Module):
    """Returns the frames unchanged. The mean of its output ignores their order."""

    def __call__(self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"], *, train: bool = False) -> Float[Array, "b n d"]:
        return x


class FrameWise(nn.Module):
    """An image encoder on each frame, the mean of each frame's tokens, then a layer over time.

    encoder: any image encoder. over_time: (x [b n d], mask Bool[b n], train) -> [b n h], such as `GRU(64)`,
    `TimeTransformer()`, `TemporalConvolutions()` or `Identity()`. every_step: one token per frame; otherwise the single token
    is `over_time.last`, the state after the last valid frame, which recurrent layers define.
    """

    encoder: nn.Module
    over_time: nn.Module
    every_step: bool = True

    @nn.compact
    def __call__(self, video: Padded, *, train: bool = False) -> Tokens:
        batch, frames, *image = video.x.shape
        mask = video.mask
        images = video.x.reshape(batch * frames, *image)
        tokens = encode(self.encoder, images, mask.reshape(-1), train=train)
        x = masked_mean(tokens).astype(jnp.float32).reshape(batch, frames, -1)
        x = self.over_time(jnp.where(mask[..., None], x, 0), mask, train=train)
        if self.every_step:
            return Tokens(x, mask)
        return Tokens(self.over_time.last(x, video.length)[:, None], (video.length > 0)[:, None])


class ViViT(nn.Module):
    """Video vision Transformer, model 1 (Arnab et al., 2021, "ViViT: a video vision transformer", sections 3.1 to 3.3).

    The video is cut into tubelets, and a dense layer projects each to a token; a class token, learned positions, a pre-norm
    Transformer over all tokens, and a layer norm follow. GELU is the tanh approximation and epsilon is 1e-6, as in the
    published weights. Tokens: the class token, then tubelets ordered by frame, row and column. A tubelet is valid if one of
    its frames is; its frames beyond the length count as zeros.

    tubelet: size (frames, rows, columns), which must divide the video's. width: of the tokens. depth, heads, hidden: of the
    Transformer. dropout: rate on the embeddings and in the Transformer. dtype: of the matmuls.
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
        _check(self, video)
        x = jnp.where(video.mask[..., None, None, None], video.x, 0)
        x = nn.Dense(self.width, dtype=self.dtype, name="tubelet_embedding")(tubelets(x, self.tubelet)).astype(jnp.float32)
        mask = jnp.concatenate([video.length[:, None] > 0, valid_tubelets(video, x.shape[1], self.tubelet[0])], axis=1)
        token = self.param("class_token", nn.initializers.zeros_init(), (self.width,))
        x = jnp.concatenate([jnp.broadcast_to(token[None, None], (x.shape[0], 1, self.width)), x], axis=1)
        encoder = TimeTransformer(
            self.depth, self.heads, self.hidden, self.dropout, activation=gelu_tanh, dtype=self.dtype, name="encoder"
        )
        return Tokens(encoder(x, mask, train=train), mask)


class VideoMAE(nn.Module):
    """The encoder of a video masked autoencoder (Tong et al., 2022, "VideoMAE") on all tubelets, as in fine-tuning.

    Tubelets and masks as in `ViViT`, without a class token; fixed sinusoidal positions, a pre-norm Transformer with exact GELU
    and keys without bias, and a final norm. Tokens are tubelets ordered by frame, row and column.

    tubelet: size (frames, rows, columns), which must divide the video's. width: of the tokens. depth, heads, hidden: of the
    Transformer. final_norm: False for weights whose classifier normalises the mean of the tokens instead. epsilon: of the
    norms. dropout: rate on the embeddings and in the Transformer. dtype: of the matmuls.
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
        _check(self, video)
        x = jnp.where(video.mask[..., None, None, None], video.x, 0)
        x = nn.Dense(self.width, dtype=self.dtype, name="tubelet_embedding")(tubelets(x, self.tubelet)).astype(jnp.float32)
        mask = valid_tubelets(video, x.shape[1], self.tubelet[0])
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
    """ViT-B in the paper: 86.2 million parameters. fields: any other field of VideoMAE."""
    return VideoMAE(width=768, depth=12, heads=12, hidden=3072, **fields)


def _check(module: nn.Module, video: Padded) -> None:
    """Checks the fields of `ViViT` and `VideoMAE`."""
    positive(module, "tubelet")
    transformer_fields(module)
    size = video.x.shape[1:4]
    if any(total % side for total, side in zip(size, module.tubelet)):
        name = type(module).__name__
        raise ValueError(f"{name}.tubelet is {module.tubelet}; it must divide the video's frames, rows and columns, {size}")


def interleaved_sinusoids(positions: int, width: int) -> Float[np.ndarray, "n d"]:
    """Sinusoidal positions (Vaswani et al., 2017, section 3.5): sin(p / 10000^(2i / width)) at 2i, the cosine at 2i + 1."""
    angles = np.arange(positions)[:, None] / 10_000 ** (np.arange(width)[None] // 2 * 2 / width)
    return np.where(np.arange(width)[None] % 2, np.cos(angles), np.sin(angles)).astype(np.float32)


def valid_tubelets(video: Padded, count: int, frames: int) -> Bool[Array, "b n"]:
    """The mask of `count` tubelets of `frames` frames each: True if a frame of the tubelet is valid."""
    per_frame = count * frames // video.x.shape[1]
    return (jnp.arange(count) // per_frame * frames)[None] < video.length[:, None]


def tubelets(x: Float[Array, "b t h w c"], size: tuple[int, int, int]) -> Float[Array, "b n p"]:
    """Disjoint blocks of `size` (frames, rows, columns), in this order, each flattened with its channels last.

    `size` must divide the video's size.
    """
    (t, h, w), (dt, dh, dw) = (total // side for total, side in zip(x.shape[1:4], size)), size
    x = x.reshape(x.shape[0], t, dt, h, dh, w, dw, x.shape[-1])
    return x.transpose(0, 1, 3, 5, 2, 4, 6, 7).reshape(x.shape[0], t * h * w, -1)


def vivit_b16x2(**fields: Any) -> ViViT:
    """ViViT-B/16x2 (section 4.1), as in the weights published for Kinetics: 88.6 million parameters at 224 px and 32 frames.

    fields: any other field of ViViT.
    """
    return ViViT(tubelet=(2, 16, 16), width=768, depth=12, heads=12, hidden=3072, **fields)
