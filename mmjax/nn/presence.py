"""Calls an encoder with the presence of its modality, if the encoder declares that it takes it (see `types.Encoder`)."""

from typing import Any

from jaxtyping import Array, Bool

from mmjax.types import Tokens

__all__ = ["encode", "takes_present"]


def takes_present(encoder: Any) -> bool:
    """Whether the encoder declares `takes_present = True`. Encoders without the attribute do not take `present`."""
    return getattr(encoder, "takes_present", False)


def encode(encoder: Any, x: Any, present: Bool[Array, " b"] | None, *, train: bool = False) -> Tokens:
    """The encoder's tokens for x; `present` is passed on only to an encoder that takes it. None: all examples are present."""
    if takes_present(encoder):
        return encoder(x, train=train, present=present)
    return encoder(x, train=train)
