"""An n-gram language model: interpolated Kneser-Ney smoothing, trained on the host, scored inside `jit`."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from mmjax.nn.trie import ROOT, Trie, build_trie
from mmjax.types import Declared

__all__ = ["NGram", "kneser_ney"]


@struct.dataclass
class NGram:
    """log p(next token | the last n - 1 tokens) in nats, a `PrefixScorer`; from `kneser_ney`. The state is a node of the trie.

    trie: of all n-grams of length 1 to n. log_p: Float32[nodes], of the last token given those before. backoff: Float32[nodes],
    the log of the weight of the shorter context. shorter: Int32[nodes], the node without the first token. context:
    Int32[nodes], the state after an n-gram, its last n - 1 tokens or all of them. unigram: Float32[vocabulary], without
    context. begin: Int32[], the state of the empty text. end_token: the id of the end token. order: n.
    """

    trie: Trie
    log_p: Declared[Float[Array, " nodes"]]
    backoff: Declared[Float[Array, " nodes"]]
    shorter: Declared[Int[Array, " nodes"]]
    context: Declared[Int[Array, " nodes"]]
    unigram: Declared[Float[Array, " vocabulary"]]
    begin: Declared[Int[Array, ""]]
    end_token: int = struct.field(pytree_node=False)
    order: int = struct.field(pytree_node=False)

    def _contexts(self, state: Int[Array, ""]) -> list[Int[Array, ""]]:
        """The state and its shorter contexts, longest first; the root repeats at the end."""
        contexts = [state]
        for _ in range(self.order - 2):
            contexts.append(self.shorter[contexts[-1]])
        return contexts

    def start(self) -> Int[Array, ""]:
        return self.begin

    def scores(self, state: Int[Array, ""], vocabulary: int) -> Float[Array, " vocabulary"]:
        if vocabulary != len(self.unigram):
            raise ValueError(f"the n-gram model has {len(self.unigram)} token ids, but the model {vocabulary}")
        log_p = self.unigram
        for node in reversed(self._contexts(state)):
            longer = self.trie.spread(node, self.log_p, self.backoff[node] + log_p)
            log_p = jnp.where(node == ROOT, log_p, longer)
        return log_p

    def log_p_of(self, state: Int[Array, ""], token: Int[Array, ""]) -> Float[Array, ""]:
        """log p of one token in nats, without the distribution over the vocabulary."""
        log_p = self.unigram[token]
        for node in reversed(self._contexts(state)):
            child = self.trie.child(node, token)
            longer = jnp.where(child == ROOT, self.backoff[node] + log_p, self.log_p[child])
            log_p = jnp.where(node == ROOT, log_p, longer)
        return log_p

    def end(self, state: Int[Array, ""]) -> Float[Array, ""]:
        return self.scores(state, len(self.unigram))[self.end_token]

    def advance(self, state: Int[Array, ""], token: Int[Array, ""]) -> Int[Array, ""]:
        """The state of the longest known context that ends with the token."""
        found = jnp.asarray(ROOT, jnp.int32)
        for node in (jnp.asarray(ROOT, jnp.int32), *reversed(self._contexts(state))):
            child = self.trie.child(node, token)
            found = jnp.where(child == ROOT, found, child)
        return self.context[found]


def kneser_ney(
    texts: Iterable[Sequence[int]], vocabulary: int, order: int = 3, end: int = 0, *, ended: bool = True
) -> NGram:
    """Interpolated Kneser-Ney smoothing (Chen and Goodman, 1999, section 2.7) with a begin token before each text and `end`
    after it.

    p(w | h) = (c(h w) - D) / c(h) + D types(h) / c(h) p(w | h without its first token), where c counts occurrences for n-grams
    of length n and those that begin a text, and the number of different tokens before them for others. D = n_1 / (n_1 + 2 n_2)
    for each length, with n_i the number of n-grams of count i; 0.5 if that is 0 or 1. Below single tokens comes the uniform
    distribution.

    texts: token ids of each text, without end token; ids from the first `end` or negative id on are ignored. vocabulary: number
    of token ids. order: n, at least 1. ended: False for texts with their end token, of which those that were cut have none.
    ValueError if there is no text, an id is too large, or order is not positive.
    """
    if order < 1:
        raise ValueError(f"order is {order}; it must be at least 1")
    begin = vocabulary
    counts = [Counter() for _ in range(order + 1)]
    for text in texts:
        ids = [int(token) for token in text]
        stop = next((place for place, token in enumerate(ids) if token < 0 or token == end), len(ids))
        if max(ids[:stop], default=0) >= vocabulary:
            raise ValueError(f"texts contain the token id {max(ids[:stop])}; ids must be below the vocabulary, {vocabulary}")
        has_end = ended or (stop < len(ids) and ids[stop] == end)
        ids = [begin, *ids[:stop], *([end] if has_end else [])]
        for length in range(1, order + 1):
            counts[length].update(tuple(ids[place : place + length]) for place in range(len(ids) - length + 1))
    if not counts[1]:
        raise ValueError("texts is empty; an n-gram model needs at least one text")
    p, backoff = _interpolate([_adjusted(counts, length, begin) for length in range(1, order + 1)], vocabulary)
    trie, index = build_trie([*p, (begin,)])
    of = lambda values, default: jnp.asarray(np.array([values.get(gram, default) for gram in index]), jnp.float32)
    shorter = np.array([index[gram[1:]] for gram in index], np.int32)
    context = np.array([index[gram if len(gram) < order else gram[1:]] for gram in index], np.int32)
    uniform = backoff[()] - math.log(vocabulary)
    unigram = np.array([p.get((token,), uniform) for token in range(vocabulary)], np.float32)
    start = jnp.asarray(index[(begin,)] if order > 1 else ROOT, jnp.int32)
    arrays = of(p, -math.inf), of(backoff, 0.0), jnp.asarray(shorter), jnp.asarray(context), jnp.asarray(unigram)
    return NGram(trie, *arrays, start, end, order)


def _adjusted(counts: list[Counter], length: int, begin: int) -> dict[tuple[int, ...], int]:
    """{n-gram: count}: the number of different tokens before it; of occurrences for the longest and those that begin a text."""
    if length == len(counts) - 1:
        return {gram: count for gram, count in counts[length].items() if gram != (begin,)}
    before = Counter(gram[1:] for gram in counts[length + 1])
    return {gram: before[gram] or counts[length][gram] for gram in counts[length] if gram != (begin,)}


def _interpolate(
    adjusted: list[dict[tuple[int, ...], int]], vocabulary: int
) -> tuple[dict[tuple[int, ...], float], dict[tuple[int, ...], float]]:
    """({n-gram: log p}, {context: log weight of the shorter context}), shortest first."""
    p, backoff = {}, {}
    for counts in adjusted:
        ones, twos = (sum(count == number for count in counts.values()) for number in (1, 2))
        discount = ones / (ones + 2 * twos) if ones and twos else 0.5
        total, types = defaultdict(int), defaultdict(int)
        for gram, count in counts.items():
            total[gram[:-1]] += count
            types[gram[:-1]] += 1
        for context, number in types.items():
            backoff[context] = math.log(discount * number / total[context])
        for gram, count in counts.items():
            context = gram[:-1]
            shorter = math.exp(p[gram[1:]]) if context else 1 / vocabulary
            p[gram] = math.log((count - discount) / total[context] + math.exp(backoff[context]) * shorter)
    return p, backoff
