"""Kernel fusion: random features whose dot products approximate a kernel over all modalities."""

from collections.abc import Mapping
from functools import reduce

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmjax.fusion.joint import one_token, pool
from mmjax.nn.checks import positive, rate
from mmjax.types import Tokens

__all__ = ["RandomFourier"]


class RandomFourier(nn.Module):
    """[cos W u; sin W u] / sqrt(D / 2), random Fourier features (Rahimi and Recht, 2007) of u = [x_1/|x_1|; ...; x_K/|x_K|].

    The dot product of two outputs estimates the Gaussian kernel exp(-gamma sum_k |x_k/|x_k| - y_k/|y_k||^2) of two examples x
    and y, with a standard deviation of about 1 / sqrt(D). A linear classifier over the output approximates a kernel machine.

    W is structured (Yu et al., "Orthogonal random features", 2016, section 4): blocks sqrt(2 gamma n) H S_1 H S_2 H S_3, where
    u is zero-padded to n = 2^m values, H is the orthonormal Hadamard matrix and S_i are random signs. A block needs 3n numbers
    instead of n^2. Its bias is at most 6 sqrt(2 gamma / n) times the distance (their theorem 3); in their simulations it is
    near 0 for n > 32, and the standard deviation is below that of normal directions. `init` draws the signs into the
    collection "random"; they are not trained.

    x_k is the mean token of modality k, which should be centred, as z-scores are; zeros replace x_k/|x_k| if it is absent.

    Deviations: Rahimi and Recht draw the rows of W independently from a normal distribution, and their u is any vector. Ours
    has parts of unit length; 1e-12 is added to the squares of their norms.

    width: D, even; 2n per block, and the last block is truncated. gamma: dimensionless; each modality has unit length.
    dropout: rate on the x_k. Raises ValueError if `width` is odd or `gamma` is not positive.
    """

    width: int = 4096
    gamma: float = 0.3
    dropout: float = 0.0

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "width")
        rate(self, "dropout")
        if self.width % 2:
            raise ValueError(f"RandomFourier.width is {self.width}; it must be even, for pairs of a cosine and a sine")
        if not self.gamma > 0:
            raise ValueError(f"RandomFourier.gamma is {self.gamma}; it must be above 0")
        vectors, present = pool(tokens, self.dropout, train)
        u = jnp.concatenate([x * jax.lax.rsqrt((x * x).sum(axis=-1, keepdims=True) + 1e-12) for x in vectors.values()], axis=-1)

        size, count = max(1 << (u.shape[-1] - 1).bit_length(), 2), self.width // 2

        def draw_signs():
            return jax.random.rademacher(self.make_rng("params"), (3, -(-count // size), size), jnp.float32)

        z = jnp.pad(u, ((0, 0), (0, size - u.shape[-1])))[:, None]
        for signs in self.variable("random", "signs", draw_signs).value:
            z = _hadamard(z * signs[None])
        z = jnp.sqrt(2 * self.gamma * size) * z.reshape(u.shape[0], -1)[:, :count]
        return one_token(jnp.concatenate([jnp.cos(z), jnp.sin(z)], axis=-1) * jnp.sqrt(2 / self.width), present)


def _hadamard(x: Float[Array, "*b n"]) -> Float[Array, "*b n"]:
    """x H with Sylvester's orthonormal Hadamard matrix, as a Kronecker product of an a x a and a b x b matrix, n = a b."""
    power = x.shape[-1].bit_length() - 1
    a, h = 1 << (power + 1) // 2, np.array([[1, 1], [1, -1]]) / np.sqrt(2)
    left, right = (jnp.asarray(reduce(np.kron, [h] * times, np.eye(1)), x.dtype) for times in ((power + 1) // 2, power // 2))
    return jnp.einsum("...ab,ai,bj->...ij", x.reshape(*x.shape[:-1], a, -1), left, right).reshape(x.shape)
