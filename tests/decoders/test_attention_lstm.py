"""The LSTM with attention: its equations in NumPy, cached steps, masked memories, beams, seeds and bfloat16."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.decoders import AttentionLSTM, Decoder
from mmjax.nn.search import BeamCache, PaddedCache, greedy
from mmjax.types import Padded, Tokens

DECODER = AttentionLSTM(vocabulary=7, width=3, embedding=4, attention=5)
APPLY = jax.jit(DECODER.apply)
INIT_CACHE = jax.jit(
    lambda variables, memory, beams: DECODER.apply(variables, memory, 6, beams, method="init_cache"), static_argnums=2
)
STEP = jax.jit(lambda variables, ids, cache: DECODER.apply(variables, ids, cache, method="step"))
SEARCH = jax.jit(
    lambda variables, prompt, memory: greedy(
        lambda ids, cache: STEP(variables, ids, cache), INIT_CACHE(variables, memory, 1), prompt, 3, 0
    )
)


def drawn(module, *inputs, seed=0):
    """Random parameters of a module."""
    random = np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    return jax.tree.map(lambda leaf: jnp.asarray(0.7 * random.normal(size=leaf.shape), leaf.dtype), shapes)


@pytest.fixture(scope="module")
def example():
    """Token ids [3 6], memories [3 4 2] of different lengths with gaps, and parameters."""
    random = np.random.default_rng(1)
    ids = Padded(jnp.asarray(random.integers(0, 7, (3, 6))), jnp.full(3, 6))
    mask = jnp.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 1]], bool)
    memory = Tokens(jnp.asarray(random.normal(size=(3, 4, 2)), jnp.float32), mask)
    return ids, memory, drawn(DECODER, ids, memory)


def by_hand(p, ids, memory):
    """Equations 1 to 7 and 13 of Xu et al. (2015) for one sequence and one memory [m d], in float64."""
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    affine = lambda name, x, at=p: x @ at[name]["kernel"] + at[name].get("bias", 0)
    cell = p["steps"]
    h, c = (np.tanh(affine(name, memory.mean(axis=0))) for name in ("start_hidden", "start_cell"))
    logits = []
    for token in ids:
        y = p["word"]["embedding"][token]
        e = [affine("score", np.tanh(affine("key", a) + affine("query", h, cell)), cell)[0] for a in memory]
        alpha = np.exp(e) / np.exp(e).sum()
        z = sigmoid(affine("gate", h, cell)) * sum(weight * a for weight, a in zip(alpha, memory))
        i, f, g, o = np.split(affine("input", y) + affine("recurrent", h, cell) + affine("context", z, cell), 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        logits.append(p["output"] @ (y + affine("of_hidden", h) + affine("of_context", z)))
    return np.array(logits)


def test_equations(example):
    ids, memory, variables = example
    exact = jax.tree.map(np.float64, variables["params"])
    x, mask = np.float64(memory.x), np.asarray(memory.mask)
    expected = [by_hand(exact, ids.x[row], x[row, mask[row]]) for row in range(3)]
    np.testing.assert_allclose(APPLY(variables, ids, memory), expected, rtol=1e-4, atol=1e-5)


def test_cached_steps_equal_one_pass(example):
    ids, memory, variables = example
    cache = INIT_CACHE(variables, memory, 1)
    assert isinstance(cache, BeamCache)
    logits = []
    for part in (ids.x[:, :1], ids.x[:, 1:2], ids.x[:, 2:]):
        new, cache = STEP(variables, part, cache)
        logits.append(new)
    chex.assert_trees_all_close(jnp.concatenate(logits, axis=1), APPLY(variables, ids, memory), atol=1e-5)


def test_no_gradient_from_later_tokens_or_masked_memory(example):
    """The embeddings of the six tokens are six different parameters here."""
    _, memory, variables = example
    ids = Padded(jnp.broadcast_to(jnp.arange(6)[None], (3, 6)), jnp.full(3, 6))

    def logits_at_3(table, x):
        params = variables["params"] | {"word": {"embedding": table}}
        return DECODER.apply({"params": params}, ids, memory.replace(x=x))[:, 3].sum()

    by_token, by_memory = jax.jit(jax.grad(logits_at_3, argnums=(0, 1)))(variables["params"]["word"]["embedding"], memory.x)
    assert np.abs(by_token[:4]).min(axis=1).max() > 0 and not np.any(by_token[4:])
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


def test_beams_share_a_memory_and_can_be_reordered(example):
    """Two sequences per memory equal one sequence per repeated memory; after reorder, both continue the second one."""
    ids, memory, variables = example
    ids = jnp.concatenate([ids.x, ids.x[:, ::-1]])
    repeated = jax.tree.map(lambda leaf: jnp.repeat(leaf, 2, axis=0), memory)
    expected = APPLY(variables, Padded(ids, jnp.full(6, 6)), repeated)
    logits, cache = STEP(variables, ids[:, :2], INIT_CACHE(variables, memory, 2))
    chex.assert_trees_all_close(logits, expected[:, :2], atol=1e-5)
    source = jnp.array([1, 1, 3, 2, 5, 5])
    logits, _ = STEP(variables, ids[source, 2:], cache.reorder(source))
    chex.assert_trees_all_close(logits, expected[source, 2:], atol=1e-5)


def test_left_padding_changes_nothing(example):
    """Rows with 2, 0 and 3 tokens of padding, in two steps of which the first one may be padding alone."""
    ids, memory, variables = example
    padding = jnp.array([2, 0, 3])
    shifted = jax.vmap(jnp.roll)(ids.x, padding)
    first, cache = STEP(variables, shifted[:, :2], INIT_CACHE(variables, memory, 1).pad_left(padding))
    assert isinstance(cache, PaddedCache)
    np.testing.assert_array_equal(cache.reorder(jnp.array([2, 1, 2])).padding, [1, 0, 1])
    second, _ = STEP(variables, shifted[:, 2:], cache)
    found, expected = jnp.concatenate([first, second], axis=1), APPLY(variables, ids, memory)
    for row, pad in enumerate(padding.tolist()):
        chex.assert_trees_all_close(found[row, pad:], expected[row, : 6 - pad], atol=1e-5)


def test_prompts_of_different_lengths_give_what_each_gives_alone(example):
    """Batches of three prompts of 1, 2 and 3 tokens. Without padding, the most likely token after each prompt and its text is
    the next token of the text."""
    _, memory, variables = example
    random, lengths = np.random.default_rng(2), np.array([2, 1, 3])
    texts = set()
    for _ in range(20):
        prompts = random.integers(1, 7, (3, 3))
        found = SEARCH(variables, Padded(jnp.asarray(prompts), jnp.asarray(lengths)), memory)
        text, counts = np.asarray(found.x), np.minimum(np.asarray(found.length) + 1, 3)  # with the end
        joined = np.array([[*prompts[row, :length], *text[row], 0, 0][:6] for row, length in enumerate(lengths)])
        logits = np.asarray(APPLY(variables, Padded(jnp.asarray(joined), jnp.full(3, 6)), memory))
        for row, (length, count) in enumerate(zip(lengths, counts)):
            np.testing.assert_array_equal(logits[row, length - 1 :][:count].argmax(axis=-1), text[row, :count])
            texts.add(tuple(text[row, :count].tolist()))
    assert len(texts) > 5


def test_the_layout_names_the_axes_of_the_cache(example):
    """Three devices share the batch; the result is that of one device."""
    ids, memory, variables = example
    cache = INIT_CACHE(variables, memory, 1).pad_left(jnp.array([2, 0, 3]))
    expected = STEP(variables, ids.x, cache)
    mesh = jax.make_mesh((3,), ("data",), devices=jax.devices()[:3], axis_types=(jax.sharding.AxisType.Auto,))
    placed = jax.device_put(cache, nn.logical_to_mesh_sharding(cache.layout, mesh, (("batch", "data"),)))
    shapes = [leaf.sharding.shard_shape(leaf.shape) for leaf in jax.tree.leaves(placed)]
    assert shapes == [(1, 3), (1, 3), (1, 4, 2), (1, 4, 5), (1, 4), (1,)]
    chex.assert_trees_all_close(STEP(variables, ids.x, placed), expected, atol=1e-5)


def test_vmap_over_seeds(example):
    ids, memory, variables = example
    seeds = jax.tree.map(lambda x: jnp.stack([x * 0.5, x]), variables)
    both = jax.jit(jax.vmap(DECODER.apply, in_axes=(0, None, None)))(seeds, ids, memory)
    chex.assert_trees_all_close(both[1], APPLY(variables, ids, memory), atol=1e-5)


def test_bfloat16_is_near_float32(example):
    """Matmuls and the memory in bfloat16, states and logits in float32."""
    ids, memory, variables = example
    half = DECODER.clone(dtype=jnp.bfloat16)

    @jax.jit
    def run(ids):
        return half.apply(variables, ids, half.apply(variables, memory, 6, method="init_cache"), method="step")

    logits, cache = run(ids.x)
    assert logits.dtype == cache.hidden.dtype == cache.cell.dtype == jnp.float32
    assert cache.values.dtype == cache.keys.dtype == jnp.bfloat16
    expected = np.asarray(APPLY(variables, ids, memory))
    assert 0 < np.abs(logits - expected).max() < 0.1 * np.abs(expected).max()


def test_the_forget_gate_starts_open(example):
    ids, memory, _ = example
    bias = jax.jit(DECODER.init)(jax.random.key(0), ids, memory)["params"]["input"]["bias"]
    np.testing.assert_array_equal(bias, np.repeat([0, 1, 0, 0], 3))


SMALL = Decoder(7, width=4, depth=1, heads=2, hidden=4, positions=6)


@pytest.mark.parametrize("decoder", [SMALL, DECODER], ids=["transformer", "lstm"])
def test_tied_and_untied_output_layers_are_equal_with_equal_weights(example, decoder):
    ids, memory, _ = example
    tied, untied = decoder.clone(tied=True), decoder.clone(tied=False)
    variables = drawn(untied, ids, memory)
    shared = dict(variables["params"])
    output = shared.pop("output")
    assert output.shape == shared["word"]["embedding"].shape
    same = {"params": shared | {"output": shared["word"]["embedding"]}}
    run = jax.jit(lambda: (tied.apply({"params": shared}, ids, memory), untied.apply(same, ids, memory)))
    np.testing.assert_allclose(*run(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decoder", [SMALL, DECODER], ids=["transformer", "lstm"])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": ()}, r"\.prompt is \(\); it must be a tuple of token ids from 0 to 6, at least one"),
        ({"prompt": (0, 7)}, r"\.prompt is \(0, 7\); it must be a tuple of token ids from 0 to 6, at least one"),
        ({"end": -1}, r"\.end is -1; it must be a token id from 0 to 6"),
    ],
)
def test_prompt_and_end_are_token_ids(example, decoder, fields, message):
    ids, memory, variables = example
    with pytest.raises(ValueError, match=message):
        decoder.clone(**fields).apply(variables, ids, memory)
