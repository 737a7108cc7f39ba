"""CTC prefix scores and joint beam search against plain Python, written from the paper: Watanabe et al., 2017, "Hybrid
CTC/attention architecture for end-to-end speech recognition", algorithm 2."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from mmjax.nn.ctc_prefix import CTCPrefix
from mmjax.nn.prefix_scores import JointScores, ShallowFusion
from mmjax.nn.search import beam
from mmjax.types import Tokens

pytestmark = pytest.mark.parity

BLANK = 0


def log_softmax(logits):
    import torch

    return torch.tensor(logits, dtype=torch.float64).log_softmax(-1).tolist()


def add(*logs):
    top = max(logs)
    return top if top == -math.inf else top + math.log(sum(math.exp(x - top) for x in logs))


class Algorithm2:
    """log alpha_ctc(h, X) of the paper, with the table {(g, t): (gamma^n, gamma^b)} of its hypotheses; frames count from 1."""

    def __init__(self, log_p):
        self.log_p, self.table = log_p, {((), 0): (-math.inf, 0.0)}
        for t, frame in enumerate(log_p, start=1):
            self.table[(), t] = -math.inf, self.table[(), t - 1][1] + frame[BLANK]

    def __call__(self, g, c):
        """log p(g and a token c, ...), or log p(g) if c is the end."""
        if c == BLANK:
            return add(*self.table[g, len(self.log_p)])
        h = (*g, c)
        of_label, of_blank = self.log_p[0][c] if not g else -math.inf, -math.inf
        self.table[h, 1], psi = (of_label, of_blank), of_label
        for t in range(2, len(self.log_p) + 1):
            frame, (label, blank) = self.log_p[t - 1], self.table[g, t - 1]
            phi = blank if g and g[-1] == c else add(label, blank)
            of_label, of_blank = add(of_label, phi) + frame[c], add(of_blank, of_label) + frame[BLANK]
            self.table[h, t], psi = (of_label, of_blank), add(psi, phi + frame[c])
        return psi


@pytest.mark.parametrize(("frames", "tokens", "vocabulary"), [(4, 6, 3), (40, 12, 5), (200, 40, 30)])
def test_prefix_scores(frames, tokens, vocabulary):
    """8 examples of random lengths and random texts, some with more tokens than frames; all next tokens and the end."""
    rng = np.random.default_rng(frames)
    logits = (3 * rng.normal(size=(8, frames, vocabulary))).astype(np.float32)
    counts, texts = rng.integers(1, frames + 1, 8), rng.integers(1, vocabulary, (8, tokens))

    @jax.jit
    def run(logits):
        def of_one(scorer, text):
            def step(carry, token):
                state, before = carry
                scores = before + scorer.scores(state, vocabulary).at[BLANK].set(scorer.end(state))
                return (scorer.advance(state, token), scores[token]), scores

            return jax.lax.scan(step, (scorer.start(), 0.0), text)[1]

        mask = jnp.arange(frames)[None] < counts[:, None]
        return jax.vmap(of_one)(CTCPrefix.of(Tokens(logits, mask)), jnp.asarray(texts))

    ours, impossible = np.asarray(run(jnp.asarray(logits))), 0
    for row, text in enumerate(texts.tolist()):
        paper = Algorithm2(log_softmax(logits[row, : counts[row]]))
        for length in range(tokens):
            expected = np.array([paper(tuple(text[:length]), token) for token in range(vocabulary)])
            np.testing.assert_allclose(ours[row, length], expected, rtol=1e-5, atol=1e-4)
            impossible += np.isinf(expected).sum()
    assert impossible > 0 or frames > tokens


@struct.dataclass
class NoCache:
    def reorder(self, source):
        return self


def search_by_hand(log_p, table, weight, beams, max_tokens):
    """Label-synchronous beam search: the best text and its score. The decoder is a Markov chain after token 1."""
    paper, running, finished = Algorithm2(log_p), [((), 0.0)], []
    for count in range(max_tokens):
        candidates = []
        for g, by_decoder in running:
            for c in range(len(table)):
                if c == BLANK or count + 1 < max_tokens:
                    attention = by_decoder + table[g[-1] if g else 1][c]
                    candidates.append(((1 - weight) * attention + weight * paper(g, c), g, c, attention))
        candidates.sort(key=lambda candidate: -candidate[0])
        finished += [(score, g) for score, g, c, _ in candidates[:beams] if c == BLANK]
        running = [((*g, c), attention) for _, g, c, attention in candidates[: 2 * beams] if c != BLANK][:beams]
    return max(finished)


@pytest.mark.parametrize("beams", [1, 3, 8])
@pytest.mark.parametrize("weight", [0.3, 0.8])
def test_one_pass_joint_decoding(weight, beams):
    """32 examples of random lengths, 12 frames, 6 tokens. Later candidates never beat the finished text that ends a search."""
    rng = np.random.default_rng(beams)
    vocabulary, frames, max_tokens = 6, 12, 14
    logits, counts = (2 * rng.normal(size=(32, frames, vocabulary))).astype(np.float32), rng.integers(1, frames + 1, 32)
    table = (2 * rng.normal(size=(vocabulary, vocabulary))).astype(np.float32)

    @partial(jax.jit, static_argnames="weight")
    def run(logits, weight):
        frames_given = Tokens(logits, jnp.arange(frames)[None] < counts[:, None])
        scorer = ShallowFusion(((CTCPrefix.of(frames_given), weight),))
        joint = JointScores(scorer, 1 - weight, ShallowFusion(((0, None),), None))
        step, prompt = lambda ids, cache: (jnp.asarray(table)[ids], cache), jnp.ones((32, 1), jnp.int32)
        return beam(step, NoCache(), prompt, max_tokens, BLANK, beams, 0.0, joint=joint)

    found, scores = run(jnp.asarray(logits), weight)
    for row in range(32):
        expected, text = search_by_hand(log_softmax(logits[row, : counts[row]]), log_softmax(table), weight, beams, max_tokens)
        assert tuple(found.x[row, : found.length[row]].tolist()) == text, row
        np.testing.assert_allclose(scores[row], expected, rtol=1e-5, atol=1e-4)
