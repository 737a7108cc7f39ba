"""Constraints of a search as a finite-state automaton over token ids, for example the words of a lexicon."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from mmjax.nn.checks import positive

__all__ = ["Follow", "Grammar", "lexicon"]


@dataclass(frozen=True)
class Grammar:
    """A deterministic finite-state automaton: the token sequences on its paths from state 0 to an arc with the end token.

    arcs: (source state, token id, target state), sorted or not. The target of an arc with the end token does not matter. end:
    the id of the end token. Raises ValueError if an arc is not three non-negative integers, two arcs leave a state with the
    same token, or the end cannot be reached from a state of a path.
    """

    arcs: tuple[tuple[int, int, int], ...]
    end: int

    def __post_init__(self):
        seen = set()
        for arc in self.arcs:
            if len(arc) != 3 or min(arc) < 0:
                raise ValueError(f"Grammar.arcs: {arc!r} is not (source state, token id, target state), all of at least 0")
            if arc[:2] in seen:
                raise ValueError(f"Grammar.arcs: two arcs leave state {arc[0]} with token {arc[1]}; each token has one target")
            seen.add(arc[:2])
        if 0 not in self.distance:
            raise ValueError(f"Grammar.arcs: no path leads from state 0 to the end token, which is {self.end}")
        targets: dict[int, list[int]] = {}
        for source, token, target in self.arcs:
            targets.setdefault(source, []).extend([target] if token != self.end else [])
        reached, waiting = {0}, [0]
        while waiting:
            new = set(targets.get(waiting.pop(), ())) - reached
            reached |= new
            waiting += new
        if dead := sorted(reached - set(self.distance)):
            raise ValueError(f"Grammar.arcs: no path leads from state {dead[0]} to the end token, which is {self.end}")

    @cached_property
    def distance(self) -> dict[int, int]:
        """{state: the fewest tokens to the end, with the end token}, for states with a path to the end."""
        sources: dict[int, list[int]] = {}
        for source, token, target in self.arcs:
            if token != self.end:
                sources.setdefault(target, []).append(source)
        found = {source: 1 for source, token, _ in self.arcs if token == self.end}
        waiting = deque(found)
        while waiting:
            state = waiting.popleft()
            for source in sources.get(state, ()):
                if source not in found:
                    found[source] = found[state] + 1
                    waiting.append(source)
        return found


@dataclass(frozen=True)
class Follow:
    """The rule that a sequence follows a grammar (see `mmjax.nn.rules`).

    grammar: has the end token of the search. max_tokens: as in the search; then every sequence ends in time, complete. None: a
    sequence may be cut. Raises ValueError if no sequence of the grammar is short enough.
    """

    grammar: Grammar
    max_tokens: int | None = None

    def __post_init__(self):
        positive(self, "max_tokens")
        if self.max_tokens is not None and self.max_tokens < self.grammar.distance[0]:
            least = self.grammar.distance[0]
            raise ValueError(f"Follow.max_tokens is {self.max_tokens}; the shortest sequence of the grammar has {least} tokens")

    def __call__(
        self, logits: Float[Array, "c vocabulary"], ids: Int[Array, "c m"], count: Int[Array, ""]
    ) -> Float[Array, "c vocabulary"]:
        source, token, target = (jnp.array(column, jnp.int32) for column in zip(*self.grammar.arcs))
        # The fewest tokens of a sequence that takes an arc next, after those generated so far.
        needed = jnp.array(
            [1 + (0 if arc[1] == self.grammar.end else self.grammar.distance.get(arc[2], 0)) for arc in self.grammar.arcs]
        )

        def advance(position, state):
            taken = (source[None] == state[:, None]) & (token[None] == ids[:, position, None])
            return jnp.where(taken.any(axis=1), target[jnp.argmax(taken, axis=1)], -1)  # -1 if no arc has this token

        state = lax.fori_loop(0, count, advance, jnp.zeros(ids.shape[0], jnp.int32))
        possible = source[None] == state[:, None]
        if self.max_tokens is not None:
            possible &= (count + needed <= self.max_tokens)[None]
        allowed = jnp.zeros(logits.shape, bool).at[:, token].max(possible, mode="drop")
        return jnp.where(allowed, logits, -jnp.inf)


def lexicon(words: Iterable[Iterable[int]], end: int, *, several: bool = False) -> Grammar:
    """The grammar of the given words.

    words: token ids of each word. end: the id of the end token, in no word. several: whether a text is any number of words, at
    least one, one after the other, instead of one word. Raises ValueError if no words are given, one is empty or has the end.
    """
    trie: list[dict[int, int]] = [{}]
    final = set()
    for word in map(tuple, words):
        if not word or end in word:
            raise ValueError(f"lexicon: the word {word!r} is empty or contains the end token, which is {end}")
        node = 0
        for token in map(int, word):
            if token not in trie[node]:
                trie[node][token] = len(trie)
                trie.append({})
            node = trie[node][token]
        final.add(node)
    if not final:
        raise ValueError("lexicon: no words are given")
    # A word may begin another one, so a text may be at several nodes: each set of nodes is a state.
    states, waiting, arcs = {frozenset({0}): 0}, [frozenset({0})], []
    for nodes in waiting:
        state = states[nodes]
        if nodes & final:
            arcs.append((state, end, state))
            nodes = nodes | {0} if several else nodes
        for token in sorted({token for node in nodes for token in trie[node]}):
            reached = frozenset(trie[node][token] for node in nodes if token in trie[node])
            if reached not in states:
                states[reached] = len(states)
                waiting.append(reached)
            arcs.append((state, token, states[reached]))
    return Grammar(tuple(arcs), end)
