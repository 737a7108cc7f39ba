"""Joint fusion: every modality pooled to one vector, the vectors combined by a learned layer.

In all of them x_k is the mean token of modality k in float32, or zeros where it is absent, and the result is one token.
"""

from collections.abc import Mapping
from functools import reduce
from operator import mul
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmjax.nn import Dropout, any_token, masked_mean
from mmjax.types import Tokens


def pooled(tokens: Mapping[str, Tokens], rate: float, train: bool) -> tuple[dict[str, Array], Bool[Array, "b k"]]:
    """{modality: Float[b d_k]}, mean tokens in the order of names, float32, after dropout; and which modalities are there.

    Absent ones are zeros. Called inside a compact method, whose module then owns the dropouts.
    """
    names = sorted(tokens)
    means = {name: masked_mean(tokens[name]).astype(jnp.float32) for name in names}
    vectors = {name: Dropout(rate, name=f"{name}_in_dropout")(means[name], train=train) for name in names}
    return vectors, jnp.stack([any_token(tokens[name]) for name in names], axis=1)


def project(x: Float[Array, "*b d"], width: int, name: str, dtype: Any, bias: bool = True) -> Float[Array, "*b w"]:
    """W x (+ b): the matmul in `dtype`, the result in float32. Called inside a compact method."""
    return nn.Dense(width, use_bias=bias, dtype=dtype, name=name)(x).astype(jnp.float32)


def one_token(x: Float[Array, "b d"], there: Bool[Array, "b k"]) -> Tokens:
    """The fused vector as one token, which is there where any modality is."""
    return Tokens(x[:, None], there.any(axis=1)[:, None])


def product(factors: list[Float[Array, "b ..."]], there: Bool[Array, "b k"]) -> Float[Array, "b ..."]:
    """Element-wise product over the modalities; an absent one is the factor 1."""
    shape = (-1,) + (1,) * (factors[0].ndim - 1)
    return reduce(mul, [jnp.where(there[:, k].reshape(shape), factor, 1) for k, factor in enumerate(factors)])


class Concat(nn.Module):
    """relu(W [x_1; ...; x_K] + b), with more such layers before it if `hidden` has any.

    width: of the result. dropout: rate on the concatenation, on each hidden layer and on the result.
    hidden: widths of the layers between the concatenation and the last one. dtype: of the matmuls.
    """

    width: int = 64
    dropout: float = 0.0
    hidden: tuple[int, ...] = ()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        vectors, there = pooled(tokens, 0.0, train)
        x = Dropout(self.dropout, name="in_dropout")(jnp.concatenate(list(vectors.values()), axis=-1), train=train)
        for layer, width in enumerate(self.hidden):
            x = nn.relu(project(x, width, f"hidden{layer}", self.dtype))
            x = Dropout(self.dropout, name=f"hidden{layer}_dropout")(x, train=train)
        x = nn.relu(project(x, self.width, "dense", self.dtype))
        return one_token(Dropout(self.dropout, name="dropout")(x, train=train), there)


class WeightedSum(nn.Module):
    """v = sum_k alpha_k (W_k x_k + b_k), one learned number alpha_k for each modality: v = alpha f + beta g for many.

    Every alpha_k starts at 1/K, so that v starts as the mean. Where only a set P of the K modalities is there,
    v = K/|P| sum_{k in P} alpha_k (W_k x_k + b_k): the plain equation if all are, and a result of the same size if not.
    (Dividing by the sum of the alphas that are there would be another way, but learned numbers may add up to zero.)

    width: of the result. dropout: rate on the x_k and on the result. dtype: of the matmuls.
    """

    width: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        vectors, there = pooled(tokens, self.dropout, train)
        h = jnp.stack([project(x, self.width, name, self.dtype) for name, x in vectors.items()], axis=1)
        count = len(vectors)
        alpha = self.param("alpha", nn.initializers.constant(1 / count), (count,))
        scale = count / jnp.maximum(there.sum(axis=1, keepdims=True), 1)
        x = jnp.einsum("bk,bkd->bd", there * scale * alpha[None], h)
        return one_token(Dropout(self.dropout, name="dropout")(x, train=train), there)


