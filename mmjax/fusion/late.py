"""Late fusion: every modality decides for itself, and the decisions are combined."""

from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp

from mmjax.nn import Dropout, any_token, masked_mean
from mmjax.types import Tokens


class MeanLogits(nn.Module):
    """A classifier of its own for each modality; the token is the mean of the logits of those that are there.

    The logits are final: the head over this fusion is `heads.Mean`, which adds no parameters.
    classes: how many. width: of each classifier's hidden layer. dropout: rate on the pooled tokens and on the hidden layer.
    """

    classes: int
    width: int = 64
    dropout: float = 0.0

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        logits = []
        for name in sorted(tokens):
            x = masked_mean(tokens[name]).astype(jnp.float32)
            x = Dropout(self.dropout, name=f"{name}_in_dropout")(x, train=train)
            x = nn.relu(nn.Dense(self.width, name=f"{name}_hidden")(x))
            x = Dropout(self.dropout, name=f"{name}_dropout")(x, train=train)
            logits.append(nn.Dense(self.classes, name=f"{name}_logits")(x))
        there = jnp.stack([any_token(tokens[name]) for name in sorted(tokens)], axis=1)
        mean = masked_mean(Tokens(jnp.stack(logits, axis=1), there))
        return Tokens(mean[:, None], there.any(axis=1)[:, None])
