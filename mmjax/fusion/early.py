"""Early fusion: the tokens of all modalities side by side, before anything else is computed from them."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.nn import Dropout, Transformer, any_token
from mmjax.types import Tokens


class Embed(nn.Module):
    """One modality's tokens in the common space, W x_i + b + p_i, float32 [b n width]; b and p_i alone where there is no token.

    The bias b is the modality's own vector: what others call its type or modality embedding. p_i is learned, one for each of
    the n places, since the grid of a CNN carries no positions; so n is the one that the model was initialised with.
    """

    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Tokens) -> Float[Array, "b n width"]:
        x = Project(self.width, self.dtype, name="project")(tokens)
        position = self.param("position", nn.initializers.normal(0.02), x.shape[1:])
        return x + position[None]


class Project(nn.Module):
    """One modality's tokens in the common space, W x_i + b, float32 [b n width]; b alone where there is no token."""

    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Tokens) -> Float[Array, "b n width"]:
        x = jnp.where(tokens.mask[..., None], tokens.x, 0)
        return nn.Dense(self.width, dtype=self.dtype, name="dense")(x).astype(jnp.float32)


class EarlyTransformer(nn.Module):
    """One Transformer over [class token; the tokens of all modalities], each embedded by `Embed`; the result is one token, LN
    of the class token. As ViLT (Kim et al., 2021, section 3.1), but on tokens that encoders have computed.

    width: of the tokens. depth: how many pre-norm blocks. heads: of attention, dividing `width`. hidden: units of each block's
    perceptron. dropout: rate on the embedded tokens, on attention weights and on what each residual adds. dtype: of matmuls.
    """

    width: int = 64
    depth: int = 2
    heads: int = 4
    hidden: int = 128
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        names = sorted(tokens)
        there = jnp.stack([any_token(tokens[name]) for name in names]).any(axis=0)
        summary = self.param("class", nn.initializers.normal(0.02), (1, 1, self.width))
        embedded = [Embed(self.width, self.dtype, name=f"{name}_embed")(tokens[name]) for name in names]
        x = jnp.concatenate([jnp.broadcast_to(summary, (len(there), 1, self.width)), *embedded], axis=1)
        mask = jnp.concatenate([jnp.ones((len(there), 1), bool), *(tokens[name].mask for name in names)], axis=1)
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        layers = Transformer(self.depth, self.heads, self.hidden, self.dropout, dtype=self.dtype, name="transformer")
        x = nn.LayerNorm(name="norm")(layers(x, mask, train=train)[:, :1])
        return Tokens(x, there[:, None])
