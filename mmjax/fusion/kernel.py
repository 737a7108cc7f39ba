"""Fusion by a kernel: a classifier over it is one over a kernel of all modalities together, as support vector machines are."""

from collections.abc import Mapping
from functools import reduce

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmjax.fusion.joint import one_token, pooled
from mmjax.types import Tokens


class RandomFourier(nn.Module):
    """[cos W u; sin W u] / sqrt(D / 2), random Fourier features (Rahimi and Recht, 2007) of u = [x_1/|x_1|; ...; x_K/|x_K|].

    Their dot products estimate the Gaussian kernel exp(-gamma sum_k |x_k/|x_k| - y_k/|y_k||^2) of two examples x and y, with
    a deviation of about 1 / sqrt(D). W is structured: blocks sqrt(2 gamma n) H S_1 H S_2 H S_3, with the n numbers of u filled
    up to a power of two, Hadamard's matrix H, orthonormal, and random signs S (Yu et al., "Orthogonal random features", 2016,
    section 4). It takes 3 numbers for each n of an unstructured W. Its bias is within 6 sqrt(2 gamma / n) times the distance
    (their theorem 3); in their simulations it is near 0 for n above 32, and the deviation below that of normal directions.
    The signs are drawn by `init` into the collection "random", and never learned.
    x_k is the mean token of modality k, centred as a z-score is; where it is absent, zeros stand for its direction.

    width: D; 2 n for each block, of the last of which a part may be left out. gamma: per squared length, which is 1 for each
    modality. dropout: rate on the x_k. Raises ValueError where the width is odd, or gamma not above 0.
    """

    width: int = 4096
    gamma: float = 0.3
    dropout: float = 0.0

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        if self.width < 2 or self.width % 2:
            raise ValueError(f"RandomFourier.width is {self.width}; it must be even and at least 2: cosines and sines")
        if not self.gamma > 0:
            raise ValueError(f"RandomFourier.gamma is {self.gamma}; it must be above 0")
        vectors, there = pooled(tokens, self.dropout, train)
        u = jnp.concatenate([x * jax.lax.rsqrt((x * x).sum(axis=-1, keepdims=True) + 1e-12) for x in vectors.values()], axis=-1)

        size, count = max(1 << (u.shape[-1] - 1).bit_length(), 2), self.width // 2

        def drawn():
            return jax.random.rademacher(self.make_rng("params"), (3, -(-count // size), size), jnp.float32)

        z = jnp.pad(u, ((0, 0), (0, size - u.shape[-1])))[:, None]
        for signs in self.variable("random", "signs", drawn).value:
            z = _hadamard(z * signs[None])
        z = jnp.sqrt(2 * self.gamma * size) * z.reshape(len(u), -1)[:, :count]
        return one_token(jnp.concatenate([jnp.cos(z), jnp.sin(z)], axis=-1) * jnp.sqrt(2 / self.width), there)


def _hadamard(x: Float[Array, "*b n"]) -> Float[Array, "*b n"]:
    """x H, with the orthonormal Hadamard matrix of Sylvester, as the Kronecker product of two: n (a + b) products, n = a b."""
    power = x.shape[-1].bit_length() - 1
    a, h = 1 << (power + 1) // 2, np.array([[1, 1], [1, -1]]) / np.sqrt(2)
    left, right = (jnp.asarray(reduce(np.kron, [h] * times, np.eye(1)), x.dtype) for times in ((power + 1) // 2, power // 2))
    return jnp.einsum("...ab,ai,bj->...ij", x.reshape(*x.shape[:-1], a, -1), left, right).reshape(x.shape)
