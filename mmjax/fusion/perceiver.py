"""Fusion through a few learned vectors that read the tokens of every modality."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mmjax.fusion.attention import CrossBlock
from mmjax.fusion.early import Embed
from mmjax.nn import Dropout, Transformer, any_token
from mmjax.types import Tokens


class Perceiver(nn.Module):
    """Learned latent vectors attend to the tokens of all modalities (`Embed`, `CrossBlock`), then to each other
    (`Transformer`); the result is the normed latents, all there if any token is. After Jaegle et al. (2021), "Perceiver".

    The cost grows with tokens * latents, not with tokens^2. Each of the `reads` has weights of its own (the paper may share
    them), and the tokens are the same in each.

    latents: how many. reads: how many times the latents attend to the tokens. depth: blocks of self-attention after each read.
    width, heads, hidden, dropout, dtype: as of `EarlyTransformer`.
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
        names, settings = sorted(tokens), (self.heads, self.hidden, self.dropout)
        embedded = [Embed(self.width, self.dtype, name=f"{name}_embed")(tokens[name]) for name in names]
        x = Dropout(self.dropout, name="dropout")(jnp.concatenate(embedded, axis=1), train=train)
        mask = jnp.concatenate([tokens[name].mask for name in names], axis=1)
        learned = self.param("latents", nn.initializers.truncated_normal(0.02), (1, self.latents, self.width))
        z = jnp.broadcast_to(learned, (len(x), *learned.shape[1:]))
        everywhere = jnp.ones(z.shape[:2], bool)
        for read in range(self.reads):
            z = CrossBlock(*settings, self.dtype, name=f"read{read}")(z, x, mask, train=train)
            layers = Transformer(self.depth, *settings, dtype=self.dtype, name=f"transformer{read}")
            z = layers(z, everywhere, train=train)
        there = any_token(Tokens(x, mask))[:, None]
        return Tokens(nn.LayerNorm(name="norm")(z), everywhere & there)
