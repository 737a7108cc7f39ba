"""The image encoder of Qwen2-VL: images of any size as cells of patches, with rotations by row and column."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from mmjax.encoders.vit import patches
from mmjax.nn.attention import attend, gelu_sigmoid
from mmjax.nn.checks import non_negative, positive
from mmjax.nn.rotary import Rotation, rotate
from mmjax.types import Declared, Tokens

__all__ = ["PlacedCells", "QwenBlock", "QwenViT"]


@struct.dataclass
class PlacedCells:
    """All images of an example as square cells of pixels, one image after another.

    x: Float[b n side side c]. place: Int[b n 3]: row and column of each cell in its image, and the number of the image, from 1;
    0 marks padding, whose pixels may be anything.
    """

    x: Declared[Float[Array, "b n side side c"]]
    place: Declared[Int[Array, "b n 3"]]

    @property
    def mask(self) -> Bool[Array, "b n"]:
        """Bool[b n], True for cells of an image."""
        return self.place[..., 2] > 0


class QwenBlock(nn.Module):
    """A pre-norm Transformer block whose queries and keys are rotated. The fields are those of `QwenViT`."""

    heads: int
    hidden: int
    activation: Callable
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], rotation: Rotation, mask: Bool[Array, "b n n"]) -> Float[Array, "b n d"]:
        def dense(name, size):
            return nn.Dense(size, dtype=self.dtype, name=name)

        def heads(name, y):
            return dense(name, x.shape[-1])(y).reshape(*y.shape[:2], self.heads, -1).swapaxes(1, 2)

        y = nn.LayerNorm(epsilon=1e-6, dtype=jnp.float32, name="norm1")(x)
        query, key = (rotate(heads(name, y), rotation) for name in ("query", "key"))
        y = attend(query, key, heads("value", y), mask).swapaxes(1, 2).reshape(x.shape)
        x = x + dense("out", x.shape[-1])(y).astype(jnp.float32)
        y = nn.LayerNorm(epsilon=1e-6, dtype=jnp.float32, name="norm2")(x)
        return x + dense("down", x.shape[-1])(self.activation(dense("up", self.hidden)(y))).astype(jnp.float32)


class QwenViT(nn.Module):
    """The vision Transformer of Qwen2-VL (Wang et al., 2024, section 2.1): `PlacedCells` -> Tokens, one per patch.

    The patches of a cell follow one another, row by row. A patch attends to those of its image. Half of each head rotates by
    its row, half by its column, in patches. An image counts as `frames` equal frames of a video.

    patch: side of a patch, in pixels; it divides the side of a cell. width, depth, heads, hidden, activation: of the
    Transformer. frames: of a patch. theta: base of the rotations. dtype: of the matmuls; norms and residuals are float32.
    """

    patch: int = 14
    width: int = 1280
    depth: int = 32
    heads: int = 16
    hidden: int = 5120
    activation: Callable = gelu_sigmoid
    frames: int = 2
    theta: float = 10_000.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, cells: PlacedCells, *, train: bool = False) -> Tokens:
        positive(self, "patch", "width", "heads", "hidden", "frames")
        non_negative(self, "depth")
        del train
        batch, count, side, _, channels = cells.x.shape
        if side % self.patch or self.width % (4 * self.heads):
            valid = f"a divisor of {side}, and a multiple of 4 * QwenViT.heads, which is {4 * self.heads}"
            raise ValueError(f"QwenViT.patch is {self.patch} and QwenViT.width {self.width}; they must be {valid}")
        across = side // self.patch
        x = jnp.where(cells.mask[..., None, None, None], cells.x, 0)
        x = patches(x.reshape(batch * count, side, side, channels), self.patch)
        x = jnp.concatenate([x.reshape(batch, count * across**2, -1)] * self.frames, axis=-1)
        x = nn.Dense(self.width, use_bias=False, dtype=self.dtype, name="embed")(x).astype(jnp.float32)
        number = jnp.repeat(cells.place[..., 2], across**2, axis=1)
        mask = (number[:, :, None] == number[:, None]) & (number > 0)[:, None]
        rotation = self._rotation(cells.place[..., :2], across)
        for block in range(self.depth):
            x = QwenBlock(self.heads, self.hidden, self.activation, self.dtype, name=f"block{block}")(x, rotation, mask)
        return Tokens(nn.LayerNorm(epsilon=1e-6, dtype=jnp.float32, name="norm")(x), number > 0)

    def _rotation(self, place: Int[Array, "b cells 2"], across: int) -> Rotation:
        """The angles of all patches. place: row and column of each cell. across: patches along the side of a cell."""
        inner = jnp.stack(jnp.meshgrid(jnp.arange(across), jnp.arange(across), indexing="ij"), axis=-1).reshape(1, 1, -1, 2)
        at = (place[:, :, None] * across + inner).reshape(place.shape[0], -1, 2)
        quarter = self.width // self.heads // 4
        frequencies = self.theta ** (-jnp.arange(quarter, dtype=jnp.float32) / quarter)
        angles = (at[..., None].astype(jnp.float32) * frequencies[None, None, None]).reshape(*at.shape[:2], -1)
        return jnp.cos(angles), jnp.sin(angles)
