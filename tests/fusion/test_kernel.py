"""Random Fourier features against the kernel that they estimate, and their random signs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import hadamard

from mmjax.fusion import RandomFourier
from mmjax.fusion.kernel import _hadamard
from mmjax.types import Tokens
from tests.fusion.tokens import examples, tokens_of

GAMMA, WIDTH = 0.3, 20_000


def wide(size):
    """Four examples of two modalities with `size` values each; the last example has only the first modality."""
    x = np.random.default_rng(0).standard_normal((2, 4, 1, size), np.float32)
    present = np.array([[True] * 4, [True, True, True, False]])
    return {name: Tokens(jnp.asarray(v), jnp.asarray(m[:, None])) for name, v, m in zip(("a", "b"), x, present)}


def test_dot_products_estimate_the_gaussian_kernel_of_the_directions():
    fusion, tokens = RandomFourier(width=WIDTH, gamma=GAMMA), wide(300)
    fused, variables = jax.jit(fusion.init_with_output)(jax.random.key(0), tokens)
    z = np.asarray(fused.x[:, 0])
    units = [t.x[:, 0] / np.linalg.norm(t.x[:, 0], axis=1, keepdims=True) * t.mask for t in tokens.values()]
    u = np.concatenate(units, axis=1)
    squares = np.square(u[:, None] - u[None]).sum(axis=-1)
    assert squares.max() > 1.5
    np.testing.assert_allclose(z @ z.T, np.exp(-GAMMA * squares), atol=4 / np.sqrt(WIDTH))
    np.testing.assert_allclose(np.diagonal(z @ z.T), 1, rtol=1e-4)  # exact, since cos^2 + sin^2 = 1
    assert fused.mask.all() and set(variables) == {"random"}  # no parameters


def test_an_example_without_any_modality_is_absent():
    fused, _ = jax.jit(RandomFourier(width=32).init_with_output)(jax.random.key(0), tokens_of(3))
    np.testing.assert_array_equal(fused.mask[:, 0], [bool(present) for _, present in examples(tokens_of(3))])


@pytest.mark.parametrize("size", [2, 8, 32])
def test_hadamard_equals_scipys_and_is_orthonormal(size):
    h = np.asarray(_hadamard(jnp.eye(size)))
    np.testing.assert_allclose(h, hadamard(size) / np.sqrt(size), atol=1e-6)
    np.testing.assert_allclose(h @ h.T, np.eye(size), atol=1e-5)


@pytest.mark.parametrize(
    ("fusion", "message"),
    [
        (RandomFourier(width=7), r"RandomFourier\.width is 7; it must be even"),
        (RandomFourier(width=0), r"RandomFourier\.width is 0; it must be a positive integer"),
        (RandomFourier(gamma=0.0), r"RandomFourier\.gamma is 0\.0; it must be above 0"),
    ],
)
def test_field_errors(fusion, message):
    with pytest.raises(ValueError, match=message):
        fusion.init(jax.random.key(0), tokens_of(2))


def test_each_seed_has_its_own_signs():
    draw = jax.jit(lambda key: RandomFourier(width=36).init(key, tokens_of(2))["random"]["signs"])
    one, same, other = (draw(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any() and set(np.unique(one)) == {-1, 1}
    assert jnp.shape(one) == (3, 2, 16)  # 18 directions of 9 values, padded to 16
