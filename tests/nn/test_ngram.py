"""The n-gram model against its definition, computed from lists of n-grams, and the trie behind it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.nn.ngram import kneser_ney
from mmjax.nn.prefix_scores import Lexicon, PrefixScorer
from mmjax.nn.trie import ROOT, build_trie

VOCABULARY, END, BEGIN = 5, 0, 5
TEXTS = [[1, 2, 3], [1, 2, 1, 2, 3], [2, 2, 1], [1, 2], [4, 1, 2, 3], [3, 1, 2, 2], [1], [1, 2, 3, 1]]


def windows(length):
    """All n-grams of a length in all texts, with repetitions."""
    padded = [(BEGIN, *text, END) for text in TEXTS]
    return [text[place : place + length] for text in padded for place in range(len(text) - length + 1)]


def count(gram, order):
    """Occurrences of the longest n-grams and those that begin a text; different tokens before the others."""
    if len(gram) == order or gram[0] == BEGIN:
        return windows(len(gram)).count(gram)
    return len({longer[0] for longer in windows(len(gram) + 1) if longer[1:] == gram})


def probability(token, context, order):
    """p(token | context) by recursion over ever shorter contexts."""
    grams = {gram for gram in windows(len(context) + 1) if gram != (BEGIN,)}
    counts = {gram: count(gram, order) for gram in grams}
    ones, twos = (list(counts.values()).count(number) for number in (1, 2))
    discount = ones / (ones + 2 * twos) if ones and twos else 0.5
    shorter = probability(token, context[1:], order) if context else 1 / VOCABULARY
    following = [number for gram, number in counts.items() if gram[:-1] == context]
    if not following:
        return shorter
    own = max(counts.get((*context, token), 0) - discount, 0)
    return (own + discount * len(following) * shorter) / sum(following)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_by_definition(order):
    """Along texts with known and unknown contexts, inside one compiled program."""
    model = kneser_ney(TEXTS, VOCABULARY, order, END)
    assert isinstance(model, PrefixScorer)
    texts = [[1, 2, 3, 1, 2, 2], [4, 4, 4, 1, 2, 3], [3, 2, 1, 3, 4, 1]]

    @jax.jit
    def walk(text):
        step = lambda state, token: (model.advance(state, token), model.scores(state, VOCABULARY))
        state, scores = jax.lax.scan(step, model.start(), text)
        return jnp.concatenate([scores, model.scores(state, VOCABULARY)[None]]), model.end(state)

    for text in texts:
        scores, end = walk(jnp.array(text))
        for place in range(len(text) + 1):
            context = (BEGIN, *text[:place])[-(order - 1) :] if order > 1 else ()
            expected = [probability(token, context, order) for token in range(VOCABULARY)]
            np.testing.assert_allclose(sum(expected), 1)
            np.testing.assert_allclose(np.exp(scores[place]), expected, rtol=1e-5, err_msg=f"{text} {place}")
        np.testing.assert_allclose(end, scores[-1, END])


def test_ids_after_the_end_are_ignored():
    padded = [[*text, END, 4, -1] for text in TEXTS]
    same = jax.tree.map(np.array_equal, kneser_ney(padded, VOCABULARY), kneser_ney(TEXTS, VOCABULARY))
    assert all(jax.tree.leaves(same))


def test_bad_texts():
    with pytest.raises(ValueError, match="texts is empty; an n-gram model needs at least one text"):
        kneser_ney([], VOCABULARY)
    with pytest.raises(ValueError, match="texts contain the token id 5; ids must be below the vocabulary, 5"):
        kneser_ney([[1, 5]], VOCABULARY)
    with pytest.raises(ValueError, match="order is 0; it must be at least 1"):
        kneser_ney(TEXTS, VOCABULARY, 0)
    model = kneser_ney(TEXTS, VOCABULARY)
    with pytest.raises(ValueError, match="the n-gram model has 5 token ids, but the model 9"):
        model.scores(model.start(), 9)


def test_trie():
    """1 2, 1 3 and 2 with their prefixes: 5 nodes."""
    trie, index = build_trie([(1, 2), (2,), (1, 3)])
    assert index == {(): ROOT, (1,): 1, (2,): 2, (1, 2): 3, (1, 3): 4}
    np.testing.assert_array_equal(trie.token, [-1, 1, 2, 2, 3])
    children = jax.jit(jax.vmap(trie.child))(jnp.array([0, 0, 0, 1, 1, 1, 4]), jnp.array([1, 2, 3, 2, 3, 1, 1]))
    np.testing.assert_array_equal(children, [1, 2, 0, 3, 4, 0, 0])
    spread = jax.jit(trie.spread)(jnp.int32(1), jnp.arange(5.0), jnp.full(3, -1.0))
    np.testing.assert_array_equal(spread, [-1, -1, 3])  # the node of 1 3 is beyond the vocabulary


@pytest.mark.parametrize(("entries", "separator"), [([], None), ([[]], None), ([[1, 4]], 4)])
def test_a_lexicon_needs_entries(entries, separator):
    with pytest.raises(ValueError, match="Lexicon: entries must be at least one, not empty, and without the separator"):
        Lexicon.of(entries, separator)
