"""Vision Transformer (Dosovitskiy et al., 2021): images [b h w c] -> Tokens."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmjax.nn.attention import Transformer, gelu
from mmjax.nn.checks import non_negative, positive, transformer_fields
from mmjax.nn.dense import Dense
from mmjax.nn.dropout import Dropout
from mmjax.types import Tokens

__all__ = ["PatchStates", "ViT", "interpolate_grid", "patches", "vit_b16", "vit_l16", "vit_s16", "vit_ti16"]


def patches(x: Float[Array, "b h w c"], side: int) -> Float[Array, "b n d"]:
    """The patches of side x side pixels of an image, row by row, each flattened in the order rows, columns, channels."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // side, side, w // side, side, c).swapaxes(2, 3)
    return x.reshape(b, (h // side) * (w // side), side * side * c)


def _cubic(new: int, old: int) -> Float[np.ndarray, "new old"]:
    """Bicubic interpolation along one axis as in torch (Keys, 1981, a = -0.75): row i contains the weights for new value i.

    Pixel centres are aligned (align_corners=False), edge values are repeated, and downsampling does not smooth.
    """
    weights = np.zeros((new, old))
    position = (np.arange(new) + 0.5) * old / new - 0.5
    for offset in range(-1, 3):
        neighbour = np.floor(position).astype(int) + offset
        d = np.abs(position - neighbour)
        near, far = 1.25 * d**3 - 2.25 * d**2 + 1, -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
        weights[np.arange(new), neighbour.clip(0, old - 1)] += np.where(d <= 1, near, far)
    return weights.astype(np.float32)


def _smooth_cubic(new: int, old: int) -> Float[np.ndarray, "new old"]:
    """As `_cubic`, by torch's rule with antialias=True: a = -0.5, downsampling widens the kernel, edges are renormalised."""
    stretch = max(old / new, 1)
    centre = (np.arange(new)[:, None] + 0.5) * old / new
    d = np.abs(np.arange(old)[None] + 0.5 - centre) / stretch
    near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * (d**3 - 5 * d**2 + 8 * d - 4)
    weights = np.where(d < 1, near, np.where(d < 2, far, 0))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def interpolate_grid(
    positions: Float[Array, "n d"], old: tuple[int, int], new: tuple[int, int], smooth: bool = False
) -> Float[Array, "m d"]:
    """Interpolates positions of a grid with old = (rows, columns) cells to a grid with new = (rows, columns) cells.

    smooth: whether downsampling smooths, as torch with antialias=True.
    """
    if old == new:
        return positions
    down, across = (jnp.asarray((_smooth_cubic if smooth else _cubic)(*sizes)) for sizes in zip(new, old))
    grid = positions.reshape(*old, -1)
    return jnp.einsum("ih,jw,hwd->ijd", down, across, grid, precision="highest").reshape(new[0] * new[1], -1)


class ViT(nn.Module):
    """Patch embeddings, a class token, learned positions, a pre-norm Transformer, and a final norm.

    It returns all tokens, the class token first (equations 1 to 3 of the paper; equation 4 takes the first token only), then
    the registers.

    patch: side of a square patch, in pixels; it must divide height and width unless `grid` is set.
    width, depth, heads, hidden: of the Transformer.
    dropout: rate on the embedded tokens and in the Transformer.
    epsilon: of the layer norms; 1e-6 in the original code and timm, 1e-12 in transformers.
    activation, layer_scale: as in `mmjax.nn.Block`; DINOv2 (Oquab et al., 2023) has layer scales.
    class_token: False in SigLIP (Zhai et al., 2023).
    first_norm: a layer norm before the Transformer and no bias in the patch embedding, as in CLIP (Radford et al., 2021).
    grid: (rows, columns) of patches for which positions are learned. They are interpolated for images of other sizes, and
        pixels beyond the last whole patch are dropped. None: the grid of the image at initialisation; other sizes raise
        ValueError.
    registers: number of learned tokens without a position (Darcet et al., 2024, "Vision transformers need registers"); the
        interpolation of positions then smooths, as in the published weights.
    dtype: of the matmuls; norms and tokens are float32.

    The patch embedding is a matmul: a convolution weight [width, c, patch, patch] becomes our kernel by
    `weight.transpose(2, 3, 1, 0).reshape(-1, width)`. Positions are [1 + n, width], or [n, width] without a class token.
    """

    patch: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    dropout: float = 0.0
    epsilon: float = 1e-6
    activation: Callable = gelu
    layer_scale: float | None = None
    class_token: bool = True
    first_norm: bool = False
    grid: tuple[int, int] | None = None
    registers: int = 0
    dtype: Any = jnp.float32

    def setup(self):
        self.norm = nn.LayerNorm(epsilon=self.epsilon, dtype=jnp.float32)

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Tokens:
        tokens = self.states(x, train=train)
        return Tokens(self.norm(tokens.x), tokens.mask)

    @nn.compact
    def states(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Tokens:
        """The output of the last block, before the final norm."""
        positive(self, "patch", "grid")
        non_negative(self, "registers")
        transformer_fields(self)
        if self.grid is not None:
            x = x[:, : x.shape[1] // self.patch * self.patch, : x.shape[2] // self.patch * self.patch]
        if x.shape[1] % self.patch or x.shape[2] % self.patch:
            raise ValueError(f"ViT.patch is {self.patch}; it must divide the image's sides, which are {x.shape[1:3]} px")
        image_grid = x.shape[1] // self.patch, x.shape[2] // self.patch
        grid = self.grid or image_grid
        embed = Dense(self.width, use_bias=not self.first_norm, dtype=self.dtype, name="embed")
        x = embed(patches(x, self.patch)).astype(jnp.float32)
        before = int(self.class_token)
        if self.class_token:
            first = self.param("class_token", nn.initializers.zeros_init(), (self.width,))
            x = jnp.concatenate([jnp.broadcast_to(first[None, None], (x.shape[0], 1, self.width)), x], axis=1)
        if self.grid is None and self.has_variable("params", "positions"):
            learned = self.get_variable("params", "positions").shape[0]
            if learned != x.shape[1]:
                raise ValueError(
                    f"ViT was initialised for {learned - before} patches, but the image has {x.shape[1] - before}; set "
                    "ViT.grid to interpolate the positions"
                )
        positions = jnp.asarray(self.param("positions", nn.initializers.normal(0.02), (before + grid[0] * grid[1], self.width)))
        cells = interpolate_grid(positions[before:], grid, image_grid, smooth=self.registers > 0)
        x = x + jnp.concatenate([positions[:before], cells])[None]
        if self.registers:
            extra = self.param("registers", nn.initializers.normal(0.02), (self.registers, self.width))
            extra = jnp.broadcast_to(extra[None], (x.shape[0], *extra.shape))
            x = jnp.concatenate([x[:, :before], extra, x[:, before:]], axis=1)
        if self.first_norm:
            x = nn.LayerNorm(epsilon=self.epsilon, dtype=jnp.float32, name="first_norm")(x)
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        mask = jnp.ones(x.shape[:2], bool)
        transformer = Transformer(
            self.depth,
            self.heads,
            self.hidden,
            dropout=self.dropout,
            activation=self.activation,
            epsilon=self.epsilon,
            layer_scale=self.layer_scale,
            dtype=self.dtype,
            name="transformer",
        )
        return Tokens(transformer(x, mask, train=train), mask)


class PatchStates(nn.Module):
    """The patches after the last block of a ViT, without the final norm, the class token and the registers.

    A ViT with one block less than a published one gives the states before its last block, which LLaVA reads (Liu et al., 2023,
    section 4.1). The parameters are those of the ViT.
    """

    vit: nn.Module

    def setup(self):
        nn.share_scope(self, self.vit)

    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Tokens:
        tokens = self.vit.states(x, train=train)
        before = int(self.vit.class_token) + self.vit.registers
        return Tokens(tokens.x[:, before:], tokens.mask[:, before:])


def vit_ti16(**fields: Any) -> ViT:
    """Tiny in DeiT (Touvron et al., 2021, table 1); 5.5 million parameters at 224 px. fields: any other field of ViT."""
    return ViT(patch=16, width=192, depth=12, heads=3, hidden=768, **fields)


def vit_s16(**fields: Any) -> ViT:
    """Small in DeiT; 21.7 million parameters at 224 px."""
    return ViT(patch=16, width=384, depth=12, heads=6, hidden=1536, **fields)


def vit_b16(**fields: Any) -> ViT:
    """Base in the paper (table 1); 85.8 million parameters at 224 px."""
    return ViT(patch=16, width=768, depth=12, heads=12, hidden=3072, **fields)


def vit_l16(**fields: Any) -> ViT:
    """Large in the paper (table 1); 303 million parameters at 224 px."""
    return ViT(patch=16, width=1024, depth=24, heads=16, hidden=4096, **fields)
