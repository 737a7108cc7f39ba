"""Heads: Tokens -> the outputs of one task. What they pool is zero where no token is there, so outputs are always finite."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.nn import masked_mean
from mmjax.types import Tokens


class Classifier(nn.Module):
    """Mean token -> float32 logits [b classes]; their softmax is the probability of each class."""

    classes: int

    @nn.compact
    def __call__(self, tokens: Tokens, *, train: bool = False) -> Float[Array, "b classes"]:
        return nn.Dense(self.classes, name="dense")(masked_mean(tokens).astype(jnp.float32))


class Mean(nn.Module):
    """The mean token itself, [b d], float32: for fusions whose tokens are outputs already, such as `MeanLogits`."""

    def __call__(self, tokens: Tokens, *, train: bool = False) -> Float[Array, "b d"]:
        return masked_mean(tokens).astype(jnp.float32)
