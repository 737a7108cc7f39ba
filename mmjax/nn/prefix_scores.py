"""Scores of token sequences that grow by one token at a time: what a search adds to the model's own log-probabilities."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from mmjax.nn.trie import ROOT, Trie, build_trie
from mmjax.types import Declared

__all__ = ["JointScores", "Lexicon", "PrefixScorer", "ShallowFusion"]


@runtime_checkable
class PrefixScorer(Protocol):
    """The score of one sequence, a sum over its tokens and its end. A pytree with pure methods; states are pytrees too."""

    def start(self) -> Any:
        """The state of the empty sequence."""
        ...

    def scores(self, state: Any, vocabulary: int) -> Float[Array, " vocabulary"]:
        """The score of each next token; -inf forbids it."""
        ...

    def end(self, state: Any) -> Float[Array, ""]:
        """The score of ending here; -inf forbids it."""
        ...

    def advance(self, state: Any, token: Int[Array, ""]) -> Any:
        """The state after one more token."""
        ...


@struct.dataclass
class ShallowFusion:
    """weight * score of each scorer, summed, and a bonus for each token (Gulcehre et al., 2015, "On using monolingual corpora
    in neural machine translation"); without scorers, the bonus alone.

    parts: ((scorer, weight), ...), weights above 0, dimensionless. length_bonus: in nats per token.
    """

    parts: tuple[tuple[Any, Any], ...] = ()
    length_bonus: Any = 0.0

    def start(self) -> tuple[Any, ...]:
        return tuple(scorer.start() for scorer, _ in self.parts)

    def scores(self, state: tuple[Any, ...], vocabulary: int) -> Float[Array, " vocabulary"]:
        bonus = jnp.full(vocabulary, self.length_bonus, jnp.float32)
        return sum((weight * part.scores(of, vocabulary) for (part, weight), of in zip(self.parts, state)), bonus)

    def end(self, state: tuple[Any, ...]) -> Float[Array, ""]:
        return sum((weight * part.end(of) for (part, weight), of in zip(self.parts, state)), jnp.zeros(()))

    def advance(self, state: tuple[Any, ...], token: Int[Array, ""]) -> tuple[Any, ...]:
        return tuple(part.advance(of, token) for (part, _), of in zip(self.parts, state))


@struct.dataclass
class JointScores:
    """weight * log-probability by the decoder + the score of a scorer, for k sequences of each of b prompts in a search.

    scorer: a `PrefixScorer`. weight: of the decoder, at least 0, dimensionless. axes: `in_axes` of the scorer for `vmap` over
    prompts: None if all have the same scorer, such as an n-gram model; 0 if each array of the scorer has a first dimension b,
    as that of `CTCPrefix.of`; or a scorer of these for a scorer of both.
    """

    scorer: Any
    weight: Any = 1.0
    axes: Any = struct.field(pytree_node=False, default=None)

    def start(self, rows: int, sequences: int) -> Any:
        """The states of empty sequences, [b k ...]."""
        of_row = jax.vmap(lambda scorer: scorer.start(), in_axes=(self.axes,), axis_size=rows)(self.scorer)
        return jax.tree.map(lambda x: jnp.repeat(x[:, None], sequences, axis=1), of_row)

    def add(self, log_p: Float[Array, "b k v"], states: Any, end: int) -> Float[Array, "b k v"]:
        """The joint score of each next token, of which `end` is the end token; -inf where log_p is."""

        def of_one(scorer, state):
            scores = scorer.scores(state, log_p.shape[-1])
            return jnp.where(jnp.arange(log_p.shape[-1]) == end, scorer.end(state), scores)

        scores = self._of_all(of_one, log_p.shape[:2], states)
        return jnp.where(log_p > -jnp.inf, self.weight * log_p + scores, -jnp.inf)

    def advance(self, states: Any, token: Int[Array, "b k"]) -> Any:
        """The states after one more token of each sequence."""
        return self._of_all(lambda scorer, state, token: scorer.advance(state, token), token.shape, states, token)

    def _of_all(self, function: Any, shape: tuple[int, ...], *of_sequences: Any) -> Any:
        """function(scorer, ...) of each sequence."""
        of_row = lambda scorer, *of: jax.vmap(lambda *of: function(scorer, *of), axis_size=shape[1])(*of)
        in_axes = (self.axes, *[0] * len(of_sequences))
        return jax.vmap(of_row, in_axes=in_axes, axis_size=shape[0])(self.scorer, *of_sequences)


@struct.dataclass
class Lexicon:
    """Score 0 for sequences of known entries and -inf for all others; from `Lexicon.of`.

    trie: of the entries' tokens. complete: Bool[nodes], True for the nodes of entries. separator: Int[], the token between two
    entries; -1 if the whole sequence is one entry. The state is a node.
    """

    trie: Trie
    complete: Declared[Bool[Array, " nodes"]]
    separator: Declared[Int[Array, ""]]

    @classmethod
    def of(cls, entries: Iterable[Sequence[int]], separator: int | None = None) -> "Lexicon":
        """entries: the token ids of each entry, such as the letters of a word. ValueError if there is none, one is empty, or
        one contains the separator."""
        known = {tuple(map(int, entry)) for entry in entries}
        if not known or () in known or any(separator in entry for entry in known):
            raise ValueError("Lexicon: entries must be at least one, not empty, and without the separator")
        trie, index = build_trie(known)
        complete = np.array([sequence in known for sequence in index])
        return cls(trie, jnp.asarray(complete), jnp.asarray(-1 if separator is None else separator, jnp.int32))

    def start(self) -> Int[Array, ""]:
        return jnp.asarray(ROOT, jnp.int32)

    def scores(self, state: Int[Array, ""], vocabulary: int) -> Float[Array, " vocabulary"]:
        allowed = self.trie.spread(state, jnp.zeros(len(self.complete)), jnp.full(vocabulary, -jnp.inf))
        separates = (jnp.arange(vocabulary) == self.separator) & self.complete[state]
        return jnp.where(separates, 0, allowed)

    def end(self, state: Int[Array, ""]) -> Float[Array, ""]:
        return jnp.where(self.complete[state], 0.0, -jnp.inf)

    def advance(self, state: Int[Array, ""], token: Int[Array, ""]) -> Int[Array, ""]:
        return self.trie.child(state, token)  # the root after a separator
