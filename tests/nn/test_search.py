"""Greedy and beam search on Markov chains with scores worked out by hand, and against an exhaustive search."""

import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from mmjax.decoders import Decoder
from mmjax.nn.search import beam, greedy
from mmjax.types import Padded, Tokens

END = 0


def counting(ids, cache):
    """Token t + 1 always follows token t; 10 tokens."""
    return jax.nn.one_hot(ids + 1, 10), cache


def test_greedy_stops_at_the_end_of_each_sequence():
    """From 4: 5 6 7, then 8, the end. From 7: nothing. From 1: 2 3 4 5, cut at max_tokens."""
    found = jax.jit(lambda prompt: greedy(counting, 0, prompt, max_tokens=4, end=8))(jnp.array([[4], [7], [1]]))
    np.testing.assert_array_equal(found.length, [3, 0, 4])
    np.testing.assert_array_equal(found.x, [[5, 6, 7, 8], [8, 8, 8, 8], [2, 3, 4, 5]])


def test_a_rule_forbids_tokens():
    """Without the end as first token all logits are zero, and argmax returns token 0."""
    rule = lambda logits, ids, count: jnp.where((count == 0) & (jnp.arange(10) == 8)[None], -jnp.inf, logits)
    found = jax.jit(lambda prompt: greedy(counting, 0, prompt, max_tokens=3, end=8, rule=rule))(jnp.array([[7]]))
    np.testing.assert_array_equal(found.x, [[0, 1, 2]])


@struct.dataclass
class Calls:
    """A cache that counts the calls of the step."""

    count: Any = 0

    def reorder(self, source):
        return self


def chain(table, max_calls=100):
    """The step of a Markov chain; table [t u] is the probability of token u after token t. NaN after `max_calls` calls."""
    logits = jnp.log(jnp.array(table))
    return lambda ids, cache: (jnp.where(cache.count < max_calls, logits[ids], jnp.nan), Calls(cache.count + 1))


TRAP = [[1, 0, 0, 0], [0, 0, 0.6, 0.4], [0.4, 0.2, 0.2, 0.2], [0.9, 0.1, 0, 0]]
"""After 1, token 2 is more likely than 3, but its continuations are less likely."""


def search(step, max_tokens, **settings):
    """Beam search with two beams from the prompt 1, compiled as one program."""
    return jax.jit(lambda prompt: beam(step, Calls(), prompt, max_tokens, END, beams=2, **settings))(jnp.array([[1]]))


def test_beam_search_escapes_a_greedy_choice():
    """2 and the end: 0.6 * 0.4. 3 and the end: 0.4 * 0.9 = 0.36, score log 0.36 / 2 = -0.51. Sequences without an end after
    two tokens have at most 0.6 * 0.2 = 0.12, score at most log 0.12 / 4 = -0.53."""
    assert jax.jit(lambda prompt: greedy(chain(TRAP), Calls(), prompt, max_tokens=4, end=END))(jnp.array([[1]])).x[0, 0] == 2
    found, scores = search(chain(TRAP), max_tokens=4)
    np.testing.assert_array_equal(found.x, [[3, 0, 0, 0]])
    np.testing.assert_array_equal(found.length, [1])
    np.testing.assert_allclose(scores, [np.log(0.36) / 2], rtol=1e-6)


@pytest.mark.parametrize(("penalty", "length", "score"), [(0.0, 0, np.log(0.4)), (1.0, 3, np.log(0.6)), (-1.0, 0, np.log(0.4))])
def test_length_penalty(penalty, length, score):
    """After 1 comes 1 (0.6) or the end (0.4); at most three tokens. The end at once: 0.4. 1 1 1: 0.6^3, log 0.6 per token.
    Less likely: 1 and the end, 0.24; 1 1 and the end, 0.144, log 0.53 per token."""
    found, scores = search(chain([[1, 0], [0.4, 0.6]]), max_tokens=3, length_penalty=penalty)
    np.testing.assert_array_equal(found.length, [length])
    np.testing.assert_allclose(scores, [score], rtol=1e-6)


def test_beam_search_stops_when_nothing_can_win():
    """After two tokens the kept sequences have 0.9 and 0.1 * 0.9, the running one 0.1 * 0.1. A third call would give NaN."""
    found, scores = search(chain([[1, 0], [0.9, 0.1]], max_calls=2), max_tokens=20, length_penalty=0.0)
    np.testing.assert_array_equal(found.length, [0])
    np.testing.assert_allclose(scores, [np.log(0.9)], rtol=1e-6)


