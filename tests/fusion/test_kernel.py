"""Random Fourier features against the kernel that they estimate; what is drawn is not learned."""

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.fusion import RandomFourier
from tests.fusion.tokens import examples, tokens_of

GAMMA, WIDTH = 0.3, 20_000


def test_dot_products_are_the_gaussian_kernel_of_the_directions():
    fusion, tokens = RandomFourier(width=WIDTH, gamma=GAMMA), tokens_of(3)
    fused, variables = jax.jit(fusion.init_with_output)(jax.random.key(0), tokens)
    z = np.asarray(fused.x[:, 0])
    x = [np.concatenate([v / max(np.linalg.norm(v), 1e-6) for v in vectors.values()]) for vectors, _ in examples(tokens)]
    squares = np.square(np.array(x)[:, None] - np.array(x)[None]).sum(axis=-1)
    np.testing.assert_allclose(z @ z.T, np.exp(-GAMMA * squares), atol=5 / np.sqrt(WIDTH))  # five standard errors and more
    np.testing.assert_array_equal(fused.mask[:, 0], [bool(there) for _, there in examples(tokens)])
    assert set(variables) == {"random"}  # no parameters


def test_every_seed_draws_its_own():
    draw = jax.jit(lambda key: RandomFourier(width=8).init(key, tokens_of(2))["random"]["kernel"])
    one, same, other = (draw(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.1
    assert jnp.shape(one) == (9, 8)
