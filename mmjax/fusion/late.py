"""Late fusion: every modality decides for itself, and the decisions are combined.

All give one token that is the final logits, so the head over them is `heads.Mean`, which adds no parameters.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmjax.fusion.joint import one_token, pooled, project
from mmjax.nn import Dropout, masked_mean, masked_softmax
from mmjax.types import Tokens


def unimodal_logits(
    tokens: Mapping[str, Tokens], classes: int, width: int, dropout: float, dtype: Any, train: bool
) -> tuple[Float[Array, "b k c"], Bool[Array, "b k"]]:
    """The logits of a classifier for each modality, W relu(V x_k + b) + c, and which modalities are there.

    Called inside a compact method, whose module then owns the classifiers.
    """
    vectors, there = pooled(tokens, dropout, train)
    logits = []
    for name, x in vectors.items():
        x = nn.relu(project(x, width, f"{name}_hidden", dtype))
        x = Dropout(dropout, name=f"{name}_dropout")(x, train=train)
        logits.append(project(x, classes, f"{name}_logits", dtype))
    return jnp.stack(logits, axis=1), there


class MeanLogits(nn.Module):
    """The mean of the unimodal logits of those that are there.

    classes: how many. width: of each hidden layer. dropout: rate on the x_k and on the hidden layers. dtype: of the matmuls.
    """

    classes: int
    width: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        logits, there = unimodal_logits(tokens, self.classes, self.width, self.dropout, self.dtype, train)
        return one_token(masked_mean(Tokens(logits, there)), there)


class WeightedLogits(nn.Module):
    """sum_k w_k logits_k, the weights w = softmax over the modalities that are there of one learned number each.

    The numbers start at zero, and the result as `MeanLogits`.

    classes: how many. width: of each hidden layer. dropout: rate on the x_k and on the hidden layers. dtype: of the matmuls.
    """

    classes: int
    width: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        logits, there = unimodal_logits(tokens, self.classes, self.width, self.dropout, self.dtype, train)
        score = self.param("weight", nn.initializers.zeros, (there.shape[1],))
        weight = masked_softmax(jnp.broadcast_to(score[None], there.shape), there)
        return one_token(jnp.einsum("bk,bkc->bc", weight, logits), there)


class ProductOfExperts(nn.Module):
    """Product of experts (Hinton, 2002): p(c) = prod_k p_k(c) / sum_c' prod_k p_k(c'), over the modalities that are there.

    p_k is the softmax of the unimodal logits, and the token is log p, normalised: what a modality is sure of, no other can
    vote away.

    classes: how many. width: of each hidden layer. dropout: rate on the x_k and on the hidden layers. dtype: of the matmuls.
    """

    classes: int
    width: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        logits, there = unimodal_logits(tokens, self.classes, self.width, self.dropout, self.dtype, train)
        experts = jnp.where(there[..., None], nn.log_softmax(logits), 0)
        return one_token(nn.log_softmax(experts.sum(axis=1)), there)


class Stacked(nn.Module):
    """Stacked generalisation (Wolpert, 1992): a linear classifier over the unimodal class probabilities [p_1; ...; p_K].

    An absent modality's probabilities are zeros, unlike any distribution. Everything is trained at once, and gradients flow
    into the unimodal classifiers: nothing else trains them, unless the model has auxiliary heads. (Wolpert fits them first,
    and the stacked one on examples that they have not seen.)

    classes: how many. width: of each hidden layer. dropout: rate on the x_k and on the hidden layers. dtype: of the matmuls.
    """

    classes: int
    width: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        logits, there = unimodal_logits(tokens, self.classes, self.width, self.dropout, self.dtype, train)
        probabilities = jnp.where(there[..., None], nn.softmax(logits), 0)
        return one_token(project(probabilities.reshape(there.shape[0], -1), self.classes, "stack", self.dtype), there)
