"""The encoder of a model without inputs, such as a language model: no tokens."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.types import Tokens

__all__ = ["NoTokens"]


class NoTokens(nn.Module):
    """Any input -> no tokens, [b 0 width]. No parameters.

    With it, a language model is a model of one modality whose decoder has no prefix:

        encoders={"text": NoTokens()}, fusion=Append(), decoders={"text": LanguageModel(...)}

    width: of the missing tokens; that of other modalities, if there are any.
    """

    width: int = 1

    def __call__(self, x: Any, *, train: bool = False) -> Tokens:
        batch = jax.tree.leaves(x)[0].shape[0]
        return Tokens(jnp.zeros((batch, 0, self.width)), jnp.zeros((batch, 0), bool))
