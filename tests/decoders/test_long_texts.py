"""Texts of up to 250 tokens: a batch gives what each example gives alone, and a text is its own most likely continuation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.decoders.transformer import Decoder
from mmjax.nn.search import greedy
from mmjax.types import Padded, Tokens

TOKENS, ROWS, END = 250, 6, 4
DECODER = Decoder(vocabulary=40, width=16, depth=1, heads=2, hidden=16, positions=TOKENS)


@jax.jit
def write(variables, memory):
    cache = DECODER.apply(variables, memory, TOKENS, method="init_cache")
    step = lambda ids, cache: DECODER.apply(variables, ids, cache, method="step")
    return greedy(step, cache, jnp.zeros((memory.x.shape[0], 1), jnp.int32), TOKENS, END)


@pytest.fixture(scope="module")
def example():
    """Memories of 1 to 6 tokens, parameters so large that texts wander instead of repeating one token, and the texts."""

    @jax.jit
    def made(keys):
        memory = Tokens(2 * jax.random.normal(keys[0], (ROWS, 6, 16)), jnp.arange(6)[None] < jnp.arange(1, ROWS + 1)[:, None])
        ids = Padded(jnp.zeros((ROWS, 2), jnp.int32), jnp.full(ROWS, 2))
        enlarged = lambda x: x + 0.7 * jax.random.normal(jax.random.key(x.size), x.shape)
        return memory, jax.tree.map(enlarged, DECODER.init(keys[1], ids, memory))

    memory, variables = made(jax.random.split(jax.random.key(1), 2))
    return memory, variables, write(variables, memory)


def test_a_batch_gives_what_each_text_gives_alone(example):
    memory, variables, together = example
    for row in range(ROWS):
        alone = write(variables, jax.tree.map(lambda leaf, row=row: leaf[row : row + 1], memory))
        assert int(alone.length[0]) == int(together.length[row])
        np.testing.assert_array_equal(alone.x[0], together.x[row])
    length = np.sort(together.length)
    assert length[-1] == TOKENS > length[-2] > 50 > length[0]  # one is cut at the limit; others end early and late


def test_a_long_text_is_the_most_likely_continuation_at_every_position(example):
    """One pass over the whole text, against cached steps."""
    memory, variables, found = example
    ids = jnp.concatenate([jnp.zeros((ROWS, 1), jnp.int32), found.x[:, :-1]], axis=1)
    logits = jax.jit(DECODER.apply)(variables, Padded(ids, found.length), memory)
    valid = np.asarray(found.mask)
    np.testing.assert_array_equal(np.asarray(logits.argmax(axis=-1))[valid], np.asarray(found.x)[valid])
