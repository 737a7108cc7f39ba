"""How `Generate` finds a text: frozen values around the searches of `mmjax.nn`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from mmjax.nn.checks import non_negative, positive
from mmjax.nn.sample import sample
from mmjax.nn.search import Rule, allow_all, beam, greedy
from mmjax.types import Declared, Padded, Tokens

__all__ = ["Beam", "Greedy", "Sample", "Search"]


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

    max_tokens: the longest text, in tokens, with its end token. rule: forbids tokens, see `mmjax.nn.rules`.
    """

    max_tokens: int = 32
    rule: Declared[Rule] = allow_all

    def __post_init__(self):
        positive(self, "max_tokens")

    def __call__(
        self, apply: Callable[..., Any], output: str, tokens: Mapping[str, Tokens], present: Mapping[str, Any]
    ) -> Int[Array, "b m"]:
        prompt, end, step, cache = _start(apply, output, tokens, present, self.max_tokens)
        return _ids(greedy(step, cache, prompt, self.max_tokens, end, self.rule))


@dataclass(frozen=True)
class Beam:
    """The most likely text that beam search finds (see `mmjax.nn.search.beam`).

    beams: running texts per example. max_tokens: the longest text, in tokens, with its end token. length_penalty: exponent of
    the length by which log-probabilities are divided; 0 favours short texts. rule: as in `Greedy`. early_stopping: "never",
    False or True, as in `beam`.
    """

    beams: int = 4
    max_tokens: int = 32
    length_penalty: float = 1.0
    rule: Declared[Rule] = allow_all
    early_stopping: bool | str = "never"

    def __post_init__(self):
        positive(self, "beams", "max_tokens")
        if self.early_stopping not in ("never", False, True):
            raise ValueError(f'Beam.early_stopping is {self.early_stopping!r}; it must be "never", False or True')

    def __call__(
        self, apply: Callable[..., Any], output: str, tokens: Mapping[str, Tokens], present: Mapping[str, Any]
    ) -> Int[Array, "b m"]:
        prompt, end, step, cache = _start(apply, output, tokens, present, self.max_tokens, self.beams)
        settings = self.beams, self.length_penalty, self.rule, self.early_stopping
        return _ids(beam(step, cache, prompt, self.max_tokens, end, *settings)[0])


@dataclass(frozen=True)
class Sample:
    """A random text (see `mmjax.nn.sample.sample`).

    max_tokens, rule: as in `Greedy`. temperature, top_k, top_p, min_p: as in `sample`. seed: of the random key; rows of a batch
    differ in their keys, batches do not.
    """

    max_tokens: int = 32
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int = 0
    rule: Declared[Rule] = allow_all

    def __post_init__(self):
        positive(self, "max_tokens", "top_k")
        non_negative(self, "seed")
        if not self.temperature > 0:
            raise ValueError(f"Sample.temperature is {self.temperature!r}; it must be above 0 (Greedy is its limit 0)")
        for field in ("top_p", "min_p"):
            if (value := getattr(self, field)) is not None and not 0 <= value <= 1:
                raise ValueError(f"Sample.{field} is {value!r}; it must be 0 to 1, or None")

    def __call__(
        self, apply: Callable[..., Any], output: str, tokens: Mapping[str, Tokens], present: Mapping[str, Any]
    ) -> Int[Array, "b m"]:
        prompt, end, step, cache = _start(apply, output, tokens, present, self.max_tokens)
        filters = self.temperature, self.top_k, self.top_p, self.min_p
        return _ids(sample(step, cache, prompt, self.max_tokens, end, jax.random.key(self.seed), *filters, self.rule))


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
