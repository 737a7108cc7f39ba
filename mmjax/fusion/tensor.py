"""Tensor fusion: products of the modalities' vectors, from the full outer product to factorised forms.

In each fusion, x_k is the mean token of modality k in float32, or zeros if it is absent. The output is one token.
"""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mmjax.fusion.joint import one_token, pool, product, project
from mmjax.nn import Dropout
from mmjax.nn.checks import positive, rate
from mmjax.types import Tokens

__all__ = [
    "EPSILON", "MAX_ENTRIES", "MFB", "MUTAN", "LowRank", "MultiplicativeInteractions", "OuterProduct", "TensorFusion",
    "with_one",
]  # fmt: skip

MAX_ENTRIES = 2**20
EPSILON = 1e-6


def with_one(x: Float[Array, "b d"]) -> Float[Array, "b e"]:
    """[x; 1]. With the appended 1, the outer product of all vectors contains the products of subsets of them."""
    return jnp.concatenate([x, jnp.ones((x.shape[0], 1), x.dtype)], axis=-1)


class TensorFusion(nn.Module):
    """Tensor fusion network (Zadeh et al., 2017): relu(W flatten([h_1; 1] x ... x [h_K; 1]) + b), x the outer product.

    h_k = relu(W_k x_k + b_k). The product has (inner + 1)^K entries; modalities are sorted by name, and the index of the last
    one varies fastest. An absent modality has h_k = 0, which leaves the products of the others. The cost is exponential in K,
    and more than 2^20 entries raise ValueError; `LowRank` has a linear cost. The authors' code has no layer for the h_k, which
    are its encoders, and two layers after the product: `published.tfn`.

    width: of the output. inner: width of each h_k. dropout: rate on the x_k and on the output. dtype: of the matmuls.
    """

    width: int = 64
    inner: int = 16
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "width", "inner")
        rate(self, "dropout")
        entries = (self.inner + 1) ** len(tokens)
        if entries > MAX_ENTRIES:
            raise ValueError(
                f"TensorFusion.inner is {self.inner}, which makes ({self.inner} + 1)^{len(tokens)} = {entries} entries for "
                f"{len(tokens)} modalities; the limit is {MAX_ENTRIES}: use a smaller value, or LowRank"
            )
        vectors, present = pool(tokens, self.dropout, train)
        h = [
            jnp.where(present[:, k, None], nn.relu(project(x, self.inner, name, self.dtype)), 0)
            for k, (name, x) in enumerate(vectors.items())
        ]
        x = nn.relu(project(_outer(h), self.width, "dense", self.dtype))
        return one_token(Dropout(self.dropout, name="dropout")(x, train=train), present)


def _outer(vectors: list[Array]) -> Float[Array, "b e"]:
    """flatten([x_1; 1] x ... x [x_K; 1]); the index of the last vector varies fastest."""
    outer = jnp.ones((vectors[0].shape[0], 1))
    for x in vectors:
        outer = jnp.einsum("bi,bj->bij", outer, with_one(x)).reshape(x.shape[0], -1)
    return outer


class OuterProduct(nn.Module):
    """flatten([x_1; 1] x ... x [x_K; 1]) as one token, x the outer product: the tensor of Zadeh et al. (2017) without layers
    before or after it, as in MultiBench.

    Modalities are sorted by name, and the index of the last one varies fastest. A linear layer after it is any multilinear map
    with all lower terms. More than 2^20 entries raise ValueError.

    dropout: rate on the x_k.
    """

    dropout: float = 0.0

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        rate(self, "dropout")
        vectors, present = pool(tokens, self.dropout, train)
        entries = math.prod(x.shape[-1] + 1 for x in vectors.values())
        if entries > MAX_ENTRIES:
            widths = {name: x.shape[-1] for name, x in vectors.items()}
            raise ValueError(
                f"OuterProduct has {entries} entries for the widths {widths}; the limit is {MAX_ENTRIES}: use narrower encoders"
            )
        return one_token(_outer(list(vectors.values())), present)


class LowRank(nn.Module):
    """Low-rank multimodal fusion (Liu et al., 2018): v = sum_{r=1..rank} prod_k (F_kr [x_k; 1]), with element-wise products.

    This is a linear map of the outer product of the [x_k; 1] with a weight tensor of the given rank. An absent modality has
    x_k = 0, so its factor is the column of F_kr for the appended 1.

    width: of the output. rank: of the weight tensor. affine: v = sum_r w_r prod_k (...) + b with learned w and b, as in the
    authors' code (`published.lmf`); the w_r do not enlarge the set of functions. dropout: rate on the x_k and on the output.
    dtype: of the matmuls.
    """

    width: int = 64
    rank: int = 4
    affine: bool = False
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "width", "rank")
        rate(self, "dropout")
        vectors, present = pool(tokens, self.dropout, train)
        v = jnp.ones((self.rank, present.shape[0], self.width))
        if self.affine:
            v = v * self.param("weights", nn.initializers.xavier_normal(), (1, self.rank))[0][:, None, None]
        for name, x in vectors.items():
            shape = (self.rank, x.shape[-1] + 1, self.width)
            factor = self.param(f"{name}_factor", nn.initializers.xavier_normal(batch_axis=0), shape)
            repeated = jnp.broadcast_to(with_one(x)[None], (self.rank, x.shape[0], x.shape[-1] + 1))
            v = v * _einsum("rbd,rdw->rbw", repeated, factor, self.dtype)  # a matmul per term, for gradients without transposes
        v = v.sum(axis=0)
        if self.affine:
            v = v + self.param("bias", nn.initializers.zeros_init(), (self.width,))[None]
        return one_token(Dropout(self.dropout, name="dropout")(v, train=train), present)


