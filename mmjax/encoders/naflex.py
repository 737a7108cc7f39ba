"""The image encoder of SigLIP 2 NaFlex: patches of images of any proportions -> Tokens."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from mmjax.nn.attention import Transformer, gelu_tanh
from mmjax.nn.checks import positive, transformer_fields
from mmjax.nn.dropout import Dropout
from mmjax.types import Tokens

__all__ = ["ImagePatches", "NaFlex"]


@struct.dataclass
class ImagePatches:
    """The patches of images row by row, each flattened in the order rows, columns, channels, and padded to a common number.

    x: [b n p]; grid: Int[b 2], the rows and columns of patches. Patches beyond rows * columns must not be used.
    """

    x: Any
    grid: Any

    @property
    def mask(self) -> Bool[Array, "b n"]:
        """Bool[b n], True on patches of the image."""
        return jnp.arange(self.x.shape[1])[None, :] < (self.grid[:, 0] * self.grid[:, 1])[:, None]


class NaFlex(nn.Module):
    """A vision Transformer over patches of images of any proportions (Tschannen et al., 2025, "SigLIP 2", section 2.4).

    Patch embeddings plus learned positions, which are interpolated from a square grid to the grid of each image; then a
    pre-norm Transformer and a final norm. Padded patches are masked.

    side: rows and columns of the learned positions. width, depth, heads, hidden, activation: of the Transformer. epsilon: of
    the norms. dropout: rate on the embeddings and in the Transformer. dtype: of the matmuls; norms and tokens are float32.
    """

    side: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    activation: Callable = gelu_tanh
    epsilon: float = 1e-6
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: ImagePatches, *, train: bool = False) -> Tokens:
        positive(self, "side")
        transformer_fields(self)
        mask = images.mask
        x = nn.Dense(self.width, dtype=self.dtype, name="embed")(jnp.where(mask[..., None], images.x, 0)).astype(jnp.float32)
        learned = jnp.asarray(self.param("positions", nn.initializers.normal(0.02), (self.side**2, self.width)))
        rows, columns = images.grid[:, 0], images.grid[:, 1]
        at = jnp.arange(x.shape[1])[None]
        across = jnp.maximum(columns, 1)[:, None]
        weights = _linear(rows, at // across, self.side), _linear(columns, at % across, self.side)
        learned = learned.reshape(self.side, self.side, self.width)
        x = x + jnp.einsum("bni,bnj,ijd->bnd", *weights, learned, precision="highest")
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        transformer = Transformer(
            self.depth,
            self.heads,
            self.hidden,
            dropout=self.dropout,
            activation=self.activation,
            epsilon=self.epsilon,
            dtype=self.dtype,
            name="transformer",
        )
        return Tokens(nn.LayerNorm(self.epsilon, name="norm")(transformer(x, mask, train=train)), mask)


def _linear(cells: Int[Array, " b"], at: Int[Array, "b n"], old: int) -> Float[Array, "b n old"]:
    """Linear interpolation from `old` cells to `cells`, as torch's with antialias=True: the weights for the new cells `at`.

    Pixel centres are aligned, downsampling widens the triangle, and weights beyond the edge are dropped.
    """
    new = jnp.maximum(cells, 1).astype(jnp.float32)[:, None, None]
    stretch = jnp.maximum(old / new, 1)
    centre = (at.astype(jnp.float32)[..., None] + 0.5) * old / new
    weights = jnp.maximum(0, 1 - jnp.abs(jnp.arange(old)[None, None] + 0.5 - centre) / stretch)
    return weights / jnp.maximum(jnp.sum(weights, axis=-1, keepdims=True), 1e-6)
