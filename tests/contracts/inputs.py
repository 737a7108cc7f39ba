"""Random inputs of the contract suite, by kind of modality."""

import jax
import jax.numpy as jnp

from mmjax.encoders import ImagePatches, PlacedCells, Recordings
from mmjax.types import Padded

CLASSES, BATCH = 5, 8


def image(key, size=16):
    return jax.random.normal(key, (BATCH, size, size, 4))


def token_ids(key, length=7, vocabulary=30):
    ids, lengths = jax.random.split(key)
    return Padded(
        jax.random.randint(ids, (BATCH, length), 0, vocabulary), jax.random.randint(lengths, (BATCH,), 1, length + 1)
    )


def frames(key, length=9, bands=6):
    values, lengths = jax.random.split(key)
    return Padded(jax.random.normal(values, (BATCH, length, bands)), jax.random.randint(lengths, (BATCH,), 1, length + 1))


def patches(key, size=12):
    """Images of 1 to 3 rows and 2 to 4 columns of patches of 2 x 2 pixels."""
    values, rows, columns = jax.random.split(key, 3)
    grid = [jax.random.randint(k, (BATCH,), low, low + 3) for k, low in ((rows, 1), (columns, 2))]
    return ImagePatches(jax.random.normal(values, (BATCH, size, 12)), jnp.stack(grid, axis=1))


def cells(key, size=4):
    """Images of one column: the first has two cells of 4 x 4 pixels, the second up to two; some examples have padding."""
    values, lengths = jax.random.split(key)
    number = jnp.arange(size)[None] < jax.random.randint(lengths, (BATCH, 1), 1, size + 1)
    place = jnp.array([[0, 0, 1], [1, 0, 1], [0, 0, 2], [1, 0, 2]])
    return PlacedCells(jax.random.normal(values, (BATCH, size, 4, 4, 2)), jnp.where(number[..., None], place[None], 0))


def recordings(key, frames=12, bands=4):
    """Up to two recordings of 2 to 12 frames; the others have the length 0."""
    values, lengths, counts = jax.random.split(key, 3)
    length = jax.random.randint(lengths, (BATCH, 2), 2, frames + 1)
    count = jax.random.randint(counts, (BATCH, 1), 1, 3)
    x = jax.random.normal(values, (BATCH, 2, frames, bands))
    return Recordings(x, jnp.where(jnp.arange(2)[None] < count, length, 0))
