"""How `Generate` finds a text: frozen values around the searches of `mmjax.nn`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Int

from mmjax.nn.checks import positive
from mmjax.nn.search import beam, greedy
from mmjax.types import Padded, Tokens

__all__ = ["Beam", "Greedy", "Search"]


@runtime_checkable
class Search(Protocol):
    """Finds the token ids of a text for each example; runs on the device, under `vmap` over seeds and subsets."""

    def __call__(
        self, apply: Callable[..., Any], output: str, tokens: Mapping[str, Tokens], present: Mapping[str, Any]
    ) -> Int[Array, "b m"]:
        """Token ids without prompt and end token, -1 beyond the end. apply, tokens, present: as in `Task.predict`. output: the
        name of the decoder or head."""
        ...


@dataclass(frozen=True)
class Greedy:
    """The most likely token at each step.

    max_tokens: the longest text, in tokens, with its end token.
    """

    max_tokens: int = 32

    def __post_init__(self):
        positive(self, "max_tokens")

    def __call__(
        self, apply: Callable[..., Any], output: str, tokens: Mapping[str, Tokens], present: Mapping[str, Any]
    ) -> Int[Array, "b m"]:
        prompt, end, step, cache = _start(apply, output, tokens, present, self.max_tokens)
        return _ids(greedy(step, cache, prompt, self.max_tokens, end))


@dataclass(frozen=True)
class Beam:
    """The most likely text that beam search finds (see `mmjax.nn.search.beam`).

    beams: running texts per example. max_tokens: the longest text, in tokens, with its end token. length_penalty: exponent of
    the length by which log-probabilities are divided; 0 favours short texts.
    """

    beams: int = 4
    max_tokens: int = 32
    length_penalty: float = 1.0

    def __post_init__(self):
        positive(self, "beams", "max_tokens")

    def __call__(
        self, apply: Callable[..., Any], output: str, tokens: Mapping[str, Tokens], present: Mapping[str, Any]
    ) -> Int[Array, "b m"]:
        prompt, end, step, cache = _start(apply, output, tokens, present, self.max_tokens, self.beams)
        return _ids(beam(step, cache, prompt, self.max_tokens, end, self.beams, self.length_penalty)[0])


def _start(
    apply: Callable[..., Any],
    output: str,
    tokens: Mapping[str, Tokens],
    present: Mapping[str, Any],
    max_tokens: int,
    beams: int = 1,
) -> tuple[Int[Array, "b p"], int, Callable[..., Any], Any]:
    """(prompt, end token, step, empty cache) of a decoder."""
    prompt, end = apply(output, method="prompt_and_end")
    rows = next(iter(tokens.values())).mask.shape[0]
    cache = apply(output, tokens, present, len(prompt) + max_tokens, beams, method="init_cache")
    step = lambda ids, cache: apply(output, ids, cache, method="step")
    return jnp.broadcast_to(jnp.asarray(prompt, jnp.int32)[None], (rows, len(prompt))), end, step, cache


def _ids(found: Padded) -> Int[Array, "b m"]:
    return jnp.where(found.mask, found.x, -1)
