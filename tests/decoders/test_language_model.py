"""Language models: cached steps equal one pass, padding and masked prefixes change nothing, attention is causal."""

import math

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.decoders import LanguageModel, language_models
from mmjax.decoders.language_block import POST_NORMS, PRE_NORMS, QK_NORMS
from mmjax.nn.rotary import LinearScaling, Rope
from mmjax.types import Padded, Tokens

# Every feature at once: a local and a global block with different rotations, grouped heads, all norms, caps, and some biases.
MODEL = LanguageModel(
    vocabulary=11,
    width=8,
    depth=2,
    heads=4,
    kv_heads=2,
    head_width=4,
    hidden=12,
    rope=Rope(100.0, 0.5, LinearScaling(2.0)),
    local_rope=Rope(20.0),
    windows=(3, None),
    norms=PRE_NORMS + POST_NORMS + QK_NORMS,
    biases=("query", "key", "down"),
    norm_offset=1.0,
    embedding_scale=2.0,
    query_scale=0.4,
    attention_cap=3.0,
    logit_cap=5.0,
    tied=False,
    positions=12,
)
APPLY = jax.jit(MODEL.apply)
INIT_CACHE = jax.jit(
    lambda variables, memory, beams: MODEL.apply(variables, memory, 7, beams, method="init_cache"), static_argnums=2
)
STEP = jax.jit(lambda variables, ids, cache: MODEL.apply(variables, ids, cache, method="step"))


@pytest.fixture(scope="module")
def example():
    """Token ids [4 7], two prefixes [4 8], each twice, with masked tokens at the ends and inside, and perturbed parameters."""
    random = np.random.default_rng(0)
    ids = Padded(random.integers(0, 11, (4, 7)).astype(np.int32), np.full(4, 7))
    mask = np.repeat([[True, False, True, True], [False, True, True, False]], 2, axis=0)
    memory = Tokens(np.repeat(random.normal(size=(2, 4, 8)).astype(np.float32), 2, axis=0), mask)
    shapes = jax.eval_shape(MODEL.init, jax.random.key(0), ids, memory)
    variables = jax.tree.map(lambda leaf: random.normal(0, 0.4, leaf.shape).astype(np.float32), shapes)
    return jax.tree.map(jnp.asarray, (ids, memory, variables))


def test_cached_steps_equal_one_pass(example):
    ids, memory, variables = example
    sizes = (4, 1, 1, 1)
    cache = INIT_CACHE(variables, memory, 1)
    logits = []
    for end, size in zip(np.cumsum(sizes), sizes):
        new, cache = STEP(variables, ids.x[:, end - size : end], cache)
        logits.append(new)
    chex.assert_trees_all_close(jnp.concatenate(logits, axis=1), APPLY(variables, ids, memory), atol=1e-5)


def test_no_gradient_from_later_tokens_or_masked_prefix(example):
    ids, memory, variables = example
    x = variables["params"]["word"]["embedding"][ids.x]

    def value_at_3(x, prefix):
        """Of the state at token 3, where the vectors x of the text follow the prefix."""
        whole = Tokens(jnp.concatenate([prefix, x], axis=1), jnp.concatenate([memory.mask, ids.mask], axis=1))
        return jnp.square(MODEL.apply(variables, whole, method=states)[:, 4 + 3]).sum()

    by_token, by_prefix = jax.jit(jax.grad(value_at_3, argnums=(0, 1)))(x, memory.x)
    assert np.array_equal(np.any(np.asarray(by_token) != 0, axis=-1), np.broadcast_to(np.arange(7) <= 3, (4, 7)))
    assert np.array_equal(np.any(np.asarray(by_prefix) != 0, axis=-1), memory.mask)


def states(model, whole):
    x = jnp.where(whole.mask[..., None], whole.x, 0)
    return model.run_blocks(x, whole.mask, None, 0, False)[0]


