"""Joint fusion: every modality pooled to one vector, the vectors combined by a learned layer."""

from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp

from mmjax.nn import Dropout, any_token, masked_mean
from mmjax.types import Tokens


class Concat(nn.Module):
    """relu(W [h_1; ...; h_K] + b), with h_k the mean token of modality k, or zeros where it is absent; one token.

    width: of the result. dropout: rate on the concatenation and on the result.
    """

    width: int = 64
    dropout: float = 0.0

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        pooled = [masked_mean(tokens[name]).astype(jnp.float32) for name in sorted(tokens)]
        x = Dropout(self.dropout, name="in_dropout")(jnp.concatenate(pooled, axis=-1), train=train)
        x = Dropout(self.dropout, name="dropout")(nn.relu(nn.Dense(self.width, name="dense")(x)), train=train)
        there = jnp.stack([any_token(t) for t in tokens.values()]).any(axis=0)
        return Tokens(x[:, None], there[:, None])
