"""How `Generate` finds a text: frozen values around the searches of `mmjax.nn`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import tyro
from jaxtyping import Array, Int

from mmjax.nn.checks import positive
from mmjax.nn.ctc_prefix import CTCPrefix
from mmjax.nn.ctc_search import ctc_beam, ctc_greedy
from mmjax.nn.prefix_scores import JointScores, PrefixScorer, ShallowFusion
from mmjax.nn.sample import sample
from mmjax.nn.search import Rule, allow_all, beam, greedy
from mmjax.shards import example_keys
from mmjax.types import Padded, Tokens

__all__ = ["Beam", "CTCBeam", "CTCGreedy", "Greedy", "JointBeam", "Sample", "Search"]


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

    max_tokens: the longest text, in tokens, with its end token. rule: changes or forbids logits (see `mmjax.nn.rules`).
    """

    max_tokens: int = 32
    rule: tyro.conf.Suppress[Rule] = allow_all

    def __post_init__(self):
        positive(self, "max_tokens")

    def __call__(
        self, apply: Callable[..., Any], output: str, tokens: Mapping[str, Tokens], present: Mapping[str, Any]
    ) -> Int[Array, "b m"]:
        prompt, end, step, cache = _start(apply, output, tokens, present, self.max_tokens)
        return _ids(greedy(step, cache, prompt, self.max_tokens, end, self.rule))


@dataclass(frozen=True)
class Beam:
    """The best text that beam search finds (see `mmjax.nn.search.beam`).

    beams: running texts per example. max_tokens: the longest text, in tokens, with its end token. length_penalty: exponent of
    the length by which log-probabilities are divided; 0 favours short texts. early_stopping: "never", False or True. rule: as
    in `Greedy`, on log-probabilities. scorer: a further score of texts (shallow fusion), as in `CTCBeam`; with it, every text
    ends within max_tokens.
    """

    beams: int = 4
    max_tokens: int = 32
    length_penalty: float = 1.0
    early_stopping: bool | str = "never"
    rule: tyro.conf.Suppress[Rule] = allow_all
    scorer: tyro.conf.Suppress[Callable[[], PrefixScorer] | None] = None

    def __post_init__(self):
        positive(self, "beams", "max_tokens")
        if self.early_stopping != "never" and not isinstance(self.early_stopping, bool):
            raise ValueError(f'Beam.early_stopping is {self.early_stopping!r}; it must be "never", False or True')

    def __call__(
        self, apply: Callable[..., Any], output: str, tokens: Mapping[str, Tokens], present: Mapping[str, Any]
    ) -> Int[Array, "b m"]:
        prompt, end, step, cache = _start(apply, output, tokens, present, self.max_tokens, self.beams)
        options = self.length_penalty, self.rule, self.early_stopping
        joint = JointScores(self.scorer()) if self.scorer else None
        return _ids(beam(step, cache, prompt, self.max_tokens, end, self.beams, *options, joint=joint)[0])


@dataclass(frozen=True)
class JointBeam:
    """One-pass joint decoding: beam search by (1 - weight) * log-probability of a decoder + weight * log-probability of a CTC
    head (Watanabe et al., 2017, "Hybrid CTC/attention architecture for end-to-end speech recognition").

    ctc: the name of the CTC head. It has the vocabulary of the decoder, and its blank is the end token of the decoder. weight:
    from 0, the decoder alone, to 1, CTC alone. beams, length_penalty: as in `Beam`. max_tokens: the longest text, in tokens,
    with its end token, which every text has. scorer: a function without arguments that returns a further score of texts, as in
    `CTCBeam`; it may be a `ShallowFusion` with weights. rule: as in `Beam`.
    """

    ctc: str
    weight: float = 0.3
    beams: int = 4
    max_tokens: int = 32
    length_penalty: float = 0.0
    scorer: tyro.conf.Suppress[Callable[[], PrefixScorer] | None] = None
    rule: tyro.conf.Suppress[Rule] = allow_all

    def __post_init__(self):
        positive(self, "beams", "max_tokens")
        if not 0 <= self.weight <= 1:
            raise ValueError(f"JointBeam.weight is {self.weight}; it must be 0 to 1")

    def __call__(
        self, apply: Callable[..., Any], output: str, tokens: Mapping[str, Tokens], present: Mapping[str, Any]
    ) -> Int[Array, "b m"]:
        prompt, end, step, cache = _start(apply, output, tokens, present, self.max_tokens, self.beams)
        parts, axes = [], []  # 0: one scorer per example; None: one for all
        if self.weight > 0:
            parts.append((CTCPrefix.of(_frames(apply, self.ctc, tokens, present), end), self.weight))
            axes.append((0, None))
        if self.scorer:
            parts.append((self.scorer(), 1.0))
            axes.append((None, None))
        joint = JointScores(ShallowFusion(tuple(parts)), 1 - self.weight, ShallowFusion(tuple(axes), None))
        options = self.length_penalty, self.rule
        return _ids(beam(step, cache, prompt, self.max_tokens, end, self.beams, *options, joint=joint)[0])


