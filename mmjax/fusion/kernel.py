"""Fusion by a kernel: a classifier over it is one over a kernel of all modalities together, as support vector machines are."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.fusion.joint import one_token, pooled
from mmjax.types import Tokens


class RandomFourier(nn.Module):
    """sqrt(2 / D) cos(W [u_1; ...; u_K] + b), random Fourier features (Rahimi and Recht, 2007) of the u_k = x_k / |x_k|.

    Their dot products estimate the Gaussian kernel exp(-gamma sum_k |u_k - v_k|^2) of two examples u and v, with an error of
    about 1 / sqrt(D). W ~ N(0, 2 gamma) and b ~ U(0, 2 pi) are drawn by `init` into the collection "random", and never
    learned. x_k is the mean token of modality k, z-scored as it should be, and u_k = 0 where it is absent.

    width: D. gamma: per squared length, which is 1 for each modality. dropout: rate on the x_k. dtype: of the matmul.
    """

    width: int = 2048
    gamma: float = 0.3
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        vectors, there = pooled(tokens, self.dropout, train)
        u = jnp.concatenate([x * jax.lax.rsqrt((x * x).sum(axis=-1, keepdims=True) + 1e-12) for x in vectors.values()], axis=-1)

        def normal():
            return jnp.sqrt(2 * self.gamma) * jax.random.normal(self.make_rng("params"), (u.shape[-1], self.width))

        def phase():
            return 2 * jnp.pi * jax.random.uniform(self.make_rng("params"), (self.width,))

        w, b = self.variable("random", "kernel", normal).value, self.variable("random", "bias", phase).value
        z = jnp.matmul(u.astype(self.dtype), w.astype(self.dtype)).astype(jnp.float32) + b[None]
        return one_token(jnp.sqrt(2 / self.width) * jnp.cos(z), there)
