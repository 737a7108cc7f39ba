"""Fusion through learned latent vectors that attend to the tokens of all modalities."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmjax.fusion.attention import CrossBlock
from mmjax.fusion.early import Embed
from mmjax.fusion.joint import project
from mmjax.nn import Attention, Block, Dropout, Transformer, any_token
from mmjax.nn.attention import gelu_tanh
from mmjax.nn.checks import divides, positive, transformer_fields
from mmjax.types import Tokens

__all__ = ["Perceiver", "PerceiverIO"]


class Perceiver(nn.Module):
    """Latents z read the tokens x of all modalities (`Embed`), then attend to each other, as in Perceiver (Jaegle et al., 2021,
    "Perceiver: general perception with iterative attention", section 3):

        z <- z + A(LN(z), LN'(x)),  z <- z + M(LN''(z)),  then `depth` blocks of self-attention;    `reads` times

    The output is the layer-normalised latents, all valid if any token is. Heads take their mean, as the paper does. The cost is
    proportional to tokens * latents instead of tokens^2.

    Deviations from the paper: tokens are projected to `width`, and learned positions are added instead of concatenated Fourier
    features. Reads and blocks have separate weights, which the paper can share. A read has as many heads as a block; in the
    paper's models it has one. There is a last norm. Perceptrons have `hidden` units, in the paper as many as `width`. GELU
    is exact, and norms have 1e-6. `fusion.published_perceiver.PublishedPerceiver` has none of these deviations.

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


class _Read(nn.Module):
    """x + A(LN(x), LN'(c)), or A alone without `residual`, then x + M(LN''(x)), with one head as wide as the context c, and a
    perceptron as wide as x."""

    residual: bool
    dtype: Any

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], context: Float[Array, "b m e"], mask: Bool[Array, "b m"] | None = None
    ) -> Float[Array, "b n d"]:
        norm = lambda name: nn.LayerNorm(1e-5, name=name)
        width = x.shape[-1]
        attention = Attention(1, context.shape[-1], dtype=self.dtype, output=width, name="attention")
        y = attention(norm("norm1")(x), norm("norm_context")(context), mask).astype(jnp.float32)
        y = x + y if self.residual else y
        z = gelu_tanh(project(norm("norm2")(y), width, "up", self.dtype))
        return y + project(z, width, "down", self.dtype)


class PerceiverIO(nn.Module):
    """Perceiver IO (Jaegle et al., 2022, "Perceiver IO: a general architecture for structured inputs and outputs"), as in
    its authors' code: latents z read the tokens of all modalities, pass the same `depth` blocks of self-attention `blocks`
    times, and are read by queries q:

        z <- z + A(LN(z), LN(x)),  z <- z + M(LN(z));   blocks;   y = A'(LN(q), LN(z)),  y <- y + M'(LN(y))

    With one head in both reads, GELU by tanh, and perceptrons as wide as z or q. As in their multimodal preprocessing, tokens
    get further learned features, the same for all tokens of a modality, so that all modalities are 2 wider than the widest. The
    output are the tokens y, all valid if any token is.

    It equals the authors' code without the input's positions (Fourier features), which encoders provide, and without its last
    linear layer, which is the head. `fusion.published_perceiver.PublishedPerceiver` (Jaegle et al., 2021) has several reads by
    z, and the mean of z instead of queries. The sizes are the defaults of the code.

    latents: number of latents. width: of them. depth: different blocks. blocks: how often they are applied. heads: of
    self-attention; they divide `width`. queries, query_width: number and width of the queries. dtype: of the matmuls.
    """

    latents: int = 512
    width: int = 1024
    depth: int = 6
    blocks: int = 8
    heads: int = 8
    queries: int = 1
    query_width: int = 1024
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        del train
        positive(self, "latents", "depth", "blocks", "queries", "query_width")
        divides(self, "heads", "width")
        names, normal = sorted(tokens), nn.initializers.truncated_normal(0.02)
        widest = max(t.x.shape[-1] for t in tokens.values()) + 2

        def widened(name):
            x = jnp.where(tokens[name].mask[..., None], tokens[name].x, 0).astype(jnp.float32)
            features = jnp.asarray(self.param(f"{name}_padding", normal, (1, 1, widest - x.shape[-1])))
            return jnp.concatenate([x, jnp.broadcast_to(features, (*x.shape[:2], features.shape[-1]))], axis=-1)

        x = jnp.concatenate([widened(name) for name in names], axis=1)
        mask = jnp.concatenate([tokens[name].mask for name in names], axis=1)
        learned = lambda name, *shape: jnp.broadcast_to(self.param(name, normal, (1, *shape)), (x.shape[0], *shape))
        z = _Read(True, self.dtype, name="read")(learned("latents", self.latents, self.width), x, mask)
        settings = {"activation": gelu_tanh, "epsilon": 1e-5, "dtype": self.dtype}
        layers = [Block(self.heads, self.width, **settings, name=f"block{layer}") for layer in range(self.depth)]
        valid = jnp.ones(z.shape[:2], bool)
        for layer in layers * self.blocks:
            z = layer(z, valid)
        y = _Read(False, self.dtype, name="decoder")(learned("queries", self.queries, self.query_width), z)
        return Tokens(y, jnp.broadcast_to(mask.any(axis=1)[:, None], y.shape[:2]))
