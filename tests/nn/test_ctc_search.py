"""CTC searches against the sum over all alignments of every labelling, with and without an n-gram model and a lexicon."""

import itertools
from collections import defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from mmjax.nn.ctc_search import ctc_beam, ctc_greedy
from mmjax.nn.ngram import kneser_ney
from mmjax.nn.prefix_scores import Lexicon, PrefixScorer, ShallowFusion
from mmjax.types import Tokens

EXAMPLES, FRAMES, VOCABULARY, ALL = 24, 5, 4, 150  # ALL: beams for all texts
RANDOM = np.random.default_rng(0)
LOGITS = 1.5 * RANDOM.normal(size=(EXAMPLES, FRAMES, VOCABULARY)).astype(np.float32)
MASK = RANDOM.uniform(size=(EXAMPLES, FRAMES)) < 0.8
MASK[0], MASK[1] = True, False
TOKENS = Tokens(jnp.where(MASK[..., None], LOGITS, jnp.nan), jnp.asarray(MASK))
NGRAM = kneser_ney([[1, 2], [1, 2, 1], [2, 3], [1], [3, 1, 2]], VOCABULARY, order=3)
LEXICON = Lexicon.of([[1], [1, 2], [2, 2]], separator=3)
SCORERS = {
    "plain": None,
    "ngram": ShallowFusion(((NGRAM, 0.8),), 0.4),
    "both": ShallowFusion(((NGRAM, 0.5), (LEXICON, 1.0)), 0.3),
}
beam = jax.jit(ctc_beam, static_argnames=("beams", "blank", "max_tokens"))


def labelling(alignment):
    return tuple(label for label, _ in itertools.groupby(alignment) if label)


def all_labellings(row):
    """{labelling: its probability} of one example."""
    p = special.softmax(np.float64(LOGITS[row][MASK[row]]), axis=-1)
    found = defaultdict(float)
    for alignment in itertools.product(range(VOCABULARY), repeat=len(p)):
        found[labelling(alignment)] += np.prod([frame[label] for frame, label in zip(p, alignment)])
    return found


PROBABILITIES = [all_labellings(row) for row in range(EXAMPLES)]
MODEL_SCORES = jax.jit(lambda state: NGRAM.scores(state, VOCABULARY)), jax.jit(NGRAM.advance)


def by_hand(name, text):
    """The scorer's value of a whole text."""
    words = [tuple(word) for separator, word in itertools.groupby(text, lambda label: label == 3) if not separator]
    separated = len(words) == text.count(3) + 1 and set(words) <= {(1,), (1, 2), (2, 2)}
    state, of_ngram = NGRAM.start(), 0.0  # tests/nn/test_ngram.py compares it with its definition
    for token in (*text, 0):
        of_ngram += float(MODEL_SCORES[0](state)[token])
        state = MODEL_SCORES[1](state, jnp.int32(token))
    of_lexicon = 0.0 if separated else -np.inf
    return {
        "plain": 0.0,
        "ngram": 0.8 * of_ngram + 0.4 * len(text),
        "both": 0.5 * of_ngram + of_lexicon + 0.3 * len(text),
    }[name]


TEXT_SCORES = {name: {} for name in SCORERS}


def score(name, text):
    if text not in TEXT_SCORES[name]:
        TEXT_SCORES[name][text] = by_hand(name, text)
    return TEXT_SCORES[name][text]


def texts_of(found):
    return [tuple(ids[:length].tolist()) for ids, length in zip(np.asarray(found.x), np.asarray(found.length))]


@pytest.mark.parametrize("name", ["plain", "ngram", "both"])
def test_enough_beams_find_the_best_text(name):
    """5 frames have 148 labellings: 1, 3, 9, 27, 60 (4 labels with at most one repetition) and 48 (with none)."""
    assert SCORERS[name] is None or isinstance(SCORERS[name], PrefixScorer)
    assert max(map(len, PROBABILITIES)) == 148
    found, totals = beam(TOKENS, ALL, scorer=SCORERS[name])
    for row, text in enumerate(texts_of(found)):
        values = {text: np.log(p) + score(name, text) for text, p in PROBABILITIES[row].items()}
        best = max(values, key=values.get)
        np.testing.assert_allclose(totals[row], values[best], rtol=1e-5, err_msg=str(row))
        assert text == (best if values[best] > -np.inf else ()), row
    assert not np.asarray(found.x)[np.arange(FRAMES)[None] >= np.asarray(found.length)[:, None]].any()
    assert totals[1] == pytest.approx(score(name, ()))  # no valid token: the empty text