def test_a_window_reaches_the_last_tokens_only(example):
    """One block with a window of 3: token 6 depends on tokens 4, 5 and 6; masked vectors do not count."""
    _, memory, variables = example
    local = MODEL.clone(depth=1)
    mask = [[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 1, 1], [1, 1, 1, 0, 0, 1, 1]]
    whole = Tokens(memory.x[:3].repeat(2, axis=1)[:, :7], jnp.array(mask, bool))
    value = lambda x: jnp.square(local.apply(variables, whole.replace(x=x), method=states)[:, 6]).sum()
    found = np.any(np.asarray(jax.jit(jax.grad(value))(whole.x)) != 0, axis=-1)
    assert found.astype(int).tolist() == [[0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 0, 1, 1], [0, 0, 1, 0, 0, 1, 1]]


def test_a_masked_prefix_may_be_nan_and_all_of_it_may_be_masked(example):
    ids, memory, variables = example
    spoiled = memory.replace(x=jnp.where(memory.mask[..., None], memory.x, jnp.nan))
    chex.assert_trees_all_equal(APPLY(variables, ids, spoiled), APPLY(variables, ids, memory))
    absent = Tokens(jnp.full_like(memory.x, jnp.nan), jnp.zeros_like(memory.mask))
    chex.assert_trees_all_close(APPLY(variables, ids, absent), APPLY(variables, ids), atol=1e-5)
    loss = lambda params, x: jnp.square(MODEL.apply({"params": params}, ids, absent.replace(x=x))).sum()
    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))(variables["params"], absent.x)
    chex.assert_tree_all_finite(gradient)
    assert not np.any(gradient[1])


def test_padding_changes_nothing(example):
    """Rows with 2, 0, 3 and 1 tokens of padding, on the left or the right, give the logits of their tokens alone."""
    ids, memory, variables = example
    padding = jnp.array([2, 0, 3, 1])
    shifted = jax.vmap(jnp.roll)(ids.x, padding)
    cache = INIT_CACHE(variables, memory, 1).pad_left(padding)
    first, cache = STEP(variables, shifted[:, :4], cache)
    parts = [first]
    for token in range(4, 7):
        new, cache = STEP(variables, shifted[:, token : token + 1], cache)
        parts.append(new)
    left, expected = jnp.concatenate(parts, axis=1), APPLY(variables, ids, memory)
    right = APPLY(variables, Padded(jnp.where(jnp.arange(7)[None] < 7 - padding[:, None], ids.x, -1), 7 - padding), memory)
    for row, pad in enumerate(padding.tolist()):
        chex.assert_trees_all_close(left[row, pad:], expected[row, : 7 - pad], atol=1e-5)
        chex.assert_trees_all_close(right[row, : 7 - pad], expected[row, : 7 - pad], atol=1e-5)


def test_beams_share_a_prefix_and_are_reordered(example):
    """Two sequences per prefix equal one per repeated prefix; after reorder([1, 1, 3, 2]) others are continued."""
    ids, memory, variables = example
    source = jnp.array([1, 1, 3, 2])
    cache = INIT_CACHE(variables, jax.tree.map(lambda leaf: leaf[::2], memory), 2)
    first, cache = STEP(variables, ids.x[:, :4], cache)
    expected = APPLY(variables, ids, memory)
    chex.assert_trees_all_close(first, expected[:, :4], atol=1e-5)
    logits, _ = STEP(variables, ids.x[:, 4:5], cache.reorder(source))
    continued = jnp.concatenate([ids.x[source, :4], ids.x[:, 4:]], axis=1)
    chex.assert_trees_all_close(logits[:, 0], APPLY(variables, ids.replace(x=continued), memory)[:, 4], atol=1e-5)


