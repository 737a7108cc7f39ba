"""Joint fusion: each modality is pooled to one vector, and a learned layer combines the vectors.

In each fusion, x_k is the mean token of modality k in float32, or zeros if it is absent. The output is one token (except
`FiLM`).
"""

from collections.abc import Mapping
from functools import reduce
from operator import mul
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmjax.nn import Dropout, any_token, masked_mean
from mmjax.nn.checks import positive, rate
from mmjax.types import Tokens

__all__ = ["GMU", "Concat", "FiLM", "Product", "WeightedSum", "one_token", "pool", "product", "project"]


def pool(tokens: Mapping[str, Tokens], dropout: float, train: bool) -> tuple[dict[str, Array], Bool[Array, "b k"]]:
    """The mean tokens {modality: Float[b d_k]}, sorted by name, in float32 and after dropout, and Bool[b k], True for present
    modalities.

    Absent modalities are zeros. Call it in a compact method; the dropout layers become submodules of that module.
    """
    names = sorted(tokens)
    means = {name: masked_mean(tokens[name]).astype(jnp.float32) for name in names}
    vectors = {name: Dropout(dropout, name=f"{name}_in_dropout")(means[name], train=train) for name in names}
    return vectors, jnp.stack([any_token(tokens[name]) for name in names], axis=1)


def project(x: Float[Array, "*b d"], width: int, name: str, dtype: Any, bias: bool = True) -> Float[Array, "*b w"]:
    """The dense layer W x (+ b) named `name`: the matmul in `dtype`, the output in float32. Call it in a compact method."""
    return nn.Dense(width, use_bias=bias, dtype=dtype, name=name)(x).astype(jnp.float32)


def one_token(x: Float[Array, "b d"], present: Bool[Array, "b k"]) -> Tokens:
    """The fused vector as one token, which is valid if any modality is present."""
    return Tokens(x[:, None], present.any(axis=1)[:, None])


def product(factors: list[Float[Array, "b ..."]], present: Bool[Array, "b k"]) -> Float[Array, "b ..."]:
    """Element-wise product over the present modalities; absent ones are replaced by 1."""
    shape = (-1,) + (1,) * (factors[0].ndim - 1)
    return reduce(mul, [jnp.where(present[:, k].reshape(shape), factor, 1) for k, factor in enumerate(factors)])


class Concat(nn.Module):
    """relu(W [x_1; ...; x_K] + b), with optional hidden layers of the same form before it.

    width: of the output. dropout: rate on the concatenation, on each hidden layer and on the output. hidden: widths of the
    hidden layers. dtype: of the matmuls.
    """

    width: int = 64
    dropout: float = 0.0
    hidden: tuple[int, ...] = ()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "width", "hidden")
        rate(self, "dropout")
        vectors, present = pool(tokens, 0.0, train)
        x = Dropout(self.dropout, name="in_dropout")(jnp.concatenate(list(vectors.values()), axis=-1), train=train)
        for layer, width in enumerate(self.hidden):
            x = nn.relu(project(x, width, f"hidden{layer}", self.dtype))
            x = Dropout(self.dropout, name=f"hidden{layer}_dropout")(x, train=train)
        x = nn.relu(project(x, self.width, "dense", self.dtype))
        return one_token(Dropout(self.dropout, name="dropout")(x, train=train), present)


class WeightedSum(nn.Module):
    """v = sum_k alpha_k (W_k x_k + b_k), with one learned number alpha_k per modality: v = alpha f + beta g for K modalities.

    All alpha_k are initialised to 1/K. If only a subset P of the K modalities is present,
    v = K/|P| sum_{k in P} alpha_k (W_k x_k + b_k), which keeps the magnitude. (Division by the sum of the present alphas would
    fail where it is zero.)

    width: of the output. dropout: rate on the x_k and on the output. dtype: of the matmuls.
    """

    width: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "width")
        rate(self, "dropout")
        vectors, present = pool(tokens, self.dropout, train)
        h = jnp.stack([project(x, self.width, name, self.dtype) for name, x in vectors.items()], axis=1)
        count = len(vectors)
        alpha = self.param("alpha", nn.initializers.constant(1 / count), (count,))
        scale = count / jnp.maximum(present.sum(axis=1, keepdims=True), 1)
        x = jnp.einsum("bk,bkd->bd", present * scale * alpha[None], h)
        return one_token(Dropout(self.dropout, name="dropout")(x, train=train), present)


