"""Fusion by attention without Transformer blocks: attention pooling and the non-local gate."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mmjax.fusion.attention import others
from mmjax.fusion.early import Project
from mmjax.fusion.joint import one_token, project
from mmjax.nn import Dropout, any_token, masked_softmax
from mmjax.nn.checks import positive, rate
from mmjax.types import Tokens

__all__ = ["AttentionPooling", "NLGate"]


class AttentionPooling(nn.Module):
    """sum_i a_i h_i over the tokens of all modalities, h_i = W_k x_i + b_k for a token of modality k, with the weights

        a = softmax_i(w . tanh(V h_i))

    over the valid tokens. With one token per modality, it is AT-Fusion (Poria et al., 2017, "Multi-level multiple attentions
    for contextual multimodal sentiment analysis"), which weighs modalities; with the tokens of one modality, it is attention
    pooling (Ilse et al., 2018, equation 8). The output is one token.

    width: of the output. hidden: units of V. dropout: rate on the h_i and on the output. dtype: of the matmuls.
    """

    width: int = 64
    hidden: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "width", "hidden")
        rate(self, "dropout")
        names = sorted(tokens)
        h = jnp.concatenate([Project(self.width, self.dtype, name=name)(tokens[name]) for name in names], axis=1)
        h = Dropout(self.dropout, name="in_dropout")(h, train=train)
        score = jnp.tanh(project(h, self.hidden, "attention", self.dtype, bias=False))
        score = project(score, 1, "score", self.dtype, bias=False)[..., 0]
        weight = masked_softmax(score, jnp.concatenate([tokens[name].mask for name in names], axis=1))
        x = Dropout(self.dropout, name="dropout")(jnp.einsum("bn,bnd->bd", weight, h), train=train)
        return one_token(x, jnp.stack([any_token(tokens[name]) for name in names], axis=1))


class NLGate(nn.Module):
    """The non-local gate: q + softmax(q k^T) v for the tokens q = W_q x + b of the modality `query`, over keys and values
    k = W_k y + b, v = W_v y + b of the tokens y of all others.

    Wang, Tran and Feiszli (2020, "What makes training multi-modal classification networks hard?", appendix), after the
    non-local block of Wang et al. (2018); MultiBench's `NLgate` with a layer for each of q, k and v, whose output is
    flattened. The scores are not scaled. Where `query` is absent, its first token is valid, with q = 0: the output is the mean
    of the values.

    query: name of a modality; ValueError if the model has no such modality. width: of q, k, v and the output. dropout: rate on
    the output. dtype: of the matmuls.
    """

    query: str
    width: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "width")
        rate(self, "dropout")
        names = sorted(tokens)
        if self.query not in names:
            raise ValueError(f"NLGate.query is {self.query!r}; it must be one of the modalities {names}")
        context = others(names, self.query)

        def layer(name, kind):
            return Project(self.width, self.dtype, name=f"{name}_{kind}")(tokens[name])

        mask = tokens[self.query].mask
        q = jnp.where(mask[..., None], layer(self.query, "query"), 0)
        k, v = (jnp.concatenate([layer(name, kind) for name in context], axis=1) for kind in ("key", "value"))
        valid = jnp.concatenate([tokens[name].mask for name in context], axis=1)
        scores = jnp.einsum("bnd,bmd->bnm", q, k)
        weight = masked_softmax(scores, jnp.broadcast_to(valid[:, None], scores.shape))
        x = q + jnp.einsum("bnm,bmd->bnd", weight, v)
        mask = mask.at[:, 0].set(mask[:, 0] | (valid.any(axis=1) & ~mask.any(axis=1)))
        return Tokens(Dropout(self.dropout, name="dropout")(x, train=train), mask)
