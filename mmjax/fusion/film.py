"""The network of FiLM exactly as its authors' code defines it."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from mmjax.fusion.joint import pool, project
from mmjax.nn import BatchNorm, Conv, any_token
from mmjax.nn.checks import positive
from mmjax.types import Tokens

__all__ = ["FiLMBlocks"]


def _coordinates(rows: int, columns: int) -> np.ndarray:
    """The column and the row of each cell, each from -1 to 1, Float32[1 rows columns 2]."""
    grid = np.meshgrid(np.linspace(-1, 1, columns), np.linspace(-1, 1, rows))
    return np.stack(grid, axis=-1)[None].astype(np.float32)


class FiLMBlocks(nn.Module):
    """The FiLMed residual blocks of Perez et al. (2018, "FiLM: visual reasoning with a general conditioning layer",
    figure 3), over the grid of the target's tokens, modulated by a condition v. In each of `depth` blocks:

        y = relu(C [x; p] + c),   x <- y + relu(gamma * BN(C' y + c') + beta),   (gamma - 1, beta) = U v + u

    with 1 x 1 convolutions C, 3 x 3 convolutions C', the coordinates p of each cell, and batch norm without parameters. v is
    the mean token of the other modality, or several of them side by side, zeros where absent; without any, gamma = 1, beta = 0.
    The output are the tokens x, masked where the target is.

    It equals the authors' code with the settings of their `film.sh`, whose defaults it has. The convolution before the blocks,
    which makes the target's width equal to `width`, and the recurrent network of the condition are the encoders, and the
    classifier (a 1 x 1 convolution, a maximum over the cells, two layers) is the head. ValueError if the target has another
    width, if it is not the grid, or if there is no other modality.

    target: the modality whose tokens are modulated. grid: (rows, columns) of its tokens. width: of the tokens. depth: number of
    blocks. dtype: of the matmuls and convolutions.
    """

    target: str
    grid: tuple[int, int] = (14, 14)
    width: int = 128
    depth: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "grid", "width", "depth")
        conditions = {name: t for name, t in tokens.items() if name != self.target}
        if self.target not in tokens or not conditions:
            raise ValueError(f"FiLMBlocks.target is {self.target!r}; it must be one of several modalities, of {sorted(tokens)}")
        target, (rows, columns) = tokens[self.target], self.grid
        if target.x.shape[1:] != (rows * columns, self.width):
            given, valid = list(target.x.shape[1:]), [rows * columns, self.width]
            raise ValueError(f"{self.target!r} has tokens {given}; by FiLMBlocks.grid and .width, they must be {valid}")
        vectors, some = pool(conditions, 0.0, train)
        v = jnp.concatenate(list(vectors.values()), axis=-1)
        change = project(v, 2 * self.depth * self.width, "generator", self.dtype)
        change = jnp.where(some.any(axis=1)[:, None], change, 0).reshape(-1, self.depth, 2, 1, 1, self.width)

        x = jnp.where(target.mask[..., None], target.x, 0).astype(jnp.float32).reshape(-1, rows, columns, self.width)
        place = jnp.broadcast_to(_coordinates(rows, columns), (*x.shape[:-1], 2))
        for block in range(self.depth):
            joined = jnp.concatenate([x, place], axis=-1)
            y = nn.relu(Conv(self.width, (1, 1), dtype=self.dtype, name=f"project{block}")(joined).astype(jnp.float32))
            z = Conv(self.width, dtype=self.dtype, name=f"conv{block}")(y).astype(jnp.float32)
            z = BatchNorm(affine=False, name=f"norm{block}")(z, train=train, present=any_token(target))
            x = y + nn.relu((1 + change[:, block, 0]) * z + change[:, block, 1])
        return Tokens(x.reshape(target.x.shape), target.mask)
