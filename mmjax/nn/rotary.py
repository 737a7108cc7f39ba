"""Rotary position embedding (Su et al., 2021, "RoFormer") and its variants for contexts longer than those of the training.

A vector of r numbers is r / 2 pairs (x_i, x_{i + r/2}). At position p, pair i rotates by the angle p f_i, with the frequencies
f_i = theta ** (-2 i / r) in radians per token. A scaling changes the frequencies, and some also scale cosine and sine.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

__all__ = [
    "DynamicScaling", "GridRope", "LinearScaling", "Llama3Scaling", "LongScaling", "Rope", "Rotation", "Scaling",
    "YarnScaling", "rotate",
]

Rotation = tuple[Float[Array, "b n half"], Float[Array, "b n half"]]
"""(cosine, sine) of each pair's angle at n positions."""
Scaling = Callable[[float, int], tuple[Float[np.ndarray, " half"], float]]
"""(theta, size r of the rotated part) -> (frequencies of the pairs, factor of cosine and sine)."""


def _frequencies(theta: float, size: int) -> Float[np.ndarray, " half"]:
    return theta ** (-np.arange(0, size, 2) / size)


@dataclass(frozen=True)
class LinearScaling:
    """Position interpolation (Chen et al., 2023): all frequencies are divided by `factor`."""

    factor: float

    def __call__(self, theta: float, size: int) -> tuple[Float[np.ndarray, " half"], float]:
        return _frequencies(theta, size) / self.factor, 1.0


@dataclass(frozen=True)
class DynamicScaling:
    """NTK-aware scaling (bloc97 and emozilla, 2023): theta grows with the length of the text.

    original: the length of the training, in tokens. length: of the texts that the model is used with. Other codes take the
    length of the present text, so a cached key would have another rotation than the same key without a cache; here it is a
    constant. Up to `original`, nothing changes.
    """

    factor: float
    original: int
    length: int = 0

    def __call__(self, theta: float, size: int) -> tuple[Float[np.ndarray, " half"], float]:
        length = max(self.length, self.original)
        growth = self.factor * length / self.original - (self.factor - 1)
        return _frequencies(theta * growth ** (size / (size - 2)), size), 1.0


@dataclass(frozen=True)
class Llama3Scaling:
    """Llama 3.1's scaling (Grattafiori et al., 2024): long wavelengths are interpolated, short ones kept, others blended.

    factor: of the long wavelengths. low, high: a wavelength is long beyond original / low tokens and short below
    original / high. original: the length of the training before, in tokens.
    """

    factor: float = 8.0
    low: float = 1.0
    high: float = 4.0
    original: int = 8192

    def __call__(self, theta: float, size: int) -> tuple[Float[np.ndarray, " half"], float]:
        plain = _frequencies(theta, size)
        turns = self.original * plain / (2 * math.pi)  # full rotations within the original length
        kept = np.clip((turns - self.low) / (self.high - self.low), 0, 1)
        return (1 - kept) * plain / self.factor + kept * plain, 1.0