class Product(nn.Module):
    """relu(prod_k (W_k x_k + b_k)), element by element; an absent modality is the factor 1.

    As in the multiplicative fusion of image and question by Antol et al. (2015), "VQA: visual question answering", with the
    ReLU after the product.

    width: of the result. dropout: rate on the x_k and on the result. dtype: of the matmuls.
    """

    width: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        vectors, there = pooled(tokens, self.dropout, train)
        x = nn.relu(product([project(x, self.width, name, self.dtype) for name, x in vectors.items()], there))
        return one_token(Dropout(self.dropout, name="dropout")(x, train=train), there)


class FiLM(nn.Module):
    """Feature-wise linear modulation (Perez et al., 2018): the other modalities scale and shift the tokens of one.

        h = W t + b for each token t of the target;  then h <- gamma_k * h + beta_k for each other modality k in the order of
        names, with gamma_k = 1 + U_k x_k + u_k and beta_k = V_k x_k + v_k;  the result is relu(h)

    (equations 1 and 2; gamma as a difference from 1, and the ReLU, as in the paper's network). All tokens of the target are
    kept. An absent condition is the identity. Where the target is absent but a condition is not, the first token stands in for
    it with h = 0 before the conditions, so that with one condition it is relu(beta).

    target: the modality that is conditioned. width: of the tokens. dropout: rate on the x_k and on the result.
    dtype: of the matmuls.
    """

    target: str
    width: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        if self.target not in tokens:
            raise ValueError(f"FiLM.target is {self.target!r}; the modalities are {sorted(tokens)}")
        target = tokens[self.target]
        seen = target.mask[..., None]
        h = jnp.where(seen, project(jnp.where(seen, target.x, 0), self.width, self.target, self.dtype), 0)
        mask = target.mask
        conditions = {name: t for name, t in tokens.items() if name != self.target}
        if conditions:
            vectors, there = pooled(conditions, self.dropout, train)
            for k, (name, x) in enumerate(vectors.items()):
                change = jnp.where(there[:, k, None], project(x, 2 * self.width, f"{name}_film", self.dtype), 0)
                gamma, beta = jnp.split(change[:, None], 2, axis=-1)
                h = (1 + gamma) * h + beta
            stand_in = there.any(axis=1) & ~any_token(target)
            mask = mask.at[:, 0].set(mask[:, 0] | stand_in)
        return Tokens(Dropout(self.dropout, name="dropout")(nn.relu(h), train=train), mask)


class GMU(nn.Module):
    """Gated multimodal unit (Arevalo et al., 2017), without biases, as published:

        h_k = tanh(W_k x_k),  z_k = sigmoid(Z_k [x_1; ...; x_K]),  v = sum_k z_k * h_k,

    and for two modalities, in the order of their names, the bimodal form with one gate: v = z * h_1 + (1 - z) * h_2.
    An absent modality is x_k = 0: its own term is zero, and the gates see zeros in its place.

    width: of the result. dropout: rate on the x_k and on the result. dtype: of the matmuls.
    """

    width: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        vectors, there = pooled(tokens, self.dropout, train)
        h = [jnp.tanh(project(x, self.width, name, self.dtype, bias=False)) for name, x in vectors.items()]
        gates = 1 if len(h) == 2 else len(h)
        joined = jnp.concatenate(list(vectors.values()), axis=-1)
        z = nn.sigmoid(project(joined, gates * self.width, "gate", self.dtype, bias=False))
        z = [z, 1 - z] if len(h) == 2 else jnp.split(z, gates, axis=-1)
        x = sum(z_k * h_k for z_k, h_k in zip(z, h))
        return one_token(Dropout(self.dropout, name="dropout")(x, train=train), there)
