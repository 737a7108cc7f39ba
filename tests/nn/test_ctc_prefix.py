"""CTC prefix scores and joint beam search against sums over all alignments of all texts, in float64."""

import itertools
from collections import defaultdict
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from scipy import special

from mmjax.nn.ctc_prefix import CTCPrefix
from mmjax.nn.ngram import kneser_ney
from mmjax.nn.prefix_scores import JointScores, PrefixScorer, ShallowFusion
from mmjax.nn.rules import Chain, MinTokens, Suppress
from mmjax.nn.search import beam
from mmjax.types import Tokens

ROWS, FRAMES, VOCABULARY, END, MAX_TOKENS, ALL = 6, 5, 3, 0, 7, 130
RANDOM = np.random.default_rng(1)
LOGITS = 1.5 * RANDOM.normal(size=(ROWS, FRAMES, VOCABULARY)).astype(np.float32)
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 0, 1, 1, 0], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 0, 1]], bool)
FRAMES_GIVEN = Tokens(jnp.where(MASK[..., None], LOGITS, jnp.nan), jnp.asarray(MASK))
TABLE = RANDOM.dirichlet(np.ones(VOCABULARY), VOCABULARY).astype(np.float32)
"""The decoder is a Markov chain: [t u] is the probability of token u after token t; the prompt is token 1."""
NGRAM = kneser_ney([[1, 2], [1, 2, 1], [2, 1, 1]], VOCABULARY, order=2)


def labelling(alignment):
    return tuple(label for label, _ in itertools.groupby(alignment) if label)


def all_labellings(row):
    """{labelling: its probability} of one example."""
    p = special.softmax(np.float64(LOGITS[row][MASK[row]]), axis=-1)
    found = defaultdict(float)
    for alignment in itertools.product(range(VOCABULARY), repeat=len(p)):
        found[labelling(alignment)] += np.prod([frame[label] for frame, label in zip(p, alignment)])
    return found


PROBABILITIES = [all_labellings(row) for row in range(ROWS)]
LONG = np.array(list(itertools.product((1, 2), repeat=FRAMES + 1)))


@jax.jit
def scores_of_long_texts(scorer):
    """For each example, text of LONG and number of tokens before: the scores of all next tokens, and that of the end."""

    def of_text(scorer, text):
        def step(state, token):
            return scorer.advance(state, token), (scorer.scores(state, VOCABULARY), scorer.end(state))

        return jax.lax.scan(step, scorer.start(), text)[1]

    return jax.vmap(lambda scorer: jax.vmap(partial(of_text, scorer))(jnp.asarray(LONG)))(scorer)