@dataclass(frozen=True)
class YarnScaling:
    """YaRN (Peng et al., 2023, section 3): frequencies are blended by the index of the pair, and attention is sharpened.

    factor: of the interpolation. original: the length of the training before, in tokens. fast, slow: rotations within the
    original length above which a pair is kept and below which it is interpolated. truncate: whether these bounds become whole
    indices. amplitude: factor of cosine and sine; None for 0.1 log(factor) + 1.
    """

    factor: float
    original: int
    fast: float = 32.0
    slow: float = 1.0
    truncate: bool = True
    amplitude: float | None = None

    def __call__(self, theta: float, size: int) -> tuple[Float[np.ndarray, " half"], float]:
        index = lambda turns: size * math.log(self.original / (turns * 2 * math.pi)) / (2 * math.log(theta))
        first, last = index(self.fast), index(self.slow)
        if self.truncate:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, size - 1)
        interpolated = np.clip((np.arange(size // 2) - first) / max(last - first, 0.001), 0, 1)
        plain = _frequencies(theta, size)
        amplitude = 0.1 * math.log(max(self.factor, 1.0)) + 1 if self.amplitude is None else self.amplitude
        return interpolated * plain / self.factor + (1 - interpolated) * plain, amplitude


@dataclass(frozen=True)
class LongScaling:
    """LongRoPE (Ding et al., 2024): each frequency has a factor of its own, found by search; another one for long texts.

    short, long: the divisors of the frequencies, one for each pair. original: the length of the training before, in tokens.
    amplitude: factor of cosine and sine. length: of the texts that the model is used with; beyond `original`, the long factors
    are used. Other codes take the length of the present text, and the two kinds of keys mix in a cache that passes `original`.
    """

    short: tuple[float, ...]
    long: tuple[float, ...]
    original: int
    amplitude: float = 1.0
    length: int = 0

    def __call__(self, theta: float, size: int) -> tuple[Float[np.ndarray, " half"], float]:
        factors = self.long if self.length > self.original else self.short
        if len(factors) != size // 2:
            raise ValueError(f"LongScaling has {len(factors)} factors; it must have one for each of {size // 2} pairs")
        return _frequencies(theta, size) / np.array(factors), self.amplitude


@dataclass(frozen=True)
class Rope:
    """A rotary position embedding.

    theta: base of the frequencies. fraction: the part of each vector that rotates, from its beginning; the rest does not.
    scaling: of the frequencies; None for none.
    """

    theta: float = 10_000.0
    fraction: float = 1.0
    scaling: Scaling | None = None

    def rotation(self, positions: Int[Array, "b n"], width: int) -> Rotation:
        """Cosine and sine in float32 for vectors of `width` numbers. positions: in tokens, from 0."""
        size = int(width * self.fraction)
        if size < 2 or size % 2:
            raise ValueError(f"Rope.fraction is {self.fraction}; it must select an even number of {width} numbers, not {size}")
        frequencies, amplitude = (self.scaling or (lambda *given: (_frequencies(*given), 1.0)))(self.theta, size)
        angles = positions[..., None].astype(jnp.float32) * jnp.asarray(frequencies, jnp.float32)[None, None]
        return jnp.cos(angles) * amplitude, jnp.sin(angles) * amplitude


@dataclass(frozen=True)
class GridRope:
    """M-RoPE (Wang et al., 2024, "Qwen2-VL", section 2.1): each pair rotates by one of three positions.

    sections: how many pairs rotate by the time, by the row and by the column, in this order; together half of each vector. For
    a text all three positions are equal, so it is `Rope(theta)`.
    """

    theta: float
    sections: tuple[int, int, int]

    def rotation(self, positions: Int[Array, "b n"] | Int[Array, "b n 3"], width: int) -> Rotation:
        """As `Rope.rotation`. positions: of a text, or (time, row, column)."""
        if 2 * sum(self.sections) != width:
            raise ValueError(f"GridRope.sections is {self.sections}; its sum must be half of {width}, the width of a head")
        places = jnp.broadcast_to(positions[..., None], (*positions.shape, 3)) if positions.ndim == 2 else positions
        axis = np.repeat(np.arange(3), self.sections)
        angles = places[..., axis].astype(jnp.float32) * jnp.asarray(_frequencies(self.theta, width), jnp.float32)[None, None]
        return jnp.cos(angles), jnp.sin(angles)


def rotate(x: Float[Array, "b h n k"], rotation: Rotation) -> Float[Array, "b h n k"]:
    """The vectors of h heads, each pair rotated by its angle, computed in float32 and returned in x's dtype."""
    cos, sin = (part[:, None] for part in rotation)
    half = cos.shape[-1]
    first, second, rest = jnp.split(x, (half, 2 * half), axis=-1)
    rotated = [first * cos - second * sin, second * cos + first * sin]
    return jnp.concatenate([*(part.astype(x.dtype) for part in rotated), rest], axis=-1)
