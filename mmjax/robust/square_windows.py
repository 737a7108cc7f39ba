"""Windows of the Square attack: changes of any input as images, the sizes and places of windows, and patterns in them."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from mmjax.types import Padded

__all__ = [
    "HALVINGS",
    "Canvas",
    "canvas_of",
    "corner",
    "pattern",
    "patterns",
    "placed",
    "random_signs",
    "sides",
    "stages",
    "tiles",
    "valid_rows",
    "window",
]

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000 queries, as in the paper


class Canvas(NamedTuple):
    """The shape of a change as an image.

    An image is one already. A vector [d] has d rows, a waveform or sequence one row per step with its features as channels,
    and a video the rows of all its frames.
    """

    rows: int
    columns: int
    channels: int


def canvas_of(shape: tuple[int, ...]) -> Canvas:
    """The canvas of changes [b ...]."""
    sizes = shape[1:]
    if len(sizes) < 3:
        return Canvas(sizes[0], 1, math.prod(sizes[1:]))
    return Canvas(math.prod(sizes[:-2]), *sizes[-2:])


def valid_rows(x: Any, canvas: Canvas) -> Int[Array, " b"]:
    """The number of rows of each example that are not padding."""
    if isinstance(x, Padded):
        return x.length * (canvas.rows // x.x.shape[1])
    return jnp.full(x.shape[0], canvas.rows)


def stages(queries: int) -> Int[np.ndarray, " queries"]:
    """How often the share of the windows has been halved before each query."""
    return np.searchsorted(HALVINGS, np.arange(queries) * 10_000 // max(queries, 1)).astype(np.int32)


def sides(canvas: Canvas, share: float, smallest: int) -> list[tuple[int, int]]:
    """(rows, columns) of the windows of each stage: squares, or intervals if there is one column.

    share: of the canvas, before the first halving. smallest: side in pixels.
    """

    def side(share):
        if canvas.columns == 1:
            return min(max(round(share * canvas.rows), smallest), canvas.rows), 1
        size = max(round(math.sqrt(share * canvas.rows * canvas.columns)), smallest)
        return min(size, canvas.rows), min(size, canvas.columns)

    return [side(share / 2**number) for number in range(len(HALVINGS) + 1)]


def corner(key: Key[Array, ""], canvas: Canvas, rows: Int[Array, ""], side: Int[Array, " 2"]) -> Int[Array, " 2"]:
    """A random place of a window within the first `rows` rows: (row, column) of its first pixel."""
    free = jnp.stack([jnp.maximum(rows - side[0], 0), canvas.columns - side[1]])
    return jax.random.randint(key, (2,), 0, free + 1)


def window(canvas: Canvas, at: Int[Array, " 2"], side: Int[Array, " 2"]) -> Bool[Array, "rows columns 1"]:
    """True inside the window."""
    inside = lambda size, axis: (jnp.arange(size) >= at[axis]) & (jnp.arange(size) < at[axis] + side[axis])
    return (inside(canvas.rows, 0)[:, None] & inside(canvas.columns, 1)[None])[..., None]


def random_signs(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """+1 or -1."""
    return jax.random.rademacher(key, shape, jnp.float32)


def _hill(rows: int, columns: int) -> Float[np.ndarray, "rows columns"]:
    """The sum of centred rectangles with weights 1 / n^2, of unit norm (equation 2 of the paper, as in the authors' code)."""
    hill = np.zeros((rows, columns))
    centre = np.array([rows // 2, columns // 2])
    for n in range(max(rows, columns) // 2 + 1):
        low, high = np.maximum(centre - n, 0), np.minimum(centre + n + 1, (rows, columns))
        hill[low[0] : high[0], low[1] : high[1]] += 1 / (n + 1) ** 2
    return hill / max(np.linalg.norm(hill), 1e-12)


def pattern(rows: int, columns: int) -> Float[np.ndarray, "rows columns"]:
    """A bright half above a dark half, of unit norm."""
    both = np.concatenate([_hill(rows // 2, columns), -_hill(rows - rows // 2, columns)]) if rows > 1 else _hill(rows, columns)
    return both / np.linalg.norm(both)


def patterns(sizes: list[tuple[int, int]]) -> Float[np.ndarray, "stages 2 rows columns"]:
    """The patterns of all stages: one half above the other, and beside the other; zeros beyond the size of a stage."""
    table = np.zeros((len(sizes), 2, max(r for r, _ in sizes), max(c for _, c in sizes)), np.float32)
    for stage, (rows, columns) in enumerate(sizes):
        table[stage, 0, :rows, :columns] = pattern(rows, columns)
        table[stage, 1, :rows, :columns] = pattern(columns, rows).T if columns > 1 else pattern(rows, columns)
    return table


def placed(canvas: Canvas, values: Float[Array, "r c"], at: Int[Array, " 2"]) -> Float[Array, "rows columns 1"]:
    """Zeros with the values at this place; they may extend beyond the canvas."""
    whole = jnp.zeros((canvas.rows + values.shape[0], canvas.columns + values.shape[1]))
    whole = jax.lax.dynamic_update_slice(whole, values, (at[0], at[1]))
    return whole[: canvas.rows, : canvas.columns, None]


def tiles(canvas: Canvas, key: Key[Array, ""]) -> Float[Array, "rows columns channels"]:
    """The canvas covered by patterns of a fifth of its rows, each with a random sign per channel."""
    size = max(canvas.rows // 5, 1)
    columns = min(size, canvas.columns)
    count = (-(-canvas.rows // size), -(-canvas.columns // columns))
    bright = jnp.asarray(np.tile(pattern(size, columns), count), jnp.float32)[..., None]
    signs = random_signs(key, (*count, canvas.channels))
    signs = jnp.repeat(jnp.repeat(signs, size, axis=0), columns, axis=1)
    return (bright * signs)[: canvas.rows, : canvas.columns]