class Product(nn.Module):
    """relu(prod_k (W_k x_k + b_k)), an element-wise product over the present modalities.

    The fusion of image and question by Antol et al. (2015), "VQA: visual question answering", with the ReLU after the product.

    width: of the output. dropout: rate on the x_k and on the output. dtype: of the matmuls.
    """

    width: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "width")
        rate(self, "dropout")
        vectors, present = pool(tokens, self.dropout, train)
        x = nn.relu(product([project(x, self.width, name, self.dtype) for name, x in vectors.items()], present))
        return one_token(Dropout(self.dropout, name="dropout")(x, train=train), present)


class FiLM(nn.Module):
    """Feature-wise linear modulation (Perez et al., 2018): the other modalities scale and shift the tokens of one modality.

        h = W t + b for each token t of the target;  then h <- gamma_k * h + beta_k for each other modality k, sorted by name,
        with gamma_k = 1 + U_k x_k + u_k and beta_k = V_k x_k + v_k;  the output is relu(h)

    (equations 1 and 2; gamma as a difference from 1 and the ReLU are those of the paper's network, which is `FiLMBlocks`). The
    output has all tokens of the target. An absent condition is the identity. If the target is absent but a condition is
    present, the first token is valid and starts from h = 0; with a single condition, it equals relu(beta).

    target: the conditioned modality; ValueError if the model has no such modality. width: of the tokens. dropout: rate on the
    x_k and on the output. dtype: of the matmuls.
    """

    target: str
    width: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "width")
        rate(self, "dropout")
        if self.target not in tokens:
            raise ValueError(f"FiLM.target is {self.target!r}; it must be one of the modalities {sorted(tokens)}")
        target = tokens[self.target]
        valid = target.mask[..., None]
        h = jnp.where(valid, project(jnp.where(valid, target.x, 0), self.width, self.target, self.dtype), 0)
        mask = target.mask
        conditions = {name: t for name, t in tokens.items() if name != self.target}
        if conditions:
            vectors, present = pool(conditions, self.dropout, train)
            for k, (name, x) in enumerate(vectors.items()):
                change = jnp.where(present[:, k, None], project(x, 2 * self.width, f"{name}_film", self.dtype), 0)
                gamma, beta = jnp.split(change[:, None], 2, axis=-1)
                h = (1 + gamma) * h + beta
            only_conditions = present.any(axis=1) & ~any_token(target)
            mask = mask.at[:, 0].set(mask[:, 0] | only_conditions)
        return Tokens(Dropout(self.dropout, name="dropout")(nn.relu(h), train=train), mask)


class GMU(nn.Module):
    """Gated multimodal unit (Arevalo et al., 2017), without biases, as published:

        h_k = tanh(W_k x_k),  z_k = sigmoid(Z_k [x_1; ...; x_K]),  v = sum_k z_k * h_k

    Two modalities, sorted by name, use the bimodal form with one gate: v = z * h_1 + (1 - z) * h_2. An absent modality has
    x_k = 0, in its own term and in the input of the gates.

    width: of the output. dropout: rate on the x_k and on the output. dtype: of the matmuls.
    """

    width: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "width")
        rate(self, "dropout")
        vectors, present = pool(tokens, self.dropout, train)
        h = [jnp.tanh(project(x, self.width, name, self.dtype, bias=False)) for name, x in vectors.items()]
        gates = 1 if len(h) == 2 else len(h)
        joined = jnp.concatenate(list(vectors.values()), axis=-1)
        z = nn.sigmoid(project(joined, gates * self.width, "gate", self.dtype, bias=False))
        z = [z, 1 - z] if len(h) == 2 else jnp.split(z, gates, axis=-1)
        x = sum(z_k * h_k for z_k, h_k in zip(z, h))
        return one_token(Dropout(self.dropout, name="dropout")(x, train=train), present)
