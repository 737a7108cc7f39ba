"""The cross-attention decoder: cached steps equal one full pass, and attention is causal and masked."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.decoders.transformer import CachedAttention, Decoder
from mmjax.types import Padded, Tokens

DECODER = Decoder(vocabulary=11, width=8, depth=2, heads=2, hidden=12, positions=7, key_bias=False)
APPLY = jax.jit(DECODER.apply)
INIT_CACHE = jax.jit(
    lambda variables, memory, beams: DECODER.apply(variables, memory, 7, beams, method="init_cache"), static_argnums=2
)
STEP = jax.jit(lambda variables, ids, cache: DECODER.apply(variables, ids, cache, method="step"))


@pytest.fixture(scope="module")
def example():
    """Token ids [3 7], memories [3 5 8] of different lengths, and perturbed parameters."""
    keys = jax.random.split(jax.random.key(0), 3)
    ids = Padded(jax.random.randint(keys[0], (3, 7), 0, 11), jnp.full(3, 7))
    memory = Tokens(jax.random.normal(keys[1], (3, 5, 8)), jnp.arange(5)[None] < jnp.array([5, 3, 1])[:, None])
    perturb = lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape)
    return ids, memory, jax.jit(lambda key: jax.tree.map(perturb, DECODER.init(key, ids, memory)))(keys[2])


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1, 1, 1), (3, 1, 2, 1)])
def test_cached_steps_equal_one_pass(example, sizes):
    ids, memory, variables = example
    cache = INIT_CACHE(variables, memory, 1)
    logits = []
    for end, size in zip(np.cumsum(sizes), sizes):
        new, cache = STEP(variables, ids.x[:, end - size : end], cache)
        logits.append(new)
    assert int(cache.count) == 7
    chex.assert_trees_all_close(jnp.concatenate(logits, axis=1), APPLY(variables, ids, memory), atol=1e-5)


def test_no_gradient_from_later_tokens_or_masked_memory(example):
    ids, memory, variables = example

    def logits_at_3(position, x):
        params = variables["params"] | {"position": position}
        return DECODER.apply({"params": params}, ids, memory.replace(x=x))[:, 3].sum()

    by_position, by_memory = jax.jit(jax.grad(logits_at_3, argnums=(0, 1)))(variables["params"]["position"], memory.x)
    assert np.abs(by_position[:4]).min(axis=1).max() > 0 and not np.any(by_position[4:])
    assert np.array_equal(np.any(np.asarray(by_memory) != 0, axis=-1), memory.mask)


def test_masked_memory_may_be_nan_and_all_of_it_may_be_masked(example):
    ids, memory, variables = example
    spoiled = memory.replace(x=jnp.where(memory.mask[..., None], memory.x, jnp.nan))
    chex.assert_trees_all_equal(APPLY(variables, ids, spoiled), APPLY(variables, ids, memory))
    absent = Tokens(jnp.full_like(memory.x, jnp.nan), jnp.zeros_like(memory.mask))
    loss = lambda params, x: jnp.square(DECODER.apply({"params": params}, ids, absent.replace(x=x))).sum()
    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))(variables["params"], absent.x)
    chex.assert_tree_all_finite((APPLY(variables, ids, absent), gradient))
    assert not np.any(gradient[1])


def test_beams_share_a_memory(example):
    """Two sequences per memory equal one sequence per repeated memory."""
    ids, memory, variables = example
    ids = jnp.concatenate([ids.x, ids.x[:, ::-1]])
    repeated = jax.tree.map(lambda leaf: jnp.repeat(leaf, 2, axis=0), memory)
    logits, _ = STEP(variables, ids, INIT_CACHE(variables, memory, 2))
    chex.assert_trees_all_close(logits, APPLY(variables, Padded(ids, jnp.full(6, 7)), repeated), atol=1e-5)


def test_a_reordered_cache_continues_other_sequences(example):
    """Rows 0 and 1 share a memory; after reorder([1, 1, ...]) both continue the sequence of row 1."""
    ids, memory, variables = example
    ids = jnp.concatenate([ids.x, ids.x[:, ::-1]])
    source = jnp.array([1, 1, 3, 2, 4, 5])
    _, cache = STEP(variables, ids[:, :4], INIT_CACHE(variables, memory, 2))
    logits, _ = STEP(variables, ids[:, 4:], cache.reorder(source))
    continued = jnp.concatenate([ids[source, :4], ids[:, 4:]], axis=1)
    expected, _ = STEP(variables, continued, INIT_CACHE(variables, memory, 2))
    chex.assert_trees_all_close(logits, expected[:, 4:], atol=1e-5)


def test_left_padding_changes_nothing(example):
    """Rows with 2, 0 and 3 tokens of padding give the logits of their tokens alone."""
    ids, memory, variables = example
    padding = jnp.array([2, 0, 3])
    shifted = jax.vmap(jnp.roll)(ids.x, padding)
    cache = INIT_CACHE(variables, memory, 1).pad_left(padding)
    first, cache = STEP(variables, shifted[:, :4], cache)
    second, _ = STEP(variables, shifted[:, 4:], cache)
    found, expected = jnp.concatenate([first, second], axis=1), APPLY(variables, ids, memory)
    for row, pad in enumerate(padding.tolist()):
        chex.assert_trees_all_close(found[row, pad:], expected[row, : 7 - pad], atol=1e-5)


def test_the_layout_names_the_axes_of_the_cache(example):
    """Two devices share the batch, two the heads; the result is that of one device."""
    ids, memory, variables = example
    ids = jnp.concatenate([ids.x, ids.x[:1]])
    memory = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:1]]), memory)
    cache = INIT_CACHE(variables, memory, 1)
    expected = STEP(variables, ids, cache)
    mesh = jax.make_mesh((2, 2), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    sharding = nn.logical_to_mesh_sharding(cache.layout, mesh, (("batch", "data"), ("heads", "model")))
    placed = jax.device_put(cache, sharding)
    assert placed.past[0][0].sharding.shard_shape((4, 2, 7, 4)) == (2, 1, 7, 4)
    assert placed.memory[0][0].sharding.shard_shape((4, 2, 5, 4)) == (2, 1, 5, 4)
    chex.assert_trees_all_close(STEP(variables, ids, placed), expected, atol=1e-5)


def test_a_cache_longer_than_the_positions(example):
    _, memory, variables = example
    with pytest.raises(ValueError, match=r"Decoder\.positions is 7, but the cache is to hold 8 tokens"):
        DECODER.apply(variables, memory, 8, method="init_cache")


def test_heads_must_divide_the_width(example):
    _, memory, _ = example
    with pytest.raises(ValueError, match=r"CachedAttention\.heads is 3; it must divide CachedAttention\.width, which is 8"):
        CachedAttention(8, 3).init(jax.random.key(0), memory.x, method="keys_values")


def test_bfloat16_is_near_float32(example):
    """Matmuls and cache in bfloat16, logits in float32."""
    ids, memory, variables = example
    half = DECODER.clone(dtype=jnp.bfloat16)
    cache = jax.jit(lambda: half.apply(variables, memory, 7, method="init_cache"))()
    logits, cache = jax.jit(lambda cache: half.apply(variables, ids.x, cache, method="step"))(cache)
    assert logits.dtype == jnp.float32 and {leaf.dtype for leaf in jax.tree.leaves(cache.past)} == {jnp.dtype(jnp.bfloat16)}
    expected = np.asarray(APPLY(variables, ids, memory))
    assert 0 < np.abs(logits - expected).max() < 0.1 * np.abs(expected).max()
