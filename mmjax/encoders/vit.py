"""Vision Transformer (Dosovitskiy et al., 2021): pictures [b h w c] -> Tokens."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.nn.attention import Transformer
from mmjax.nn.dropout import Dropout
from mmjax.types import Tokens


def patches(x: Float[Array, "b h w c"], side: int) -> Float[Array, "b n d"]:
    """The picture in squares of side x side pixels, row by row; each as rows, columns, channels."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // side, side, w // side, side, c).swapaxes(2, 3)
    return x.reshape(b, (h // side) * (w // side), side * side * c)


class ViT(nn.Module):
    """Patches as tokens after a class token, learned positions, a pre-norm Transformer with exact GELU, and a final norm.

    All tokens come out, the class token first (equations 1 to 3 of the paper; its equation 4 is the first token alone).

    patch: side of a square patch, in pixels; it must divide height and width. width, depth, heads; hidden: of the MLPs.
    epsilon: of the layer norms; the original and timm have 1e-6, transformers' ViT 1e-12.
    dropout: rate on the embedded tokens and in the Transformer. dtype: of the matmuls; norms and tokens are float32.

    The patches' embedding is a matmul: a convolution's weight [width, c, patch, patch] is our kernel after
    `weight.transpose(2, 3, 1, 0).reshape(-1, width)`. Positions [1 + n, width] fit one size of picture.
    """

    patch: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    dropout: float = 0.0
    epsilon: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Tokens:
        if self.patch < 1 or x.shape[1] % self.patch or x.shape[2] % self.patch:
            raise ValueError(f"ViT.patch is {self.patch}, which must divide the picture's sides; they are {x.shape[1:3]} px")
        x = nn.Dense(self.width, dtype=self.dtype, name="embed")(patches(x, self.patch)).astype(jnp.float32)
        first = self.param("class_token", nn.initializers.zeros_init(), (self.width,))
        x = jnp.concatenate([jnp.broadcast_to(first[None, None], (x.shape[0], 1, self.width)), x], axis=1)
        if self.has_variable("params", "positions"):
            learned = self.get_variable("params", "positions").shape[0]
            if learned != x.shape[1]:
                raise ValueError(f"ViT.positions were made for {learned - 1} patches, and the picture has {x.shape[1] - 1}")
        x = x + self.param("positions", nn.initializers.normal(0.02), x.shape[1:])[None]
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        mask = jnp.ones(x.shape[:2], bool)
        transformer = Transformer(
            self.depth,
            self.heads,
            self.hidden,
            dropout=self.dropout,
            epsilon=self.epsilon,
            dtype=self.dtype,
            name="transformer",
        )
        x = transformer(x, mask, train=train)
        return Tokens(nn.LayerNorm(epsilon=self.epsilon, dtype=jnp.float32, name="norm")(x), mask)


def vit_ti16(**fields: Any) -> ViT:
    """DeiT's tiny size (Touvron et al., 2021, table 1); 5.5 million parameters at 224 px. fields: any other field of ViT."""
    return ViT(patch=16, width=192, depth=12, heads=3, hidden=768, **fields)


def vit_s16(**fields: Any) -> ViT:
    """DeiT's small size; 21.7 million parameters at 224 px."""
    return ViT(patch=16, width=384, depth=12, heads=6, hidden=1536, **fields)


def vit_b16(**fields: Any) -> ViT:
    """The paper's Base (table 1); 85.8 million parameters at 224 px."""
    return ViT(patch=16, width=768, depth=12, heads=12, hidden=3072, **fields)


def vit_l16(**fields: Any) -> ViT:
    """The paper's Large (table 1); 303 million parameters at 224 px."""
    return ViT(patch=16, width=1024, depth=24, heads=16, hidden=4096, **fields)
