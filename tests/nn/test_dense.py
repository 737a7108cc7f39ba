"""Products by forced layouts equal plain ones, with their gradients, in bfloat16; float32 is left alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mmjax.nn import dense
from mmjax.nn.dense import Dense, matmul

SEEDS, SHAPE, INPUTS, OUTPUTS = 3, (2, 5), 8, 6


@pytest.fixture(params=[False, True], ids=["plain", "bfloat16 instructions"])
def instructions(request, monkeypatch):
    monkeypatch.setattr(dense, "_has_bfloat16", lambda: request.param)


def of_kernel(product, x, dy):
    """The sum of dy * (x W) as a function of x and W."""
    return jax.jit(jax.vmap(jax.value_and_grad(lambda x, w: jnp.sum(product(x, w).astype(jnp.float32) * dy), argnums=(0, 1))))


def test_values_and_gradients_for_all_seeds(instructions):
    """Integers and their sums are exact in bfloat16, so values and gradients are too."""
    random = np.random.default_rng(0)
    x, w = random.integers(-2, 3, (SEEDS, *SHAPE, INPUTS)), random.integers(-2, 3, (SEEDS, INPUTS, OUTPUTS))
    dy = random.integers(-2, 3, (*SHAPE, OUTPUTS))
    expected = np.einsum("sbni,sio,bno->s", x, w, dy)
    of_x, of_w = np.einsum("bno,sio->sbni", dy, w), np.einsum("sbni,bno->sio", x, dy)
    for dtype in (jnp.bfloat16, jnp.float32):
        given = jnp.asarray(x, dtype), jnp.asarray(w, dtype)
        value, gradients = of_kernel(matmul, x, jnp.asarray(dy, jnp.float32))(*given)
        assert {leaf.dtype for leaf in gradients} == {jnp.dtype(dtype)}
        np.testing.assert_array_equal(value, expected)
        np.testing.assert_array_equal(gradients[0], of_x)
        np.testing.assert_array_equal(gradients[1], of_w)


def test_a_layer_is_that_of_flax(instructions):
    """The same parameters and, up to the order of sums, outputs; kernels in another dtype than the parameters."""
    x = jax.random.normal(jax.random.key(0), (*SHAPE, INPUTS))
    for dtype in (jnp.float32, jnp.bfloat16):
        ours, flax = Dense(OUTPUTS, dtype=dtype), nn.Dense(OUTPUTS, dtype=dtype)
        variables = ours.init(jax.random.key(1), x)
        jax.tree.map(np.testing.assert_array_equal, variables, flax.init(jax.random.key(1), x))
        found = ours.apply(variables, x)
        assert found.dtype == dtype
        np.testing.assert_allclose(found.astype(np.float32), flax.apply(variables, x).astype(np.float32), rtol=1e-2, atol=1e-2)


def test_float32_has_forward_mode(instructions):
    x, w = jnp.ones((2, INPUTS)), jnp.ones((INPUTS, OUTPUTS))
    _, change = jax.jvp(lambda w: matmul(x, w), (w,), (w,))
    np.testing.assert_array_equal(change, np.full((2, OUTPUTS), INPUTS))