@dataclass(frozen=True)
class Sample:
    """A random text. The random numbers depend on the place of an example in its batch and on `seed` alone.

    max_tokens: the longest text, in tokens, with its end token. temperature, top_k, top_p, min_p: as in `mmjax.nn.sample`.
    seed: of the random numbers. rule: as in `Greedy`.
    """

    max_tokens: int = 32
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int = 0
    rule: tyro.conf.Suppress[Rule] = allow_all

    def __post_init__(self):
        positive(self, "max_tokens")
        positive(self, "top_k")
        if not self.temperature > 0:
            raise ValueError(f"Sample.temperature is {self.temperature}; it must be above 0")
        for name in ("top_p", "min_p"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"Sample.{name} is {value}; it must be 0 to 1, or None")

    def __call__(
        self, apply: Callable[..., Any], output: str, tokens: Mapping[str, Tokens], present: Mapping[str, Any]
    ) -> Int[Array, "b m"]:
        prompt, end, step, cache = _start(apply, output, tokens, present, self.max_tokens)
        keys = example_keys(jax.random.key(self.seed), prompt.shape[0])
        filters = self.temperature, self.top_k, self.top_p, self.min_p
        return _ids(sample(step, cache, prompt, self.max_tokens, end, keys, *filters, self.rule))


@dataclass(frozen=True)
class CTCGreedy:
    """The text of the most likely alignment of a CTC head (`heads.TokenLogits`). blank: its id."""

    blank: int = 0

    def __call__(
        self, apply: Callable[..., Any], output: str, tokens: Mapping[str, Tokens], present: Mapping[str, Any]
    ) -> Int[Array, "b m"]:
        return _ids(ctc_greedy(_frames(apply, output, tokens, present), self.blank))


@dataclass(frozen=True)
class CTCBeam:
    """The best text that prefix beam search finds for a CTC head (see `mmjax.nn.ctc_search.ctc_beam`).

    beams: running texts per example. scorer: a function without arguments that returns the score of texts, such as a language
    model, `partial(kneser_ney, texts, vocabulary)` of `mmjax.nn.ngram`; it runs before compilation; None for no score.
    max_tokens: the longest text; None for the number of frames. blank: its id.
    """

    beams: int = 8
    scorer: tyro.conf.Suppress[Callable[[], PrefixScorer] | None] = None
    max_tokens: int | None = None
    blank: int = 0

    def __post_init__(self):
        positive(self, "beams", "max_tokens")

    def __call__(
        self, apply: Callable[..., Any], output: str, tokens: Mapping[str, Tokens], present: Mapping[str, Any]
    ) -> Int[Array, "b m"]:
        frames = _frames(apply, output, tokens, present)
        scorer = self.scorer() if self.scorer else None
        return _ids(ctc_beam(frames, self.beams, self.blank, scorer, self.max_tokens)[0])


def _frames(
    apply: Callable[..., Any], output: str, tokens: Mapping[str, Tokens], present: Mapping[str, Any]
) -> Tokens:
    """The logits of each token."""
    return apply(tokens, present)[output]


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
