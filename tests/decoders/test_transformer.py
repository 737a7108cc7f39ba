"""The decoder: word by word with a cache gives what all at once gives, and no word sees a later one."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.decoders.transformer import CachedAttention, Decoder
from mmjax.types import Padded, Tokens

DECODER = Decoder(vocabulary=11, width=8, depth=2, heads=2, hidden=12, positions=7, key_bias=False)
APPLY = jax.jit(DECODER.apply)
BEGIN = jax.jit(lambda variables, memory, texts: DECODER.apply(variables, memory, 7, texts, method="begin"), static_argnums=2)
STEP = jax.jit(lambda variables, words, cache: DECODER.apply(variables, words, cache, method="step"))


@pytest.fixture(scope="module")
def given():
    keys = jax.random.split(jax.random.key(0), 3)
    words = Padded(jax.random.randint(keys[0], (3, 7), 0, 11), jnp.full(3, 7))
    memory = Tokens(jax.random.normal(keys[1], (3, 5, 8)), jnp.arange(5)[None] < jnp.array([5, 3, 1])[:, None])
    noise = lambda x, key: x + 0.3 * jax.random.normal(key, x.shape)
    noisy = lambda variables: jax.tree.map(lambda x: noise(x, jax.random.key(x.size)), variables)
    return words, memory, jax.jit(lambda key: noisy(DECODER.init(key, words, memory)))(keys[2])


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1, 1, 1), (3, 1, 2, 1)])
def test_cached_equals_uncached(given, sizes):
    words, memory, variables = given
    cache = BEGIN(variables, memory, 1)
    logits = []
    for end, size in zip(np.cumsum(sizes), sizes):
        some, cache = STEP(variables, words.x[:, end - size : end], cache)
        logits.append(some)
    assert int(cache.count) == 7
    chex.assert_trees_all_close(jnp.concatenate(logits, axis=1), APPLY(variables, words, memory), atol=1e-5)


def test_no_word_sees_a_later_one_or_memory_that_is_not_there(given):
    words, memory, variables = given

    def value(position, x):
        table = variables["params"] | {"position": position}
        return DECODER.apply({"params": table}, words, memory.replace(x=x))[:, 3].sum()

    of_position, of_memory = jax.jit(jax.grad(value, argnums=(0, 1)))(variables["params"]["position"], memory.x)
    assert np.abs(of_position[:4]).min(axis=1).max() > 0 and not np.any(of_position[4:])
    assert np.array_equal(np.any(np.asarray(of_memory) != 0, axis=-1), memory.mask)


def test_texts_share_a_memory(given):
    """Two texts for each of three memories give what each memory twice gives."""
    words, memory, variables = given
    words = jnp.concatenate([words.x, words.x[:, ::-1]])
    twice = jax.tree.map(lambda leaf: jnp.repeat(leaf, 2, axis=0), memory)
    logits, _ = STEP(variables, words, BEGIN(variables, memory, 2))
    expected = APPLY(variables, Padded(words, jnp.full(6, 7)), twice)
    chex.assert_trees_all_close(logits, expected, atol=1e-5)


def test_sizes_that_do_not_fit(given):
    _, memory, variables = given
    with pytest.raises(ValueError, match="positions is 7, and 8 words"):
        DECODER.apply(variables, memory, 8, method="begin")
    with pytest.raises(ValueError, match="does not divide the width 8"):
        CachedAttention(8, 3).init(jax.random.key(0), memory.x, method="remember")


def test_bfloat16_is_near_float32(given):
    """Matmuls and cache in bfloat16, logits in float32."""
    words, memory, variables = given
    half = DECODER.clone(dtype=jnp.bfloat16)
    begin = jax.jit(lambda: half.apply(variables, memory, 7, method="begin"))
    logits, cache = jax.jit(lambda cache: half.apply(variables, words.x, cache, method="step"))(begin())
    assert logits.dtype == jnp.float32 and {leaf.dtype for leaf in jax.tree.leaves(cache.own)} == {jnp.dtype(jnp.bfloat16)}
    expected = np.asarray(APPLY(variables, words, memory))
    assert 0 < np.abs(logits - expected).max() < 0.1 * np.abs(expected).max()
