"""Fusion through learned latent vectors that attend to the tokens of all modalities."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mmjax.fusion.attention import CrossBlock
from mmjax.fusion.early import Embed
from mmjax.nn import Dropout, Transformer, any_token
from mmjax.nn.checks import positive, transformer_fields
from mmjax.types import Tokens

__all__ = ["Perceiver"]


class Perceiver(nn.Module):
    """Latents attend to the tokens of all modalities (`Embed`, `CrossBlock`), then to each other (`Transformer`), as in
    Perceiver (Jaegle et al., 2021). The output is the layer-normalised latents, all valid if any token is.

    The cost is proportional to tokens * latents instead of tokens^2. Each read has separate weights (the paper can share them).
    The authors' code has one head in cross-attention, perceptrons of `width` units, GELU by tanh, Fourier features as
    positions, and a decoder that attends to the latents.

    latents: number of latents. reads: number of cross-attentions to the tokens. depth: self-attention blocks after each read.
    width, heads, hidden, dropout, dtype: as in `EarlyTransformer`.
    """

    latents: int = 8
    width: int = 64
    reads: int = 1
    depth: int = 2
    heads: int = 4
    hidden: int = 128
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "latents", "reads")
        transformer_fields(self)
        names, settings = sorted(tokens), (self.heads, self.hidden, self.dropout)
        embedded = [Embed(self.width, self.dtype, name=f"{name}_embed")(tokens[name]) for name in names]
        x = Dropout(self.dropout, name="dropout")(jnp.concatenate(embedded, axis=1), train=train)
        mask = jnp.concatenate([tokens[name].mask for name in names], axis=1)
        learned = self.param("latents", nn.initializers.truncated_normal(0.02), (1, self.latents, self.width))
        z = jnp.broadcast_to(learned, (x.shape[0], *learned.shape[1:]))
        all_valid = jnp.ones(z.shape[:2], bool)
        for read in range(self.reads):
            z = CrossBlock(*settings, self.dtype, name=f"read{read}")(z, x, mask, train=train)
            layers = Transformer(self.depth, *settings, dtype=self.dtype, name=f"transformer{read}")
            z = layers(z, all_valid, train=train)
        present = any_token(Tokens(x, mask))[:, None]
        return Tokens(nn.LayerNorm(name="norm")(z), all_valid & present)