def reference_beam(row, beams, bonus):
    """Prefix beam search over a dictionary {prefix: (after blank, after label)}, with probabilities, not logarithms."""
    added = lambda text: bonus * len(text)
    kept = {(): (1.0, 0.0)}
    for frame in special.softmax(np.float64(LOGITS[row][MASK[row]]), axis=-1):
        new = defaultdict(lambda: [0.0, 0.0])
        for prefix, (blank, label) in kept.items():
            new[prefix][0] += (blank + label) * frame[0]
            if prefix:
                new[prefix][1] += label * frame[prefix[-1]]
            for token in range(1, VOCABULARY):
                again = bool(prefix) and token == prefix[-1]
                new[(*prefix, token)][1] += (blank if again else blank + label) * frame[token]
        ranked = sorted(new, key=lambda prefix: -np.log(max(sum(new[prefix]), 1e-300)) - added(prefix))
        kept = {prefix: tuple(new[prefix]) for prefix in ranked[:beams]}
    totals = {prefix: np.log(sum(p)) + added(prefix) for prefix, p in kept.items()}
    return max(totals, key=totals.get), max(totals.values())


def test_few_beams_equal_a_search_over_a_dictionary():
    found, totals = beam(TOKENS, 3, scorer=ShallowFusion((), 0.7))
    for row, text in enumerate(texts_of(found)):
        expected, total = reference_beam(row, 3, 0.7)
        assert text == expected, row
        np.testing.assert_allclose(totals[row], total, rtol=1e-5)


def test_beam_search_beats_the_best_alignment():
    """Both frames: blank 0.6, label 1 0.4. The best alignment is empty, 0.36; text 1 has 0.4 * 0.4 + 2 * 0.4 * 0.6 = 0.64."""
    tokens = Tokens(jnp.log(jnp.array([[[0.6, 0.4], [0.6, 0.4]]])), jnp.ones((1, 2), bool))
    assert texts_of(jax.jit(ctc_greedy)(tokens)) == [()]
    found, totals = beam(tokens, 4)
    assert texts_of(found) == [(1,)]
    np.testing.assert_allclose(totals, [np.log(0.64)], rtol=1e-6)


def test_greedy_is_the_labelling_of_the_best_alignment():
    found = jax.jit(ctc_greedy)(TOKENS)
    expected = [labelling(logits[mask].argmax(axis=-1).tolist()) for logits, mask in zip(LOGITS, MASK)]
    assert texts_of(found) == expected
    assert any(len(text) > 2 for text in expected)
    assert not np.asarray(found.x)[np.arange(FRAMES)[None] >= np.asarray(found.length)[:, None]].any()


def test_single_and_padded_examples_are_equal():
    """The valid tokens of an example alone give what they give in the padded batch."""
    found, totals = beam(TOKENS, 3, scorer=SCORERS["ngram"])
    rows = [row for row in range(EXAMPLES) if MASK[row].sum() == 4][:3]
    assert rows
    for row in rows:
        alone = Tokens(jnp.asarray(LOGITS[row][MASK[row]])[None], jnp.ones((1, 4), bool))
        text, total = beam(alone, 3, scorer=SCORERS["ngram"])
        assert texts_of(text) == [texts_of(found)[row]]
        np.testing.assert_allclose(total[0], totals[row], rtol=1e-6)


def test_max_tokens_limits_the_text():
    found, totals = beam(TOKENS, 8, max_tokens=1)
    assert found.x.shape == (EXAMPLES, 1)
    for row, text in enumerate(texts_of(found)):
        best = max((t for t in PROBABILITIES[row] if len(t) <= 1), key=PROBABILITIES[row].get)
        assert text == best
        np.testing.assert_allclose(totals[row], np.log(PROBABILITIES[row][best]), rtol=1e-5, atol=1e-6)


def test_vmap_over_seeds():
    seeds = jax.tree.map(lambda x: x.reshape(2, EXAMPLES // 2, *x.shape[1:]), TOKENS)
    found, totals = jax.jit(jax.vmap(lambda tokens: ctc_beam(tokens, 3, scorer=SCORERS["ngram"])))(seeds)
    expected, expected_totals = beam(TOKENS, 3, scorer=SCORERS["ngram"])
    np.testing.assert_array_equal(found.x.reshape(expected.x.shape), expected.x)
    np.testing.assert_allclose(totals.reshape(-1), expected_totals, rtol=1e-6)
