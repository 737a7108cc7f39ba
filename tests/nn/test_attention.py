"""Attention against a loop over the equation; masks by gradients; Transformer blocks by hand."""

import math

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.nn import Attention, AttentionPool, Block, Transformer, attend
from mmjax.nn.attention import gelu
from mmjax.nn.long_attention import attend_in_blocks
from mmjax.types import Tokens

B, N, M, D = 2, 3, 4, 6
KEY = jax.random.key(0)


def test_attend_equals_the_equation():
    q, k, v = (jax.random.normal(key, (B, 2, n, 5)) for key, n in zip(jax.random.split(KEY, 3), (N, M, M)))
    mask = jnp.array([[True, True, False, True], [False, True, False, False]])
    got = np.asarray(jax.jit(attend)(q, k, v, mask))
    q, k, v, mask = (np.asarray(array) for array in (q, k, v, mask))
    for b in range(B):
        for h in range(2):
            for n in range(N):
                scores = [np.exp(float(q[b, h, n] @ k[b, h, m]) / np.sqrt(5)) * bool(mask[b, m]) for m in range(M)]
                expected = sum(s * v[b, h, m] for m, s in enumerate(scores)) / sum(scores)
                np.testing.assert_allclose(got[b, h, n], expected, rtol=2e-5, atol=1e-6)


def test_masked_keys_have_no_influence_and_no_valid_key_yields_zeros():
    x, context = jax.random.normal(KEY, (B, N, D)), jax.random.normal(KEY, (B, M, 3))
    mask = jnp.array([[True, False, True, False], [False] * 4])
    layer = Attention(heads=2, features=8)
    params = jax.jit(layer.init)(KEY, x, context, mask)
    run = jax.jit(lambda context: layer.apply(params, x, context, mask))
    gradient = jax.jit(jax.grad(lambda context: jnp.sum(run(context) ** 2)))(context)
    np.testing.assert_array_equal(np.abs(gradient).max(-1) > 0, mask)
    bias = params["params"]["out"]["bias"]
    np.testing.assert_array_equal(run(context)[1], np.broadcast_to(bias, (N, 8)))  # zeros, plus the bias of `out`


def test_attention_pool_ignores_masked_tokens_even_if_they_are_nan():
    x, mask = jax.random.normal(KEY, (B, N, D)), jnp.array([[True, False, True], [False] * 3])
    pool = AttentionPool(heads=2, hidden=8)
    params = jax.jit(pool.init)(KEY, Tokens(x, mask))
    run = jax.jit(jax.value_and_grad(lambda x: jnp.sum(pool.apply(params, Tokens(x, mask)) ** 2)))
    plain, spoiled = run(x), run(jnp.where(mask[..., None], x, jnp.nan))
    chex.assert_tree_all_finite(spoiled)
    chex.assert_trees_all_equal(plain, spoiled)
    np.testing.assert_array_equal(np.abs(plain[1]).max(-1) > 0, mask)


def test_a_mask_per_query_makes_attention_causal():
    x = jax.random.normal(KEY, (1, 5, D))
    layer = Transformer(depth=2, heads=2, hidden=8)
    causal = jnp.tril(jnp.ones((1, 5, 5), bool))
    params = jax.jit(layer.init)(KEY, x, causal)
    influence = jax.jit(jax.jacrev(lambda x: layer.apply(params, x, causal).sum(-1)[0]))(x)[:, 0]
    np.testing.assert_array_equal(np.abs(influence).max(-1) > 0, np.tril(np.ones((5, 5), bool)))


def _norm(x, epsilon):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)


def test_pre_and_post_norm_by_hand():
    """With initial weights, the norms have scale 1 and bias 0."""
    x, mask = jax.random.normal(KEY, (B, N, D)), jnp.ones((B, N), bool)
    for pre_norm in (True, False):
        block = Block(heads=2, hidden=7, pre_norm=pre_norm, epsilon=1e-3)
        params = jax.jit(block.init)(KEY, x, mask)["params"]
        attend_to = jax.jit(lambda y, p=params["attention"]: Attention(2).apply({"params": p}, y, mask=mask))
        attention = lambda y: np.asarray(attend_to(jnp.asarray(y)))
        up, down = (lambda y, p=params[name]: y @ np.asarray(p["kernel"]) + np.asarray(p["bias"]) for name in ("up", "down"))
        mlp = lambda y: down(np.asarray(jax.nn.gelu(up(y), approximate=False)))
        y = np.asarray(x)
        if pre_norm:
            y = y + attention(_norm(y, 1e-3))
            y = y + mlp(_norm(y, 1e-3))
        else:
            y = _norm(y + attention(y), 1e-3)
            y = _norm(y + mlp(y), 1e-3)
        np.testing.assert_allclose(jax.jit(block.apply)({"params": params}, x, mask), y, rtol=1e-4, atol=1e-5)