def test_the_layout_names_the_axes_of_the_cache(example):
    """Two devices share the batch, two the heads."""
    _, memory, variables = example
    cache = INIT_CACHE(variables, memory, 1)
    mesh = jax.make_mesh((2, 2), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    placed = jax.device_put(cache, nn.logical_to_mesh_sharding(cache.layout, mesh, (("batch", "data"), ("heads", "model"))))
    assert {leaf.sharding.shard_shape(leaf.shape) for leaf in jax.tree.leaves(placed.past)} == {(2, 1, 11, 4)}
    assert placed.valid.sharding.shard_shape((4, 11)) == (2, 11)
    chex.assert_trees_all_equal(placed.past, cache.past)


def test_rematerialisation_changes_no_gradient(example):
    ids, _, variables = example
    spare = MODEL.clone(remat=jax.checkpoint_policies.nothing_saveable, depth=1)
    loss = lambda model: lambda params: jnp.square(model.apply({"params": params}, ids, train=True)).mean()
    expected = jax.jit(jax.grad(loss(MODEL.clone(depth=1))))(variables["params"])
    chex.assert_trees_all_close(jax.jit(jax.grad(loss(spare)))(variables["params"]), expected, atol=1e-5)
    assert "remat" in str(jax.make_jaxpr(loss(spare))(variables["params"]))


def test_bfloat16_is_near_float32(example):
    """Matmuls and cache in bfloat16, logits in float32."""
    ids, memory, variables = example
    half = MODEL.clone(dtype=jnp.bfloat16)
    cache = jax.jit(lambda: half.apply(variables, memory, 7, method="init_cache"))()
    logits, cache = jax.jit(lambda cache: half.apply(variables, ids.x, cache, method="step"))(cache)
    assert logits.dtype == jnp.float32 and {leaf.dtype for leaf in jax.tree.leaves(cache.past)} == {jnp.dtype(jnp.bfloat16)}
    expected = np.asarray(APPLY(variables, ids, memory))
    assert 0 < np.abs(logits - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kv_heads": 3}, r"LanguageModel\.kv_heads is 3; it must divide LanguageModel\.heads, which is 4"),
        ({"norms": ("norm3",)}, r"LanguageModel\.norms is \('norm3',\); its entries are norm1, norm2, post_norm1"),
        ({"windows": (0,)}, r"LanguageModel\.windows is \(0,\); its entries must be positive integers"),
        ({"positions": 10}, r"LanguageModel\.positions is 10, but there are 11 tokens with the prefix"),
        ({"width": 6}, r"LanguageModel\.width is 6, but the vectors before the text have 8 numbers"),
        ({"rope": Rope(fraction=0.3)}, r"Rope\.fraction is 0\.3; it must select an even number of 4 numbers, not 1"),
    ],
)
def test_impossible_fields(example, change, message):
    ids, memory, _ = example
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(MODEL.clone(**change).init, jax.random.key(0), ids, memory)


PUBLISHED = {
    "gemma2_2b": 2_614_341_888,
    "gemma3_1b": 999_885_952,
    "gemma3_270m": 268_098_176,
    "gpt2_small": 124_439_808,
    "llama2_7b": 6_738_415_616,
    "llama3_1_8b": 8_030_261_248,
    "llama3_2_1b": 1_235_814_400,
    "mistral_7b": 7_241_732_096,
    "phi3_mini": 3_821_079_552,
    "qwen2_0_5b": 494_032_768,
    "qwen3_0_6b": 596_049_920,
    "qwen3_32b": 32_762_123_264,
    "smollm2_135m": 134_515_008,
    "smollm2_360m": 361_821_120,
}


def test_parameters_of_published_models():
    """The numbers of the model cards: those outside of blocks, and those of `depth` blocks."""
    assert PUBLISHED.keys() == set(language_models.__all__)
    for name, expected in PUBLISHED.items():
        make = getattr(language_models, name)
        none, one = (parameters(make(depth=depth)) for depth in (0, 1))
        assert none + make().depth * (one - none) == expected, name


def parameters(model):
    shapes = jax.eval_shape(model.init, jax.random.key(0), Padded(jnp.zeros((1, 1), int), jnp.ones(1, int)))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
