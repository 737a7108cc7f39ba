"""Losses that are plain functions of a batch, and a batch with absent, padded and weightless examples."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mmjax.types import Batch, Padded

LENGTHS = (5, 3, 4, 2)


def batch_of(**inputs: Array) -> Batch:
    """A batch in which everything is present and has weight 1."""
    examples = len(next(iter(inputs.values())))
    inputs = {name: jnp.asarray(x) for name, x in inputs.items()}
    return Batch(inputs, {name: jnp.ones(examples, bool) for name in inputs}, {}, jnp.ones(examples))


def mixed() -> Batch:
    """Four examples with an image [4 4 2] in [0, 1], a padded waveform [5] and a vector [6].

    Image 1 and waveform 2 are absent and NaN, padding is NaN, and example 3 has weight 0.
    """
    random = np.random.default_rng(0)
    image = random.uniform(size=(4, 4, 4, 2)).astype(np.float32)
    image[1] = np.nan
    wave = random.uniform(-0.5, 0.5, size=(4, 5)).astype(np.float32)
    wave[np.arange(5)[None] >= np.array(LENGTHS)[:, None]] = np.nan
    wave[2] = np.nan
    vector = random.normal(size=(4, 6)).astype(np.float32)
    present = {"image": np.array([1, 0, 1, 1], bool), "wave": np.array([1, 1, 0, 1], bool), "vector": np.ones(4, bool)}
    inputs = {"image": image, "wave": Padded(wave, np.array(LENGTHS, np.int32)), "vector": vector}
    return jax.tree.map(jnp.asarray, Batch(inputs, present, {}, np.array([1, 1, 0.5, 0], np.float32)))


def curved(batch: Batch) -> Array:
    """A smooth loss of the present modalities, whose gradient changes along the way."""
    total = jnp.zeros(len(batch.weight))
    for number, name in enumerate(sorted(batch.inputs)):
        x, present = batch.inputs[name], batch.present[name][:, None]
        valid, x = (present & x.mask, x.x) if isinstance(x, Padded) else (present, x.reshape(len(total), -1))
        x = jnp.where(valid, x, 0)
        total = total + jnp.tanh(x @ jnp.sin(1 + number + jnp.arange(x.shape[1]))) + jnp.sum(jnp.square(x), axis=1) / 4
    return total


def linear(weights: Array, name: str = "x"):
    """The loss w . x of one modality."""
    return lambda batch: batch.inputs[name].reshape(len(batch.weight), -1) @ weights.reshape(-1)
