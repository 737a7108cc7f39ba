"""Greedy decoding ends and obeys its rule; beam search finds what a search through all texts finds, by scores worked out."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.nn import Decoder, beam, greedy
from mmjax.types import Padded, Tokens

END = 0


def counting(words, cache):
    """After word w comes w + 1, of 10 words."""
    return jax.nn.one_hot(words + 1, 10), cache + 1


def test_greedy_stops_at_the_end_of_each_text():
    """From 4: 5 6 7, and 8 is the end. From 7: nothing. From 1: 2 3 4 5, and there is room for no more."""
    texts = jax.jit(lambda prompt: greedy(counting, 0, prompt, most=4, end=8))(jnp.array([[4], [7], [1]]))
    np.testing.assert_array_equal(texts.length, [3, 0, 4])
    np.testing.assert_array_equal(texts.x, [[5, 6, 7, 8], [8, 8, 8, 8], [2, 3, 4, 5]])


def test_a_rule_forbids_words():
    """The end as the first word is forbidden: the argmax of what is left, all zeros, is word 0."""
    rule = lambda logits, count: jnp.where((count == 0) & (jnp.arange(10) == 8)[None], -jnp.inf, logits)
    texts = jax.jit(lambda prompt: greedy(counting, 0, prompt, most=3, end=8, rule=rule))(jnp.array([[7]]))
    np.testing.assert_array_equal(texts.x, [[0, 1, 2]])


def chain(table, calls=100):
    """A step whose next word depends on the last alone: table [w v], the probability of v after w. After so many calls, which
    the cache counts, nothing is known any more."""
    likely = jnp.log(jnp.array(table))
    return lambda words, count: (jnp.where(count < calls, likely[words], jnp.nan), count + 1)


TRAP = [[1, 0, 0, 0], [0, 0, 0.6, 0.4], [0.4, 0.2, 0.2, 0.2], [0.9, 0.1, 0, 0]]
"""From 1, 2 is likelier than 3, but what follows it is not."""


def search(step, most, **settings):
    """beam(...) from word 1, compiled as one program."""
    return jax.jit(lambda prompt: beam(step, 0, prompt, most, END, beams=2, **settings))(jnp.array([[1]]))


def test_beam_looks_further_than_greedy():
    """2 and the end have 0.6 * 0.4, 3 and the end 0.4 * 0.9 = 0.36 and a score of log 0.36 / 2 = -0.51. What goes on after two
    words has 0.6 * 0.2 = 0.12 at most, and a score of log 0.12 / 4 = -0.53 at most."""
    assert jax.jit(lambda prompt: greedy(chain(TRAP), 0, prompt, most=4, end=END))(jnp.array([[1]])).x[0, 0] == 2
    texts, scores = search(chain(TRAP), most=4)
    np.testing.assert_array_equal(texts.x, [[3, 0, 0, 0]])
    np.testing.assert_array_equal(texts.length, [1])
    np.testing.assert_allclose(scores, [np.log(0.36) / 2], rtol=1e-6)


@pytest.mark.parametrize(("penalty", "length", "score"), [(0.0, 0, np.log(0.4)), (1.0, 3, np.log(0.6)), (-1.0, 0, np.log(0.4))])
def test_length_penalty(penalty, length, score):
    """From 1 comes 1 again by 0.6, else the end, and three words are the most: the end at once has 0.4, and 1 1 1 has 0.6^3,
    log 0.6 a word. Less likely are 1 and the end, 0.24, and 1 1 and the end, 0.144, log 0.53 a word."""
    texts, scores = search(chain([[1, 0], [0.4, 0.6]]), most=3, length_penalty=penalty)
    np.testing.assert_array_equal(texts.length, [length])
    np.testing.assert_allclose(scores, [score], rtol=1e-6)


def test_beam_stops_when_nothing_can_win():
    """After two words 0.9 and 0.1 * 0.9 are kept, and what runs has 0.1 * 0.1: the third call would give NaN."""
    step = chain([[1, 0], [0.9, 0.1]], calls=2)
    texts, scores = search(step, most=20, length_penalty=0.0)
    np.testing.assert_array_equal(texts.length, [0])
    np.testing.assert_allclose(scores, [np.log(0.9)], rtol=1e-6)


def test_beam_obeys_a_rule():
    """The end is forbidden as the first word, and 3 always. From 1: 2 (0.6), and then the end (0.4)."""

    def rule(likely, count):
        never = (jnp.arange(4) == 3) | ((count == 0) & (jnp.arange(4) == END))
        return jnp.where(never[None], -jnp.inf, likely)

    texts, scores = search(chain(TRAP), most=2, rule=rule)
    np.testing.assert_array_equal(texts.x, [[2, 0]])
    np.testing.assert_allclose(scores, [np.log(0.24) / 2], rtol=1e-6)


def test_no_text_is_possible():
    nothing = lambda likely, count: jnp.full_like(likely, -jnp.inf)
    texts, scores = search(chain(TRAP), most=3, rule=nothing)
    np.testing.assert_array_equal(texts.length, [0])
    np.testing.assert_array_equal(scores, [-np.inf])


VOCABULARY, MOST = 3, 4
DECODER = Decoder(VOCABULARY, width=8, depth=2, heads=2, hidden=12, positions=MOST + 2)


@pytest.fixture(scope="module")
def given():
    """Two memories, one shorter, a prompt of two words for each, and parameters far from zero."""
    keys = jax.random.split(jax.random.key(3), 2)
    memory = Tokens(jax.random.normal(keys[0], (2, 5, 8)), jnp.arange(5)[None] < jnp.array([5, 2])[:, None])
    prompt = jnp.array([[1, 2], [2, 2]])
    variables = jax.jit(DECODER.init)(keys[1], Padded(prompt, jnp.full(2, 2)), memory)
    far = lambda x: x + 0.7 * jax.random.normal(jax.random.key(x.size), x.shape)
    return memory, prompt, jax.jit(lambda variables: jax.tree.map(far, variables))(variables)


@partial(jax.jit, static_argnames=("beams", "penalty"))
def decoded(variables, memory, prompt, beams, penalty):
    cache = DECODER.apply(variables, memory, MOST + 2, beams, method="begin")
    return beam(stepping(variables), cache, prompt, MOST, END, beams, penalty)


def stepping(variables):
    return lambda words, cache: DECODER.apply(variables, words, cache, method="step")


def every_text(variables, memory, prompt):
    """{text, with its end if it has one: log-probability} of one memory, all words at once and without a cache."""
    whole = np.array(list(itertools.product(range(VOCABULARY), repeat=MOST)))
    words = jnp.concatenate([jnp.tile(prompt, (len(whole), 1)), whole], axis=1)
    again = jax.tree.map(lambda leaf: jnp.repeat(leaf, len(whole), axis=0), memory)
    logits = jax.jit(DECODER.apply)(variables, Padded(words, jnp.full(len(whole), words.shape[1])), again)
    likely = np.asarray(jax.nn.log_softmax(logits))[:, 1:-1]
    found = {}
    for text, by_word in zip(whole.tolist(), likely):
        text = text[: text.index(END) + 1] if END in text else text
        found[tuple(text)] = sum(by_word[place][word] for place, word in enumerate(text))
    return found


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.5])
def test_beams_enough_for_all_texts_find_the_best(given, penalty):
    """Before the last word 2^3 texts run, with 3 words after each: 24 beams lose none of them."""
    memory, prompt, variables = given
    texts, scores = decoded(variables, memory, prompt, 24, penalty)
    for row in range(2):
        every = every_text(variables, jax.tree.map(lambda leaf: leaf[row : row + 1], memory), prompt[row : row + 1])
        assert len(every) == 2**4 + 2**3 + 2**2 + 2 + 1
        by_score = {text: likely / len(text) ** penalty for text, likely in every.items()}
        best = max(by_score, key=by_score.get)
        np.testing.assert_allclose(scores[row], by_score[best], rtol=1e-5)
        assert texts.x[row, : texts.length[row]].tolist() == [word for word in best if word != END]


def test_one_beam_is_greedy(given):
    """Without a penalty: by one, a text that goes on can pass the one that ended."""
    memory, prompt, variables = given
    begin = lambda variables: DECODER.apply(variables, memory, MOST + 2, method="begin")
    expected = jax.jit(lambda variables: greedy(stepping(variables), begin(variables), prompt, MOST, END))(variables)
    texts, _ = decoded(variables, memory, prompt, 1, 0.0)
    jax.tree.map(np.testing.assert_array_equal, texts, expected)


def test_each_text_by_itself(given):
    """vmap over memories gives what the batch gives."""
    memory, prompt, variables = given
    run = lambda memory, prompt: decoded(variables, memory, prompt, 3, 1.0)
    texts, scores = run(memory, prompt)
    single = jax.vmap(run)(*jax.tree.map(lambda leaf: leaf[:, None], (memory, prompt)))
    np.testing.assert_array_equal(single[0].x[:, 0], texts.x)
    np.testing.assert_allclose(single[1][:, 0], scores, rtol=1e-5)