class MultiplicativeInteractions(nn.Module):
    """Multiplicative interactions (Jayakumar et al., 2020, equation 1): f(z, x) = z^T T x + U z + V x + b, T a tensor.

    Modalities are sorted by name and folded from the left, f(f(x_1, x_2), x_3), with separate parameters for each f. A single
    modality yields V x_1 + b. An absent modality has x_k = 0, which leaves the linear terms. T has d_1 * d_2 * width entries,
    so use narrow encoders. MultiBench's trilinear form for three modalities is `published.multiplicative_interactions`.

    width: of the output of each f. dropout: rate on the x_k and on the output. dtype: of the matmuls.
    """

    width: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "width")
        rate(self, "dropout")
        vectors, present = pool(tokens, self.dropout, train)
        (first, z), *others = vectors.items()
        for name, x in others:
            shape = (z.shape[-1], x.shape[-1], self.width)
            tensor = self.param(f"{name}_tensor", nn.initializers.lecun_normal(in_axis=(0, 1)), shape)
            products = _einsum("bi,bj->bij", z, x, self.dtype).reshape(z.shape[0], -1)
            z = (
                _einsum("bp,pw->bw", products, tensor.reshape(-1, self.width), self.dtype)  # gradient without transposes
                + project(z, self.width, f"{name}_before", self.dtype, bias=False)
                + project(x, self.width, name, self.dtype)
            )
        if not others:
            z = project(z, self.width, first, self.dtype)
        return one_token(Dropout(self.dropout, name="dropout")(z, train=train), present)


class MFB(nn.Module):
    """Multi-modal factorised bilinear pooling (Yu et al., 2017), for K modalities:

        p = prod_k (U_k x_k), element-wise, with width * factors entries;  z = sums of p over groups of `factors` entries
        z <- sign(z) |z|^(1/2);  z <- z / ||z||

    without biases, over the present modalities. The square root and the norm have infinite slopes at zero; they are replaced
    by z (|z| + e)^(-1/2) and z (||z||^2 + e)^(-1/2), which have finite slopes (`published.mfb` has a smaller e).

    width: of the output. factors: k in the paper. epsilon: e > 0. dropout: rate on the x_k and on p, as published. dtype: of
    the matmuls.
    """

    width: int = 64
    factors: int = 5
    dropout: float = 0.0
    epsilon: float = EPSILON
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "width", "factors")
        rate(self, "dropout")
        vectors, present = pool(tokens, self.dropout, train)
        entries = self.width * self.factors
        p = product([project(x, entries, name, self.dtype, bias=False) for name, x in vectors.items()], present)
        p = Dropout(self.dropout, name="dropout")(p, train=train)
        z = p.reshape(-1, self.width, self.factors).sum(axis=-1)
        z = z * lax.rsqrt(jnp.abs(z) + self.epsilon)
        return one_token(z * lax.rsqrt(jnp.sum(z * z, axis=-1, keepdims=True) + self.epsilon), present)


class MUTAN(nn.Module):
    """Multimodal Tucker fusion (Ben-younes et al., 2017), for K modalities and without biases:

        v = sum_{r=1..rank} prod_k (M_kr q_k), with element-wise products over the present modalities and q_k = tanh(W_k x_k)

    This is a Tucker decomposition of the multilinear map, with core slices of the given rank. The last factor matrix of the
    decomposition, W_o, is left to the head.

    width: of the output. inner: width of each q_k. rank: of the core's slices. dropout: rate on the x_k and on the output.
    dtype: of the matmuls.
    """

    width: int = 64
    inner: int = 32
    rank: int = 5
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "width", "inner", "rank")
        rate(self, "dropout")
        vectors, present = pool(tokens, self.dropout, train)
        factors = []
        for name, x in vectors.items():
            q = jnp.tanh(project(x, self.inner, name, self.dtype, bias=False))
            m = project(q, self.rank * self.width, f"{name}_core", self.dtype, bias=False)
            factors.append(m.reshape(-1, self.rank, self.width))
        v = product(factors, present).sum(axis=1)
        return one_token(Dropout(self.dropout, name="dropout")(v, train=train), present)


def _einsum(equation: str, a: Array, b: Array, dtype: Any) -> Array:
    """An einsum of operands in `dtype`, accumulated and returned in float32."""
    return jnp.einsum(equation, a.astype(dtype), b.astype(dtype), preferred_element_type=jnp.float32)
