"""Fusion of what modalities share and of what each has alone."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mmjax.fusion.joint import one_token, pool, project
from mmjax.fusion.outputs import FusedTokens
from mmjax.nn import Block, Dropout
from mmjax.nn.checks import divides, positive, rate
from mmjax.types import Tokens

__all__ = ["MISA"]


class MISA(nn.Module):
    """Modality-invariant and -specific representations (Hazarika et al., 2020, section 3) of the mean tokens x_k:

        u_k = LN(relu(W_k x_k + b_k)),   s_k = sigmoid(S u_k + c),   p_k = sigmoid(P_k u_k + c_k)

    with the same S for all modalities. [p_1, ..., p_K, s_1, ..., s_K] pass one post-norm Transformer layer with ReLU; the
    output is one token, relu(V [...] + a) over the concatenation of its 2 K outputs, with zeros for absent modalities.

    It equals the authors' code up to its last linear layer, which is the head. `published.misa_heads` and `losses.misa_loss`
    add its losses. The reconstruction of u_k is R_k (p_k + s_k) + r_k.

    width: of the u_k, s_k and p_k; the output has K * width units. heads: of the attention; they divide `width`. hidden: units
    of the Transformer layer's perceptron. dropout: rate in the Transformer layer and before the ReLU of the output. dtype: of
    the matmuls.
    """

    width: int = 128
    heads: int = 2
    hidden: int = 2048
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        divides(self, "heads", "width")
        positive(self, "hidden")
        rate(self, "dropout")
        vectors, present = pool(tokens, 0.0, train)
        valid = {name: present[:, k, None] for k, name in enumerate(vectors)}
        layer = lambda x, name, width=self.width: project(x, width, name, self.dtype)
        u = {name: nn.LayerNorm(1e-5, name=f"{name}_norm")(nn.relu(layer(x, name))) for name, x in vectors.items()}
        stacked = layer(jnp.stack(list(u.values()), axis=1), "shared")
        shared = {name: nn.sigmoid(stacked[:, k]) for k, name in enumerate(u)}
        private = {name: nn.sigmoid(layer(x, f"{name}_private")) for name, x in u.items()}

        h, both = jnp.stack([*private.values(), *shared.values()], axis=1), jnp.concatenate([present, present], axis=1)
        settings = {"pre_norm": False, "activation": nn.relu, "epsilon": 1e-5, "dtype": self.dtype}
        h = Block(self.heads, self.hidden, self.dropout, **settings, name="block")(h, both, train=train)
        x = layer(jnp.where(both[..., None], h, 0).reshape(h.shape[0], -1), "dense", len(u) * self.width)
        fused = one_token(nn.relu(Dropout(self.dropout, name="dropout")(x, train=train)), present)

        errors = []
        for name, x in u.items():
            again = layer(private[name] + shared[name], f"{name}_reconstruction")
            errors.append(jnp.where(valid[name][:, 0], jnp.mean((again - x) ** 2, axis=-1), 0))
        error = sum(errors) / jnp.maximum(present.sum(axis=1), 1)
        named = {"shared": shared, "private": private}
        parts = {f"{name}.{kind}": jnp.where(valid[name], x, 0) for kind, of in named.items() for name, x in of.items()}
        return FusedTokens(fused.x, fused.mask, parts | {"reconstruction": error})
