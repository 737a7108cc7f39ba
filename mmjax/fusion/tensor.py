"""Tensor fusion: products of the modalities' vectors, from the full outer product to factorised forms of it.

In all of them x_k is the mean token of modality k in float32, or zeros where it is absent, and the result is one token.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mmjax.fusion.joint import one_token, pooled, product, project
from mmjax.nn import Dropout
from mmjax.types import Tokens

MOST_ENTRIES = 2**20
EPSILON = 1e-6


def with_one(x: Float[Array, "b d"]) -> Float[Array, "b e"]:
    """[x; 1], the one last: what lets a product of vectors hold the products of fewer of them too."""
    return jnp.concatenate([x, jnp.ones((x.shape[0], 1), x.dtype)], axis=-1)


class TensorFusion(nn.Module):
    """Tensor fusion network (Zadeh et al., 2017): relu(W flatten([h_1; 1] x ... x [h_K; 1]) + b), x the outer product.

    h_k = relu(W_k x_k + b_k). The flattened product has (inner + 1)^K entries, modalities in the order of their names, the
    index of the last one running fastest. An absent modality is h_k = 0, which leaves the products of the others.
    The cost is exponential in K: ValueError beyond 2^20 entries; `LowRank` is the form whose cost is linear.

    width: of the result. inner: of each h_k. dropout: rate on the x_k and on the result. dtype: of the matmuls.
    """

    width: int = 64
    inner: int = 16
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        entries = (self.inner + 1) ** len(tokens)
        if entries > MOST_ENTRIES:
            raise ValueError(
                f"TensorFusion.inner is {self.inner}, which makes ({self.inner} + 1)^{len(tokens)} = {entries} entries for "
                f"{len(tokens)} modalities; at most {MOST_ENTRIES} are sensible: make it smaller, or take LowRank"
            )
        vectors, there = pooled(tokens, self.dropout, train)
        outer = jnp.ones((there.shape[0], 1))
        for k, (name, x) in enumerate(vectors.items()):
            h = jnp.where(there[:, k, None], nn.relu(project(x, self.inner, name, self.dtype)), 0)
            outer = jnp.einsum("bi,bj->bij", outer, with_one(h)).reshape(there.shape[0], -1)
        x = nn.relu(project(outer, self.width, "dense", self.dtype))
        return one_token(Dropout(self.dropout, name="dropout")(x, train=train), there)


class LowRank(nn.Module):
    """Low-rank multimodal fusion (Liu et al., 2018): v = sum_{r=1..rank} prod_k (F_kr [x_k; 1]), element by element.

    This is a linear map of the outer product of the [x_k; 1], whose weight tensor has that rank. (The authors' code also weighs
    the terms of the sum, which changes no function that can be learned.) An absent modality is x_k = 0: its factors are what
    F_kr has for the 1.

    width: of the result. rank: of the weight tensor. dropout: rate on the x_k and on the result. dtype: of the matmuls.
    """

    width: int = 64
    rank: int = 4
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        vectors, there = pooled(tokens, self.dropout, train)
        v = jnp.ones((self.rank, there.shape[0], self.width))
        for name, x in vectors.items():
            shape = (self.rank, x.shape[-1] + 1, self.width)
            factor = self.param(f"{name}_factor", nn.initializers.xavier_normal(batch_axis=0), shape)
            repeated = jnp.broadcast_to(with_one(x)[None], (self.rank, x.shape[0], x.shape[-1] + 1))
            v = v * _einsum("rbd,rdw->rbw", repeated, factor, self.dtype)  # one matmul a term: no gradient moves axes
        return one_token(Dropout(self.dropout, name="dropout")(v.sum(axis=0), train=train), there)


class MultiplicativeInteractions(nn.Module):
    """Multiplicative interactions (Jayakumar et al., 2020, equation 1): f(z, x) = z^T T x + U z + V x + b, T a tensor.

    Two modalities, in the order of their names: f(x_1, x_2). More are folded in from the left: f(f(x_1, x_2), x_3), and so on,
    each f with parameters of its own. One alone: V x_1 + b. An absent modality is x_k = 0, which leaves the linear terms.
    T has d_1 d_2 width numbers: keep the encoders narrow.

    width: of every f. dropout: rate on the x_k and on the result. dtype: of the matmuls.
    """

    width: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        vectors, there = pooled(tokens, self.dropout, train)
        (first, z), *others = vectors.items()
        for name, x in others:
            shape = (z.shape[-1], x.shape[-1], self.width)
            tensor = self.param(f"{name}_tensor", nn.initializers.lecun_normal(in_axis=(0, 1)), shape)
            products = _einsum("bi,bj->bij", z, x, self.dtype).reshape(z.shape[0], -1)
            z = (
                _einsum("bp,pw->bw", products, tensor.reshape(-1, self.width), self.dtype)  # its gradient moves no axes
                + project(z, self.width, f"{name}_before", self.dtype, bias=False)
                + project(x, self.width, name, self.dtype)
            )
        if not others:
            z = project(z, self.width, first, self.dtype)
        return one_token(Dropout(self.dropout, name="dropout")(z, train=train), there)


class MFB(nn.Module):
    """Multi-modal factorised bilinear pooling (Yu et al., 2017), for K modalities:

        p = prod_k (U_k x_k), element by element, width x factors entries;  z = sums of p over each run of `factors` entries
        z <- sign(z) |z|^(1/2);  z <- z / ||z||

    without biases. An absent modality is the factor 1. Root and norm have infinite slopes at zero; here they are
    z (|z| + e)^(-1/2) and z (||z||^2 + e)^(-1/2), e = 1e-6, which are zero there with a finite slope.

    width: of the result. factors: k of the paper. dropout: rate on the x_k and on p, as published. dtype: of the matmuls.
    """

    width: int = 64
    factors: int = 5
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        vectors, there = pooled(tokens, self.dropout, train)
        entries = self.width * self.factors
        p = product([project(x, entries, name, self.dtype, bias=False) for name, x in vectors.items()], there)
        p = Dropout(self.dropout, name="dropout")(p, train=train)
        z = p.reshape(-1, self.width, self.factors).sum(axis=-1)
        z = z * lax.rsqrt(jnp.abs(z) + EPSILON)
        return one_token(z * lax.rsqrt(jnp.sum(z * z, axis=-1, keepdims=True) + EPSILON), there)


class MUTAN(nn.Module):
    """Multimodal Tucker fusion (Ben-younes et al., 2017), for K modalities and without biases:

        v = sum_{r=1..rank} prod_k (M_kr q_k), element by element, with q_k = tanh(W_k x_k):

    a Tucker decomposition of the bilinear map whose core has slices of that rank. An absent modality is the factor 1. The last
    factor matrix of the decomposition, W_o, is the head's.

    width: of the result. inner: of each q_k. rank: of the core's slices. dropout: rate on the x_k and on the result.
    dtype: of the matmuls.
    """

    width: int = 64
    inner: int = 32
    rank: int = 5
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        vectors, there = pooled(tokens, self.dropout, train)
        factors = []
        for name, x in vectors.items():
            q = jnp.tanh(project(x, self.inner, name, self.dtype, bias=False))
            m = project(q, self.rank * self.width, f"{name}_core", self.dtype, bias=False)
            factors.append(m.reshape(-1, self.rank, self.width))
        v = product(factors, there).sum(axis=1)
        return one_token(Dropout(self.dropout, name="dropout")(v, train=train), there)


def _einsum(equation: str, a: Array, b: Array, dtype: Any) -> Array:
    """In `dtype`, summed and returned in float32."""
    return jnp.einsum(equation, a.astype(dtype), b.astype(dtype), preferred_element_type=jnp.float32)