def test_the_joint_projection_equals_three_dense_layers():
    """The same parameter paths, shapes and initial values as `nn.Dense` layers, and the same results and gradients."""

    class Separate(nn.Module):
        key_bias: bool

        @nn.compact
        def __call__(self, x, context, mask):
            layers = (("query", x, True), ("key", context, self.key_bias), ("value", context, True))
            q, k, v = (
                nn.Dense(8, use_bias=bias, name=name)(y).reshape(*y.shape[:2], 2, 4).swapaxes(1, 2) for name, y, bias in layers
            )
            return nn.Dense(8, name="out")(attend(q, k, v, mask).swapaxes(1, 2).reshape(*x.shape[:2], 8))

    x, other = jax.random.normal(KEY, (B, N, D)), jax.random.normal(KEY, (B, M, 3))
    for context, key_bias in ((None, True), (None, False), (other, True), (other, False)):
        y = x if context is None else context
        mask = jnp.ones(y.shape[:2], bool).at[0, 1].set(False).at[1].set(False)
        joint, separate = Attention(2, features=8, key_bias=key_bias), Separate(key_bias)
        params, expected = jax.jit(lambda key: (joint.init(key, x, context, mask), separate.init(key, x, y, mask)))(KEY)
        chex.assert_trees_all_equal(params, expected)
        params = jax.tree.map(lambda leaf: leaf + 0.1, params)
        value = lambda run: jax.value_and_grad(lambda p: jnp.sum(run(p) ** 2))
        runs = value(lambda p: joint.apply(p, x, context, mask)), value(lambda p: separate.apply(p, x, y, mask))
        got, expected = jax.jit(lambda p: [run(p) for run in runs])(params)
        chex.assert_trees_all_close(got, expected, rtol=1e-5, atol=1e-5)


def test_gelu_and_its_derivative_equal_the_normal_distribution_function():
    x = np.linspace(-12, 12, 2001, dtype=np.float32)
    cdf = np.array([0.5 * math.erfc(-float(v) / math.sqrt(2)) for v in x])  # Phi, in float64
    np.testing.assert_allclose(gelu(jnp.asarray(x)), x * cdf, rtol=0, atol=2e-6)
    slope = cdf + x * np.exp(-np.square(x, dtype=np.float64) / 2) / math.sqrt(2 * math.pi)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(gelu)))(jnp.asarray(x)), slope, rtol=0, atol=1e-6)


@pytest.mark.parametrize("run", [lambda f: f, jax.jit])
def test_gelu_in_bfloat16_is_exact_to_one_rounding(run):
    x = jnp.linspace(-4, 4, 801).astype(jnp.bfloat16)
    exact = np.array([float(v) * 0.5 * math.erfc(-float(v) / math.sqrt(2)) for v in x])
    got = run(gelu)(x)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(got), exact, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("per_query", [False, True])
def test_attention_in_blocks_of_queries_equals_that_of_all_queries(per_query):
    """Values and gradients, for a number of queries that blocks do not divide, and rows without a valid key."""
    q, k, v = (jax.random.normal(jax.random.key(number), (2, 3, n, 4)) for number, n in enumerate((7, 5, 5)))
    mask = jax.random.bernoulli(jax.random.key(3), 0.5, (2, 7, 5) if per_query else (2, 5)).at[0].set(False)

    def run(attention):
        return jax.value_and_grad(lambda *given: jnp.sum(jnp.sin(attention(*given))), argnums=(0, 1, 2))(q, k, v)

    chex.assert_trees_all_close(
        run(lambda *given: attend_in_blocks(*given, mask, 3)), run(lambda *given: attend(*given, mask)), atol=1e-6
    )


def test_attention_in_blocks_in_bfloat16_and_for_several_seeds():
    q, k, v = jax.random.normal(jax.random.key(0), (3, 2, 1, 2, 9, 8))  # two seeds
    mask = jnp.ones((1, 9), bool)
    loss = lambda block: lambda *given: jnp.sum(jnp.sin(attend_in_blocks(*given, mask, block).astype(jnp.float32)))
    gradients = lambda block: jax.vmap(jax.grad(loss(block), argnums=(0, 1, 2)))
    expected = gradients(9)(q, k, v)
    found = gradients(4)(*(x.astype(jnp.bfloat16) for x in (q, k, v)))
    assert {x.dtype for x in found} == {jnp.bfloat16.dtype}
    chex.assert_trees_all_close(jax.tree.map(lambda x: x.astype(jnp.float32), found), expected, atol=0.03)
    chex.assert_trees_all_close(gradients(4)(q, k, v), expected, atol=1e-6)


def test_the_memory_of_attention_is_linear_in_the_length_of_long_sequences():
    """XLA's temporary memory of a gradient; all scores of 4,096 tokens would be 64 MiB."""

    def temporary(n, layer):
        x = jax.ShapeDtypeStruct((1, n, 8), jnp.float32)
        variables = jax.eval_shape(layer.init, jax.random.key(0), x)
        loss = lambda variables, x: jnp.sum(layer.apply(variables, x, train=True, rngs={"dropout": jax.random.key(1)}))
        return jax.jit(jax.grad(loss)).lower(variables, x).compile().memory_analysis().temp_size_in_bytes

    short, long = (temporary(n, Attention(heads=1)) for n in (2048, 4096))
    assert long < 2.2 * short and long < 32 * 2**20
    assert temporary(4096, Attention(heads=1, dropout=0.1)) > 64 * 2**20  # the comparison can fail
