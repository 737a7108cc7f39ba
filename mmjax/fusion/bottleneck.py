"""Fusion through bottleneck tokens; the layer at which they start moves it between early and late fusion."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.fusion.early import Embed
from mmjax.fusion.joint import one_token, project
from mmjax.fusion.outputs import FusedTokens
from mmjax.nn import Block, Dropout, any_token, masked_mean
from mmjax.nn.attention import gelu
from mmjax.nn.checks import positive, transformer_fields
from mmjax.types import Tokens

__all__ = ["Bottleneck", "SharedClassifier"]


class Bottleneck(nn.Module):
    """Multimodal bottleneck Transformer (Nagrani et al., 2021). Each modality k has its own class token, positions and layers:

        x_k <- Block_k(x_k)                                                              in layers before `fusion_layer`
        [x_k; z_k] <- Block_k([x_k; z]),  z <- mean of z_k over the present modalities   from `fusion_layer` on (equations 8, 9)

    The output is one token: the mean of the layer-normalised class tokens of the present modalities. A linear head over it
    equals the paper's mean of logits. The authors' code has GELU by tanh, one norm for all modalities, and in training a loss
    of each modality's logits: `published.mbt`.

    tokens: number of bottleneck tokens. activation: of the perceptrons. shared_norm: one norm of the class tokens of all
        modalities, as in the authors' code (`published.mbt`), instead of one for each.
    fusion_layer: from 0 (early fusion, exchange in every layer) to `depth` (late fusion, no exchange); ValueError otherwise.
        Layer i + 1 reads from z what layer i has written, so `depth - 1` has no exchange either, as in the paper.
    depth, width, heads, hidden, dropout, dtype: as in `EarlyTransformer`.
    """

    tokens: int = 4
    fusion_layer: int = 2
    depth: int = 4
    width: int = 64
    heads: int = 4
    hidden: int = 128
    dropout: float = 0.0
    activation: Callable = gelu
    shared_norm: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def streams(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> dict[str, Float[Array, "b width"]]:
        """Each modality's layer-normalised class token; undefined for absent modalities."""
        positive(self, "tokens")
        transformer_fields(self)
        if not 0 <= self.fusion_layer <= self.depth:
            raise ValueError(
                f"Bottleneck.fusion_layer is {self.fusion_layer}; it must be from 0 to Bottleneck.depth, which is {self.depth}"
            )
        names, normal = sorted(tokens), nn.initializers.normal(0.02)
        present = jnp.stack([any_token(tokens[name]) for name in names])

        def tile(name, count):
            return jnp.broadcast_to(self.param(name, normal, (1, count, self.width)), (present.shape[1], count, self.width))

        def start(name):
            x = jnp.concatenate(
                [tile(f"{name}_class", 1), Embed(self.width, self.dtype, name=f"{name}_embed")(tokens[name])], axis=1
            )
            return Dropout(self.dropout, name=f"{name}_dropout")(x, train=train)

        def block(name, layer, x):
            # [class token, the modality's tokens, bottleneck tokens]; the first and the last are always valid.
            first = jnp.ones((x.shape[0], 1), bool)
            last = jnp.ones((x.shape[0], x.shape[1] - 1 - tokens[name].mask.shape[1]), bool)
            mask = jnp.concatenate([first, tokens[name].mask, last], axis=1)
            settings = {"activation": self.activation, "dtype": self.dtype}
            module = Block(self.heads, self.hidden, self.dropout, **settings, name=f"{name}_block{layer}")
            return module(x, mask, train=train)

        x = {name: start(name) for name in names}
        for layer in range(self.fusion_layer):
            x = {name: block(name, layer, x[name]) for name in names}
        z = tile("bottleneck", self.tokens) if self.fusion_layer < self.depth else None
        for layer in range(self.fusion_layer, self.depth):
            y = {name: block(name, layer, jnp.concatenate([x[name], z], axis=1)) for name in names}
            x = {name: y[name][:, : x[name].shape[1]] for name in names}
            z_k = jnp.stack([y[name][:, x[name].shape[1] :] for name in names])
            count = jnp.maximum(present.sum(axis=0), 1).astype(jnp.float32)
            z = jnp.where(present[..., None, None], z_k, 0).sum(axis=0) / count[:, None, None]
        shared = nn.LayerNorm(name="norm") if self.shared_norm else None
        return {name: (shared or nn.LayerNorm(name=f"{name}_norm"))(x[name][:, 0]) for name in names}

    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        classes = self.streams(tokens, train=train)
        present = jnp.stack([any_token(tokens[name]) for name in sorted(tokens)], axis=1)
        mean = masked_mean(Tokens(jnp.stack([classes[name] for name in sorted(tokens)], axis=1), present))
        return Tokens(mean[:, None], present.any(axis=1)[:, None])


class SharedClassifier(nn.Module):
    """The logits W h_k + b of the class token h_k of each modality of a `Bottleneck`, by one classifier.

    The output is their mean over the present modalities, as one token. The outputs "audio.logits" and so on (see
    `FusionOutput`) are those of each modality, zeros where it is absent; MBT's loss in training is the mean of their
    cross-entropies. `published.logit_heads` has the heads.

    bottleneck: a `Bottleneck`. classes: number of classes.
    """

    bottleneck: nn.Module
    classes: int

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "classes")
        present = jnp.stack([any_token(tokens[name]) for name in sorted(tokens)], axis=1)
        h = self.bottleneck.streams(tokens, train=train)
        logits = project(jnp.stack([h[name] for name in sorted(h)], axis=1), self.classes, "dense", jnp.float32)
        fused = one_token(masked_mean(Tokens(logits, present)), present)
        each = jnp.where(present[..., None], logits, 0)
        return FusedTokens(fused.x, fused.mask, {f"{name}.logits": each[:, k] for k, name in enumerate(sorted(h))})
