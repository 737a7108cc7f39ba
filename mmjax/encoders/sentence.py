"""Pooling of a text's tokens to a sentence embedding, as in sentence-transformers (Reimers and Gurevych, 2019)."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.nn.checks import positive
from mmjax.nn.pooling import masked_mean
from mmjax.types import Tokens

__all__ = ["SentencePooling"]


class SentencePooling(nn.Module):
    """Tokens [b n d] -> [b e]: poolings side by side, then dense layers, then unit length; the `pool` of `encoders.Pooled`.

    poolings: of `mmjax.nn.pooling`, such as `masked_mean`. widths: of the dense layers. activations: after each of them.
    biases: whether each has a bias. normalize: whether embeddings have unit length. dtype: of the dense layers.
    """

    poolings: tuple[Callable[[Tokens], Array], ...] = (masked_mean,)
    widths: tuple[int, ...] = ()
    activations: tuple[Callable, ...] = ()
    biases: tuple[bool, ...] = ()
    normalize: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Tokens) -> Float[Array, "b e"]:
        positive(self, "widths")
        if not len(self.widths) == len(self.activations) == len(self.biases):
            raise ValueError(
                f"SentencePooling.widths, .activations and .biases have {len(self.widths)}, {len(self.activations)} and "
                f"{len(self.biases)} entries; each dense layer needs one of each"
            )
        x = jnp.concatenate([pool(tokens).astype(jnp.float32) for pool in self.poolings], axis=-1)
        for number, (width, activation, bias) in enumerate(zip(self.widths, self.activations, self.biases)):
            x = activation(nn.Dense(width, use_bias=bias, dtype=self.dtype, name=f"dense{number}")(x)).astype(jnp.float32)
        if not self.normalize:
            return x
        square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
        return x / jnp.sqrt(jnp.maximum(square, 1e-24))
