"""Several images per example, each encoded alone."""

import flax.linen as nn
import jax.numpy as jnp

from mmjax.nn.presence import encode
from mmjax.types import Padded, Tokens

__all__ = ["EachImage"]


class EachImage(nn.Module):
    """An image encoder on each of k images, x Float[b k h w c]; their tokens follow one another, [b k * n d].

    Tokens of images beyond the length are masked. k must be at least 1. Unlike `FrameWise`, no token is averaged.

    encoder: any image encoder.
    """

    encoder: nn.Module

    def __call__(self, images: Padded, *, train: bool = False) -> Tokens:
        batch, count, *image = images.x.shape
        valid = images.mask
        x = jnp.where(valid.reshape(batch, count, *(1,) * len(image)), images.x, 0)
        tokens = encode(self.encoder, x.reshape(batch * count, *image), valid.reshape(batch * count), train=train)
        n, width = tokens.x.shape[1:]
        mask = tokens.mask.reshape(batch, count, n) & valid[..., None]
        return Tokens(tokens.x.reshape(batch, count * n, width), mask.reshape(batch, count * n))
