"""Searches for the text of CTC outputs: logits of each token -> token ids, inside `jit`.

Each takes `Tokens` with logits [b n vocabulary], as from `heads.TokenLogits`. Masked tokens are skipped and may be NaN.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from mmjax.nn.prefix_scores import PrefixScorer, ShallowFusion
from mmjax.types import Padded, Tokens

__all__ = ["ctc_beam", "ctc_greedy"]


def ctc_greedy(logits: Tokens, blank: int = 0) -> Padded:
    """The labelling of the most likely alignment: the most likely label of each token, merged repetitions, no blanks.

    Returns a Padded, x Int32[b n] and length Int[b]; positions beyond the length contain the blank.
    """
    first = lambda keep: jnp.argsort(~keep, axis=1, stable=True)  # the kept ones first, in their order
    label = jnp.argmax(jnp.where(logits.mask[..., None], logits.x, 0), axis=-1).astype(jnp.int32)
    order = first(logits.mask)
    label, valid = (jnp.take_along_axis(x, order, axis=1) for x in (label, logits.mask))
    before = jnp.pad(label, ((0, 0), (1, 0)), constant_values=blank)[:, :-1]
    keep = valid & (label != before) & (label != blank)
    length = jnp.sum(keep, axis=1)
    ids = jnp.take_along_axis(label, first(keep), axis=1)
    return Padded(jnp.where(jnp.arange(ids.shape[1])[None] < length[:, None], ids, blank), length)


def ctc_beam(
    logits: Tokens, beams: int, blank: int = 0, scorer: PrefixScorer | None = None, max_tokens: int | None = None
) -> tuple[Padded, Float[Array, " b"]]:
    """Prefix beam search: the text with the highest log p(text | tokens) + score of the text, and that sum.

    At each token, the best `beams` prefixes are kept, each with the summed probability of its alignments that end in a blank
    and of those that do not (Hannun et al., 2014, "First-pass large vocabulary continuous speech recognition using
    bi-directional recurrent DNNs", algorithm 1). With enough beams to keep all prefixes, the search is exact.

    scorer: the score of a text, such as `ShallowFusion` of an `NGram` and a `Lexicon`; None for 0. max_tokens: longer texts are
    not considered; None for the number n of tokens.

    Returns a Padded as `ctc_greedy` does, x Int32[b max_tokens], and the sum Float[b]. If the scorer forbids every text that
    was kept, the length is 0 and the sum -inf.
    """
    scorer = ShallowFusion() if scorer is None else scorer
    size = logits.x.shape[1] if max_tokens is None else max_tokens
    log_p = jax.nn.log_softmax(jnp.where(logits.mask[..., None], logits.x, 0).astype(jnp.float32))

    def of_one(log_p, mask):
        def step(prefixes, frame):
            new = _extend(prefixes, frame[0], blank, scorer)
            return jax.tree.map(lambda new, old: jnp.where(frame[1], new, old), new, prefixes), None

        prefixes = lax.scan(step, _empty(beams, size, blank, scorer), (log_p, mask))[0]
        total = _plus(prefixes.total, prefixes.score + jax.vmap(scorer.end, axis_size=beams)(prefixes.states))
        best = jnp.argmax(total)
        found = total[best] > -jnp.inf
        return jnp.where(found, prefixes.ids[best], blank), jnp.where(found, prefixes.length[best], 0), total[best]

    ids, length, total = jax.vmap(of_one)(log_p, logits.mask)
    return Padded(ids, length), total


class _Prefixes(NamedTuple):
    """The kept prefixes of one example: Int32[k m] padded with blanks, their lengths, log-probabilities and scores. Places
    without a prefix have log-probability -inf.

    after_blank, after_label: log of the summed probability of the alignments whose last label is the blank, or another one.
    score, states: of the scorer.
    """

    ids: Int[Array, "k m"]
    length: Int[Array, " k"]
    after_blank: Float[Array, " k"]
    after_label: Float[Array, " k"]
    score: Float[Array, " k"]
    states: Any

    @property
    def total(self) -> Float[Array, " k"]:
        return jnp.logaddexp(self.after_blank, self.after_label)

    def last(self, blank: int) -> Int[Array, " k"]:
        """The last label; the blank of an empty prefix."""
        label = jnp.take_along_axis(self.ids, jnp.maximum(self.length - 1, 0)[:, None], axis=1)[:, 0]
        return jnp.where(self.length > 0, label, blank)


def _plus(log_p: Float[Array, "*k"], score: Float[Array, "*k"]) -> Float[Array, "*k"]:
    """The sum; -inf where log_p is, whatever the score."""
    return jnp.where(log_p > -jnp.inf, log_p + score, -jnp.inf)


def _empty(beams: int, size: int, blank: int, scorer: PrefixScorer) -> _Prefixes:
    """The empty prefix, in the first of the places."""
    states = jax.tree.map(lambda x: jnp.broadcast_to(x[None], (beams, *x.shape)), scorer.start())
    after_blank = jnp.where(jnp.arange(beams) == 0, 0.0, -jnp.inf)
    ids = jnp.full((beams, size), blank, jnp.int32)
    return _Prefixes(ids, jnp.zeros(beams, jnp.int32), after_blank, jnp.full(beams, -jnp.inf), jnp.zeros(beams), states)


def _extend(prefixes: _Prefixes, log_p: Float[Array, " v"], blank: int, scorer: PrefixScorer) -> _Prefixes:
    """The best prefixes after one more frame."""
    label, last, total = jnp.arange(len(log_p))[None], prefixes.last(blank), prefixes.total
    added = jax.vmap(lambda state: scorer.scores(state, len(log_p)), axis_size=len(last))(prefixes.states)
    allowed = (label != blank) & (prefixes.length < prefixes.ids.shape[1])[:, None] & (added > -jnp.inf)
    source = jnp.where(label == last[:, None], prefixes.after_blank[:, None], total[:, None])  # a blank separates equal labels
    longer = jnp.where(allowed, source + log_p[None], -jnp.inf)
    child = _children(prefixes)
    gained = jax.nn.logsumexp(jnp.where(child, longer[:, last], -jnp.inf), axis=0)
    stay = prefixes._replace(
        after_blank=total + log_p[blank],
        after_label=jnp.logaddexp(jnp.where(prefixes.length > 0, prefixes.after_label + log_p[last], -jnp.inf), gained),
    )
    merged = (child[:, None] & (label.T == last[None])[None]).any(axis=-1)
    return _best(stay, jnp.where(merged, -jnp.inf, longer), prefixes.score[:, None] + added, scorer)


def _children(prefixes: _Prefixes) -> Bool[Array, "k k"]:
    """children[i, j] is True if prefix j is kept and is prefix i with one more label."""
    beyond = jnp.arange(prefixes.ids.shape[1])[None] >= prefixes.length[:, None]
    same = ((prefixes.ids[:, None] == prefixes.ids[None]) | beyond[:, None]).all(axis=-1)
    return same & (prefixes.length[None] == prefixes.length[:, None] + 1) & (prefixes.total > -jnp.inf)[None]


def _best(
    stay: _Prefixes, longer: Float[Array, "k v"], scores: Float[Array, "k v"], scorer: PrefixScorer
) -> _Prefixes:
    """The best k of all prefixes as they are and with one more label. longer, scores: of those with one more label."""
    beams, vocabulary = longer.shape
    ranked = jnp.concatenate([_plus(stay.total, stay.score), _plus(longer, scores).reshape(-1)])
    _, chosen = lax.top_k(ranked, beams)
    grows = chosen >= beams
    row = jnp.where(grows, (chosen - beams) // vocabulary, chosen)
    token = ((chosen - beams) % vocabulary).astype(jnp.int32)
    old = jax.tree.map(lambda x: x[row], stay)
    new = jax.vmap(scorer.advance)(old.states, token)
    at_end = grows[:, None] & (jnp.arange(old.ids.shape[1])[None] == old.length[:, None])
    return _Prefixes(
        jnp.where(at_end, token[:, None], old.ids),
        old.length + grows,
        jnp.where(grows, -jnp.inf, old.after_blank),
        jnp.where(grows, longer[row, token], old.after_label),
        jnp.where(grows, scores[row, token], old.score),
        jax.tree.map(lambda x, y: jnp.where(grows.reshape(-1, *[1] * (x.ndim - 1)), x, y), new, old.states),
    )