def test_scores_equal_sums_over_all_alignments_and_continuations():
    scorer = CTCPrefix.of(FRAMES_GIVEN)
    assert isinstance(scorer, PrefixScorer)
    scores, ends = scores_of_long_texts(scorer)
    for row, text, count in itertools.product(range(ROWS), range(len(LONG)), range(FRAMES + 1)):
        prefix = tuple(LONG[text, :count].tolist())
        p = lambda prefix: sum(p for text, p in PROBABILITIES[row].items() if text[: len(prefix)] == prefix)
        with np.errstate(divide="ignore"):
            before = np.log(p(prefix))
            if before == -np.inf:  # more tokens than frames
                assert (scores[row, text, count] == -np.inf).all() and ends[row, text, count] == -np.inf
                continue
            expected = np.log([0.0, p((*prefix, 1)), p((*prefix, 2))]) - before
            of_text = np.log(PROBABILITIES[row].get(prefix, 0.0)) - before
        np.testing.assert_allclose(scores[row, text, count], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(ends[row, text, count], of_text, rtol=1e-4, atol=1e-5)


@struct.dataclass
class NoCache:
    def reorder(self, source):
        return self


@partial(jax.jit, static_argnames=("weight", "beams", "rule", "ngram"))
def search(frames, weight, beams, rule=lambda logits, ids, count: logits, ngram=False):
    """Joint search by (1 - weight) * decoder + weight * CTC, and 0.5 * n-gram model."""
    parts = [(CTCPrefix.of(frames), weight, 0)] if weight else []
    parts += [(NGRAM, 0.5, None)] if ngram else []
    scorer = ShallowFusion(tuple((part, scale) for part, scale, _ in parts), 0.0)
    axes = ShallowFusion(tuple((axis, None) for *_, axis in parts), None)
    step = lambda ids, cache: (jnp.log(TABLE)[ids], cache)
    prompt = jnp.ones((len(frames.x), 1), jnp.int32)
    joint = JointScores(scorer, 1 - weight, axes)
    return beam(step, NoCache(), prompt, MAX_TOKENS, END, beams, 0.0, rule, joint=joint)


def by_decoder(text):
    return float(np.sum(np.log(np.float64(TABLE))[[1, *text], [*text, END]]))


NGRAM_SCORES, NGRAM_AFTER = jax.jit(lambda state: NGRAM.scores(state, VOCABULARY)), jax.jit(NGRAM.advance)


@cache
def by_ngram(text):
    state, total = NGRAM.start(), 0.0
    for token in (*text, END):
        total += float(NGRAM_SCORES(state)[token])
        state = NGRAM_AFTER(state, jnp.int32(token))
    return total


def texts_of(found):
    return [tuple(ids[:length].tolist()) for ids, length in zip(np.asarray(found.x), np.asarray(found.length))]


@pytest.mark.parametrize(("weight", "ngram"), [(1.0, False), (0.4, True)])
def test_enough_beams_find_the_best_text(weight, ngram):
    found, scores = search(FRAMES_GIVEN, weight, ALL, ngram=ngram)
    for row, text in enumerate(texts_of(found)):
        value = lambda text, p: (1 - weight) * by_decoder(text) + weight * np.log(p) + (0.5 * by_ngram(text) if ngram else 0)
        values = {text: value(text, p) for text, p in PROBABILITIES[row].items()}
        assert text == max(values, key=values.get), row
        np.testing.assert_allclose(scores[row], max(values.values()), rtol=1e-4, atol=1e-5)
    assert len({len(text) for text in texts_of(found)}) > 1


def only_end_is_last(logits, ids, count):
    return jnp.where((jnp.arange(VOCABULARY) == END)[None] | (count + 1 < MAX_TOKENS), logits, -jnp.inf)


@pytest.mark.parametrize("beams", [1, 3])
def test_weight_zero_is_plain_beam_search(beams):
    found, scores = search(FRAMES_GIVEN, 0.0, beams)
    step, prompt = lambda ids, cache: (jnp.log(TABLE)[ids], cache), jnp.ones((ROWS, 1), jnp.int32)
    plain = lambda: beam(step, NoCache(), prompt, MAX_TOKENS, END, beams, 0.0, only_end_is_last)
    expected, expected_scores = jax.jit(plain)()
    np.testing.assert_array_equal(found.x, expected.x)
    np.testing.assert_array_equal(scores, expected_scores)


def test_single_and_padded_examples_are_equal():
    """The valid frames of an example alone give what they give in the padded batch, with NaN in masked frames."""
    found, scores = search(FRAMES_GIVEN, 0.4, 2)
    for row in (2, 4):
        valid = LOGITS[row][MASK[row]]
        alone, score = search(Tokens(jnp.asarray(valid)[None], jnp.ones((1, len(valid)), bool)), 0.4, 2)
        assert texts_of(alone) == [texts_of(found)[row]]
        np.testing.assert_allclose(score[0], scores[row], rtol=1e-5)
    assert texts_of(found)[4] == ()  # no valid frame: every other text is impossible


def test_rules_and_impossible_texts():
    """Without label 2, texts repeat label 1, and each repetition needs a blank: five frames have at most three tokens, so a
    rule that also asks for four leaves nothing, although the decoder has a weight of 0.9."""
    found, scores = search(FRAMES_GIVEN, 1.0, 4, rule=Suppress((2,)))
    for row, text in enumerate(texts_of(found)):
        p = {text: p for text, p in PROBABILITIES[row].items() if 2 not in text}
        assert text == max(p, key=p.get)
        np.testing.assert_allclose(scores[row], np.log(max(p.values())), rtol=1e-4, atol=1e-5)
    found, scores = search(FRAMES_GIVEN, 0.1, 4, rule=Chain((Suppress((2,)), MinTokens(4, END))))
    assert texts_of(found) == [()] * ROWS and (scores == -np.inf).all()


def test_other_vocabularies_are_named():
    with pytest.raises(ValueError, match=r"^the CTC head has 3 token ids, but the decoder 4"):
        CTCPrefix(jnp.zeros((2, 3))).scores(CTCPrefix(jnp.zeros((2, 3))).start(), 4)