def test_beam_search_obeys_a_rule():
    """The end is forbidden as first token, and 3 everywhere. After 1 comes 2 (0.6), then the end (0.4)."""

    def rule(logits, ids, count):
        forbidden = (jnp.arange(4) == 3) | ((count == 0) & (jnp.arange(4) == END))
        return jnp.where(forbidden[None], -jnp.inf, logits)

    found, scores = search(chain(TRAP), max_tokens=2, rule=rule)
    np.testing.assert_array_equal(found.x, [[2, 0]])
    np.testing.assert_allclose(scores, [np.log(0.24) / 2], rtol=1e-6)


def test_every_sequence_is_forbidden():
    found, scores = search(chain(TRAP), max_tokens=3, rule=lambda logits, ids, count: jnp.full_like(logits, -jnp.inf))
    np.testing.assert_array_equal(found.length, [0])
    np.testing.assert_array_equal(scores, [-np.inf])


LATE = [[1, 0, 0, 0], [0.5, 0.3, 0.2, 0], [0.05, 0.05, 0, 0.9], [1, 0, 0, 0]]
"""After 1, the end is likely; 2 3 and the end are likely by their length: 0.2 * 0.9 * 1."""


@pytest.mark.parametrize(
    ("early_stopping", "expected"), [("never", [[2, 3], []]), (False, [[2, 3], []]), (True, [[], [1]])], ids=str
)
def test_stopping_rules(early_stopping, expected):
    """Two beams. Finished after one token: the end, log 0.5 = -0.69. After two: 1 and the end, log(0.3 * 0.5) / 2 = -0.95; then
    both beams have finished sequences, and True stops. Running: 2 3, 0.18, whose score is now log(0.18) / 2 = -0.86, better
    than -0.95, so False goes on: with the end, log(0.18) / 3 = -0.57."""
    found, scores = search(chain(LATE), max_tokens=4, early_stopping=early_stopping, returned=2)
    assert [row[:length].tolist() for row, length in zip(np.asarray(found.x), found.length)] == expected
    by_text = {(2, 3): np.log(0.18) / 3, (): np.log(0.5), (1,): np.log(0.15) / 2}
    np.testing.assert_allclose(scores, [by_text[tuple(text)] for text in expected], rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"returned": 3}, "beam: returned is 3; it must be 1 to beams, which is 2"),
        ({"early_stopping": "soon"}, 'beam: early_stopping is \'soon\'; it must be "never", False or True'),
    ],
)
def test_bad_settings_of_beam_search(settings, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        search(chain(LATE), max_tokens=4, **settings)


VOCABULARY, MAX_TOKENS = 3, 4
DECODER = Decoder(VOCABULARY, width=8, depth=2, heads=2, hidden=12, positions=MAX_TOKENS + 2)


@pytest.fixture(scope="module")
def example():
    """Two memories of different lengths, a prompt of two tokens for each, and parameters far from zero."""
    keys = jax.random.split(jax.random.key(3), 2)
    memory = Tokens(jax.random.normal(keys[0], (2, 5, 8)), jnp.arange(5)[None] < jnp.array([5, 2])[:, None])
    prompt = jnp.array([[1, 2], [2, 2]])
    variables = jax.jit(DECODER.init)(keys[1], Padded(prompt, jnp.full(2, 2)), memory)
    perturb = lambda x: x + 0.7 * jax.random.normal(jax.random.key(x.size), x.shape)
    return memory, prompt, jax.jit(lambda variables: jax.tree.map(perturb, variables))(variables)


@partial(jax.jit, static_argnames=("beams", "penalty"))
def decode(variables, memory, prompt, beams, penalty):
    cache = DECODER.apply(variables, memory, MAX_TOKENS + 2, beams, method="init_cache")
    return beam(bind_step(variables), cache, prompt, MAX_TOKENS, END, beams, penalty)


def bind_step(variables):
    return lambda ids, cache: DECODER.apply(variables, ids, cache, method="step")


def all_sequences(variables, memory, prompt):
    """{sequence, up to its end token if any: log-probability} for one memory, computed without a cache."""
    continuations = np.array(list(itertools.product(range(VOCABULARY), repeat=MAX_TOKENS)))
    ids = jnp.concatenate([jnp.tile(prompt, (len(continuations), 1)), continuations], axis=1)
    repeated = jax.tree.map(lambda leaf: jnp.repeat(leaf, len(continuations), axis=0), memory)
    logits = jax.jit(DECODER.apply)(variables, Padded(ids, jnp.full(len(ids), ids.shape[1])), repeated)
    log_probabilities = np.asarray(jax.nn.log_softmax(logits))[:, 1:-1]
    found = {}
    for sequence, by_token in zip(continuations.tolist(), log_probabilities):
        sequence = sequence[: sequence.index(END) + 1] if END in sequence else sequence
        found[tuple(sequence)] = sum(by_token[position][token] for position, token in enumerate(sequence))
    return found


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.5])
def test_enough_beams_equal_an_exhaustive_search(example, penalty):
    """2^3 sequences run before the last token, each with 3 continuations: 24 beams lose none."""
    memory, prompt, variables = example
    sequences, scores = decode(variables, memory, prompt, 24, penalty)
    for row in range(2):
        log_probability = all_sequences(
            variables, jax.tree.map(lambda leaf: leaf[row : row + 1], memory), prompt[row : row + 1]
        )
        assert len(log_probability) == 2**4 + 2**3 + 2**2 + 2 + 1
        by_score = {sequence: total / len(sequence) ** penalty for sequence, total in log_probability.items()}
        best = max(by_score, key=by_score.get)
        np.testing.assert_allclose(scores[row], by_score[best], rtol=1e-5)
        assert sequences.x[row, : sequences.length[row]].tolist() == [token for token in best if token != END]


