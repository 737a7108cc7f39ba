"""Random inputs of the contract suite, by kind of modality."""

import jax

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
