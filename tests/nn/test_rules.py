"""The rules of a search on values worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.nn.grammar import Follow, Grammar, lexicon
from mmjax.nn.rules import Chain, ForbidSequences, Force, MinTokens, NoRepeat, RepetitionPenalty, Suppress, WithPrompt
from mmjax.nn.search import beam, greedy
from mmjax.types import Padded

END, VOCABULARY, MOST = 0, 6, 5
FREE = np.float32([[-1, 2, -3, 4, -5, 6]])
IDS = jnp.array([[1, 2, 1, 2, 1], [3, 3, 3, 5, 5]])


def allowed(rule, count, ids=IDS):
    """For each row, the token ids that are allowed after `count` tokens. Other logits stay as they are."""
    logits = jnp.tile(jnp.array(FREE), (len(ids), 1))
    found = np.asarray(jax.jit(rule)(logits, ids, jnp.int32(count)))
    np.testing.assert_array_equal(found[np.isfinite(found)], np.broadcast_to(FREE, found.shape)[np.isfinite(found)])
    assert (found[~np.isfinite(found)] == -np.inf).all()
    return [np.flatnonzero(np.isfinite(row)).tolist() for row in found]


@pytest.mark.parametrize(
    ("rule", "count", "expected"),
    [
        (MinTokens(2, END), 1, [[1, 2, 3, 4, 5]] * 2),
        (MinTokens(2, END), 2, [[0, 1, 2, 3, 4, 5]] * 2),
        (Suppress((1, 4)), 3, [[0, 2, 3, 5]] * 2),
        (Suppress((1, 4), steps=1), 0, [[0, 2, 3, 5]] * 2),
        (Suppress((1, 4), steps=1), 1, [[0, 1, 2, 3, 4, 5]] * 2),
        (Force((3, 2)), 1, [[2]] * 2),
        (Force((3, 2)), 2, [[0, 1, 2, 3, 4, 5]] * 2),
        (NoRepeat(1), 2, [[0, 3, 4, 5], [0, 1, 2, 4, 5]]),
        (NoRepeat(2), 3, [[0, 1, 3, 4, 5], [0, 1, 2, 4, 5]]),  # after 1 2 1: not 2. After 3 3 3: not 3
        (NoRepeat(3), 4, [[0, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]]),  # after 1 2 1 2: not 1. After 3 3 3 5: all
        (NoRepeat(3), 1, [[0, 1, 2, 3, 4, 5]] * 2),
        (NoRepeat(9), 4, [[0, 1, 2, 3, 4, 5]] * 2),
        (ForbidSequences(((4,), (2, 1, 3), (3, 3, 3))), 0, [[0, 1, 2, 3, 5]] * 2),
        (ForbidSequences(((4,), (2, 1, 3), (3, 3, 3))), 3, [[0, 1, 2, 5], [0, 1, 2, 5]]),
        (ForbidSequences(((4,), (2, 1, 3), (3, 3, 3))), 4, [[0, 1, 2, 3, 5], [0, 1, 2, 3, 5]]),
        (Chain((Suppress((2,)), MinTokens(9, END))), 4, [[1, 3, 4, 5]] * 2),
    ],
)
def test_forbidden_tokens(rule, count, expected):
    assert allowed(rule, count) == expected


def test_repetition_penalty():
    """Row 0 has generated 1 and 2: logits 2 / 2 and -3 * 2. Row 1 has generated 3: 4 / 2. Later ids do not count."""
    found = jax.jit(RepetitionPenalty(2.0))(jnp.tile(jnp.array(FREE), (2, 1)), IDS, jnp.int32(2))
    np.testing.assert_array_equal(found, [[-1, 1, -6, 4, -5, 6], [-1, 2, -3, 2, -5, 6]])


def test_a_rule_that_sees_the_prompt():
    """Two rows per prompt. With the prompts 3 2 and 5 1 2, bigrams end in: 3 2|1 2 -> 2 is last, nothing after 2 but 1. The
    second prompt and row: 5 1 2 3 3 -> after 3 not 3. Masked positions match nothing."""
    prompt = Padded(jnp.array([[3, 2, 9], [5, 1, 2]]), jnp.array([2, 3]))
    ids = jnp.array([[1, 2, 0], [4, 3, 0], [3, 3, 0], [4, 5, 0]])
    found = allowed(WithPrompt(NoRepeat(2), prompt), 2, ids)
    assert found == [[0, 2, 3, 4, 5], [0, 1, 3, 4, 5], [0, 1, 2, 4, 5], [0, 2, 3, 4, 5]]
    assert allowed(WithPrompt(NoRepeat(3), prompt), 0, ids) == [[0, 1, 2, 3, 4, 5]] * 4


WORDS = ((1, 2), (1, 2, 3), (4,))


def test_one_word_of_a_lexicon():
    """1 2 is a word, and begins another one."""
    rule = Follow(lexicon(WORDS, END))
    ids = jnp.array([[1, 2, 3, 0], [4, 0, 0, 0], [5, 1, 0, 0]])
    assert [allowed(rule, count, ids) for count in range(4)] == [
        [[1, 4]] * 3,
        [[2], [0], []],  # no word starts with 5
        [[0, 3], [0], []],
        [[0], [0], []],
    ]


def test_several_words_of_an_ambiguous_lexicon():
    """1 2 3 is one word, or two with 3 1: after 1 2 3, all of 0 1 3 4 may follow, 1 also within 3 1."""
    rule = Follow(lexicon((*WORDS, (3, 1)), END, several=True))
    assert [allowed(rule, count, jnp.array([[1, 2, 3, 1, 2]]))[0] for count in range(5)] == [
        [1, 3, 4],
        [2],
        [0, 1, 3, 4],
        [0, 1, 3, 4],
        [0, 1, 2, 3, 4],
    ]


def uniform(ids, cache):
    """Prefers high ids. The end is the least likely."""
    return jnp.broadcast_to(jnp.arange(VOCABULARY, dtype=jnp.float32)[None, None], (*ids.shape, VOCABULARY)), cache


def test_a_constrained_text_ends_in_time():
    """4 4 4 4 fits into five tokens with the end; with words of two tokens only, one token stays unused. Both searches."""
    prompt = jnp.array([[1]])
    for words, text in (((1, 2), (4,)), [4, 4, 4, 4]), (((5, 5),), [5, 5, 5, 5]), (((5, 5, 5),), [5, 5, 5]):
        rule = Follow(lexicon(words, END, several=True), max_tokens=MOST)
        found = jax.jit(lambda rule=rule: greedy(uniform, 0, prompt, MOST, END, rule))()
        assert found.x[0, : found.length[0]].tolist() == text
    found, _ = jax.jit(lambda: beam(uniform, 0, prompt, MOST, END, 1, rule=rule))()
    assert found.x[0, : found.length[0]].tolist() == [5, 5, 5]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MinTokens(-1, END), r"MinTokens\.tokens is -1; it must be a non-negative integer"),
        (lambda: Force(()), r"Force\.tokens is empty; it must contain at least one token id"),
        (lambda: RepetitionPenalty(0.0), r"RepetitionPenalty\.penalty is 0\.0; it must be above 0 \(1 changes nothing\)"),
        (lambda: NoRepeat(0), r"NoRepeat\.size is 0; it must be a positive integer"),
        (lambda: ForbidSequences(((),)), r"ForbidSequences\.sequences is \(\(\),\); each sequence must contain a token id"),
        (lambda: lexicon([(1, END)], END), r"lexicon: the word \(1, 0\) is empty or contains the end token, which is 0"),
        (lambda: lexicon([], END), r"lexicon: no words are given"),
        (lambda: Grammar(((0, 1, 1),), END), r"Grammar\.arcs: no path leads from state 0 to the end token, which is 0"),
        (lambda: Grammar(((0, 1, 1), (0, END, 0)), END), r"Grammar\.arcs: no path leads from state 1 to the end token"),
        (lambda: Grammar(((0, 1, 1), (0, 1, 0)), END), r"Grammar\.arcs: two arcs leave state 0 with token 1; each"),
        (lambda: Follow(lexicon([(1, 2)], END), 2), r"Follow\.max_tokens is 2; the shortest sequence of the grammar has 3"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()
