"""Models that the tests of attacks use: plain functions of a batch, and a batch with absent, padded and weightless examples."""

import jax.numpy as jnp
import numpy as np

from mmjax.types import Batch, Padded

LENGTHS = (5, 3, 4, 2)


def batch_of(**inputs) -> Batch:
    """All modalities present, weights 1."""
    examples = len(next(x.length if isinstance(x, Padded) else x for x in inputs.values()))
    present = {name: jnp.ones(examples, bool) for name in inputs}
    return Batch(inputs, present, {}, jnp.ones(examples))


def mixed() -> Batch:
    """Four examples with an image [4 4 2] in [0, 1], a waveform and a vector. Image 1 and waveform 2 are absent and NaN, padding
    is NaN, and example 3 has weight 0."""
    random = np.random.default_rng(0)
    image = random.uniform(size=(4, 4, 4, 2)).astype(np.float32)
    image[1] = np.nan
    wave = random.uniform(-0.5, 0.5, size=(4, 5)).astype(np.float32)
    for example, length in enumerate(LENGTHS):
        wave[example, length:] = np.nan
    wave[2] = np.nan
    vector = random.normal(size=(4, 6)).astype(np.float32)
    present = {"image": np.array([1, 0, 1, 1], bool), "wave": np.array([1, 1, 0, 1], bool), "vector": np.ones(4, bool)}
    inputs = {"image": image, "wave": Padded(wave, np.array(LENGTHS, np.int32)), "vector": vector}
    inputs = {name: x if isinstance(x, np.ndarray) else x.replace(x=jnp.asarray(x.x), length=jnp.asarray(x.length)) for name, x in inputs.items()}
    return Batch(
        {name: jnp.asarray(x) if isinstance(x, np.ndarray) else x for name, x in inputs.items()},
        {name: jnp.asarray(x) for name, x in present.items()},
        {},
        jnp.array([1.0, 1.0, 0.5, 0.0]),
    )


def curved(batch: Batch) -> jnp.ndarray:
    """A smooth loss of all present modalities with a gradient that changes along the way."""
    total = jnp.zeros(len(batch.weight))
    for number, name in enumerate(sorted(batch.inputs)):
        x, present = batch.inputs[name], batch.present[name]
        valid = x.mask if isinstance(x, Padded) else jnp.ones((len(total), 1), bool)
        x = x.x if isinstance(x, Padded) else x
        valid = (valid & present[:, None]).reshape((len(total), -1) + (1,) * (x.ndim - 2))
        x = jnp.where(valid, x, 0).reshape(len(total), -1)
        slope = jnp.sin(1 + number + jnp.arange(x.shape[1]))
        total = total + jnp.tanh(x @ slope) + jnp.sum(jnp.square(x), axis=1) / 4
    return total