def test_one_beam_equals_greedy(example):
    """Without a penalty. With one, a running sequence can overtake a finished one."""
    memory, prompt, variables = example
    init_cache = lambda variables: DECODER.apply(variables, memory, MAX_TOKENS + 2, method="init_cache")
    search = lambda variables: greedy(bind_step(variables), init_cache(variables), prompt, MAX_TOKENS, END)
    sequences, _ = decode(variables, memory, prompt, 1, 0.0)
    jax.tree.map(np.testing.assert_array_equal, sequences, jax.jit(search)(variables))


def test_vmap_equals_a_batch(example):
    memory, prompt, variables = example
    run = lambda memory, prompt: decode(variables, memory, prompt, 3, 1.0)
    sequences, scores = run(memory, prompt)
    single = jax.vmap(run)(*jax.tree.map(lambda leaf: leaf[:, None], (memory, prompt)))
    np.testing.assert_array_equal(single[0].x[:, 0], sequences.x)
    np.testing.assert_allclose(single[1][:, 0], scores, rtol=1e-5)


LENGTHS = 1 + np.arange(100) % 5


def test_prompts_of_different_lengths_give_what_each_gives_alone():
    """100 prompts of 1 to 5 tokens in one batch. Without a cache and without padding, the most likely token after each prompt
    and its text is the next token of the text."""
    decoder = Decoder(9, width=8, depth=2, heads=2, hidden=12, positions=12)
    keys = jax.random.split(jax.random.key(0), 4)
    memory = Tokens(jax.random.normal(keys[0], (100, 3, 8)), jax.random.uniform(keys[1], (100, 3)) < 0.7)
    prompt = Padded(jax.random.randint(keys[2], (100, 5), 1, 9), jnp.asarray(LENGTHS))
    variables = jax.jit(decoder.init)(keys[3], prompt, memory)
    perturb = lambda x: x + (x.ndim > 1) * jax.random.normal(jax.random.key(x.size), x.shape)  # not biases, for varied texts
    variables = jax.jit(lambda variables: jax.tree.map(perturb, variables))(variables)
    step = lambda ids, cache: decoder.apply(variables, ids, cache, method="step")
    init_cache = lambda memory, beams: decoder.apply(variables, memory, 12, beams, method="init_cache")

    @jax.jit
    def run(prompt, memory):
        found, _ = beam(step, init_cache(memory, 2), prompt, 7, END, 2)
        return greedy(step, init_cache(memory, 1), prompt, 7, END), found

    text, by_beams = jax.tree.map(np.asarray, run(prompt, memory))
    assert len(set(text.length.tolist())) > 4
    given = np.asarray(prompt.x)
    join = lambda row: np.concatenate([given[row, : LENGTHS[row]], text.x[row], np.zeros(5, np.int32)])[:12]
    joined = Padded(jnp.array([join(row) for row in range(100)]), jnp.full(100, 12))
    logits = np.asarray(jax.jit(decoder.apply)(variables, joined, memory))
    for row in range(100):
        count = min(int(text.length[row]) + 1, 7)  # with the end
        alone = np.argmax(logits[row, LENGTHS[row] - 1 :][:count], axis=-1)
        np.testing.assert_array_equal(alone, text.x[row, :count], str(row))
    of_length = lambda tree, length: jax.tree.map(lambda leaf: leaf[LENGTHS == length], tree)
    greedily, alone = run(jnp.asarray(given[LENGTHS == 3, :3]), of_length(memory, 3))
    jax.tree.map(np.testing.assert_array_equal, (greedily, alone), of_length((text, by_beams), 3))


def test_a_cache_without_padding():
    prompt = Padded(jnp.array([[1, 2]]), jnp.array([1]))
    with pytest.raises(ValueError, match=r"^prompts of different lengths need .* pad_left; Calls has none"):
        greedy(chain(TRAP), Calls(), prompt, 2, END)
