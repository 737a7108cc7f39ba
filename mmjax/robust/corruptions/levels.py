"""What a corruption is, and its parameters at a severity."""

from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

__all__ = ["SEVERITIES", "Change", "Levels", "Severity", "TextChange", "at"]

SEVERITIES = (1, 2, 3, 4, 5)
Severity = Int[Array, ""] | int
Levels = tuple[tuple[float | int, ...], ...]
"""The parameters at severities 1 to 5."""


@runtime_checkable
class Change(Protocol):
    """A corruption of one example's input, in its original units: (key, x, severity 1 to 5) -> x of equal shape.

    x: pixels Float[h w c] in [0, 1], a sound (`Padded` samples in [-1, 1]) or a series (`Padded`), without a batch dimension.
    Severity may be traced, so that one program has all severities. The same key gives the same random numbers at every
    severity. `robust.corruptions.changed` makes it the identity at severity 0 and keeps padding.
    """

    levels: Levels

    def __call__(self, key: Key[Array, ""], x: Any, severity: Severity) -> Any: ...


@runtime_checkable
class TextChange(Protocol):
    """A corruption of a text on the host: (NumPy generator, text, severity 1 to 5) -> text."""

    levels: Levels

    def text(self, random: Any, text: str, severity: int) -> str: ...


def at(levels: Levels, severity: Severity) -> Float[Array, " p"]:
    """The parameters of a severity."""
    return jnp.asarray(levels, jnp.float32)[jnp.clip(severity - 1, 0, len(levels) - 1)]
