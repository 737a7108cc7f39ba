"""Random inputs of the contract suite, by kind of modality."""

import jax
import jax.numpy as jnp

from mmjax.encoders import ImagePatches
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
