"""Fusion through bottleneck tokens: one number, the layer where they begin, leads from early to late fusion."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.fusion.early import Embed
from mmjax.nn import Block, Dropout, any_token, masked_mean
from mmjax.types import Tokens


class Bottleneck(nn.Module):
    """Multimodal bottleneck Transformer (Nagrani et al., 2021). Each modality k has its own class token, positions and layers:

        x_k <- Block_k(x_k)                           in layers before `fusion_layer`,
        [x_k; z_k] <- Block_k([x_k; z]),  z <- mean of z_k over the modalities that are there     from it on (equations 8, 9).

    The result is one token: the mean of the normed class tokens of the modalities that are there, so that a linear head gives
    the paper's mean of logits.

    fusion_layer: 0 (early: they exchange from the first layer on) to depth (late: never). What one modality writes into z in a
    layer, the others read in the next: with depth - 1 nothing arrives yet, as in the paper. tokens: how many bottleneck
    tokens. width, heads, hidden, dropout, dtype: as of `EarlyTransformer`. ValueError where the layer is out of range.
    """

    tokens: int = 4
    fusion_layer: int = 2
    depth: int = 4
    width: int = 64
    heads: int = 4
    hidden: int = 128
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def streams(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> dict[str, Float[Array, "b width"]]:
        """Each modality's normed class token, before they are averaged; that of an absent one means nothing."""
        if not 0 <= self.fusion_layer <= self.depth:
            raise ValueError(f"Bottleneck.fusion_layer is {self.fusion_layer}; it must be from 0 to the depth, {self.depth}")
        names, normal = sorted(tokens), nn.initializers.normal(0.02)
        there = jnp.stack([any_token(tokens[name]) for name in names])

        def tile(name, count):
            return jnp.broadcast_to(self.param(name, normal, (1, count, self.width)), (there.shape[1], count, self.width))

        def start(name):
            x = jnp.concatenate(
                [tile(f"{name}_class", 1), Embed(self.width, self.dtype, name=f"{name}_embed")(tokens[name])], axis=1
            )
            return Dropout(self.dropout, name=f"{name}_dropout")(x, train=train)

        def block(name, layer, x):
            # A class token stands ahead of a modality's tokens, and bottleneck tokens behind: both are always there.
            ahead = jnp.ones((len(x), 1), bool)
            behind = jnp.ones((len(x), x.shape[1] - 1 - tokens[name].mask.shape[1]), bool)
            mask = jnp.concatenate([ahead, tokens[name].mask, behind], axis=1)
            module = Block(self.heads, self.hidden, self.dropout, dtype=self.dtype, name=f"{name}_block{layer}")
            return module(x, mask, train=train)

        x = {name: start(name) for name in names}
        for layer in range(self.fusion_layer):
            x = {name: block(name, layer, x[name]) for name in names}
        z = tile("bottleneck", self.tokens) if self.fusion_layer < self.depth else None
        for layer in range(self.fusion_layer, self.depth):
            y = {name: block(name, layer, jnp.concatenate([x[name], z], axis=1)) for name in names}
            x = {name: y[name][:, : x[name].shape[1]] for name in names}
            written = jnp.stack([y[name][:, x[name].shape[1] :] for name in names])
            count = jnp.maximum(there.sum(axis=0), 1).astype(jnp.float32)
            z = jnp.where(there[..., None, None], written, 0).sum(axis=0) / count[:, None, None]
        return {name: nn.LayerNorm(name=f"{name}_norm")(x[name][:, 0]) for name in names}

    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        classes = self.streams(tokens, train=train)
        there = jnp.stack([any_token(tokens[name]) for name in sorted(tokens)], axis=1)
        mean = masked_mean(Tokens(jnp.stack([classes[name] for name in sorted(tokens)], axis=1), there))
        return Tokens(mean[:, None], there.any(axis=1)[:, None])
