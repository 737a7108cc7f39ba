"""Fusion by cross-modal attention: the tokens of one modality attend to the tokens of other modalities.

A model with a single modality attends to itself. If all other modalities are absent in an example, attention adds its bias
only, and the residual connection passes the modality's own tokens on.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmjax.fusion.early import Embed, Project
from mmjax.nn import Attention, Block, Dropout, Transformer, any_token, masked_mean
from mmjax.nn.attention import gelu
from mmjax.nn.checks import transformer_fields
from mmjax.nn.dense import Dense
from mmjax.types import Tokens

__all__ = ["CoAttention", "CrossAttention", "CrossBlock", "MulT", "others"]


class CrossBlock(nn.Module):
    """x <- x + A(LN(x), LN'(c)) with multi-head attention A from x to a context c, then x + M(LN''(x)) with a perceptron M.

    A pre-norm `nn.Block` with cross-attention instead of self-attention; the context has a separate norm. heads, hidden,
    dropout, dtype: as in `nn.Block`.
    """

    heads: int
    hidden: int
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        context: Float[Array, "b m e"],
        mask: Bool[Array, "b m"],
        *,
        train: bool = False,
    ) -> Float[Array, "b n d"]:
        query, keys = nn.LayerNorm(name="norm1")(x), nn.LayerNorm(name="norm_context")(context)
        attention = Attention(self.heads, dropout=self.dropout, dtype=self.dtype, name="attention")
        attended = attention(query, keys, mask, train=train)
        x = x + Dropout(self.dropout, name="dropout1")(attended.astype(jnp.float32), train=train)
        y = Dense(self.hidden, dtype=self.dtype, name="up")(nn.LayerNorm(name="norm2")(x))
        y = Dense(x.shape[-1], dtype=self.dtype, name="down")(gelu(y))
        return x + Dropout(self.dropout, name="dropout2")(y.astype(jnp.float32), train=train)


def others(names: list[str], name: str) -> list[str]:
    """The modalities that `name` attends to: all others, or itself if it is the only one."""
    return [other for other in names if other != name] or [name]


class CrossAttention(nn.Module):
    """The tokens of the modality `query` attend to the tokens of all other modalities, in `depth` layers of `CrossBlock`; the
    output is the layer norm of the query's tokens.

    The context is the same in every layer. Where `query` is absent, a learned token attends in its place, so that the other
    modalities still contribute; elsewhere that token is masked. No positions are added; encoders provide them.

    query: name of a modality; ValueError if the model has no such modality. width, depth, heads, hidden, dropout, dtype: as in
    `EarlyTransformer`.
    """

    query: str
    width: int = 64
    depth: int = 1
    heads: int = 4
    hidden: int = 128
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        transformer_fields(self)
        names = sorted(tokens)
        if self.query not in names:
            raise ValueError(f"CrossAttention.query is {self.query!r}; it must be one of the modalities {names}")
        x = {name: Project(self.width, self.dtype, name=f"{name}_project")(tokens[name]) for name in names}
        context = jnp.concatenate([x[name] for name in others(names, self.query)], axis=1)
        mask = jnp.concatenate([tokens[name].mask for name in others(names, self.query)], axis=1)
        context = Dropout(self.dropout, name="context_dropout")(context, train=train)

        present = jnp.stack([any_token(tokens[name]) for name in names]).any(axis=0)
        stand_in = self.param("stand_in", nn.initializers.normal(0.02), (1, 1, self.width))
        y = jnp.concatenate([x[self.query], jnp.broadcast_to(stand_in, (present.shape[0], 1, self.width))], axis=1)
        y = Dropout(self.dropout, name="dropout")(y, train=train)
        for layer in range(self.depth):
            block = CrossBlock(self.heads, self.hidden, self.dropout, self.dtype, name=f"block{layer}")
            y = block(y, context, mask, train=train)
        fused = jnp.concatenate([tokens[self.query].mask, (present & ~any_token(tokens[self.query]))[:, None]], axis=1)
        return Tokens(nn.LayerNorm(name="norm")(y), fused)


class CoAttention(nn.Module):
    """Every modality attends to the tokens of all others (`CrossBlock`) and then to its own (`nn.Block`), in `depth` layers.

    The output is one token of width K * width: the concatenated means of each modality's normalised tokens, with zeros for
    absent modalities. This is the co-attentional Transformer layer of ViLBERT (Lu et al., 2019, section 2.1) for K modalities,
    with pre-norm and with means instead of first tokens; `ViLBERT` is the code. No positions are added; encoders provide them.

    width, depth, heads, hidden, dropout, dtype: as in `EarlyTransformer`.
    """

    width: int = 64
    depth: int = 1
    heads: int = 4
    hidden: int = 128
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        transformer_fields(self)
        names, settings = sorted(tokens), (self.heads, self.hidden, self.dropout)
        x = {name: Project(self.width, self.dtype, name=f"{name}_project")(tokens[name]) for name in names}
        x = {name: Dropout(self.dropout, name=f"{name}_dropout")(x[name], train=train) for name in names}
        for layer in range(self.depth):
            before = x
            for name in names:
                context = jnp.concatenate([before[other] for other in others(names, name)], axis=1)
                mask = jnp.concatenate([tokens[other].mask for other in others(names, name)], axis=1)
                cross = CrossBlock(*settings, self.dtype, name=f"{name}_cross{layer}")
                block = Block(*settings, dtype=self.dtype, name=f"{name}_block{layer}")
                y = block(cross(before[name], context, mask, train=train), tokens[name].mask, train=train)
                x = x | {name: y}
        outputs = [Tokens(nn.LayerNorm(name=f"{name}_norm")(x[name]), tokens[name].mask) for name in names]
        present = jnp.stack([any_token(t) for t in outputs]).any(axis=0)
        return Tokens(jnp.concatenate([masked_mean(t) for t in outputs], axis=-1)[:, None], present[:, None])


class MulT(nn.Module):
    """The multimodal Transformer (Tsai et al., 2019). For each target a and source s, a stack of `depth` cross-modal blocks:

        z_0 = x_a,   z_{i+1} = CrossBlock(z_i, x_s)     (equation 4; x_s is the embedding in every layer)

    The layer-normalised outputs of a target's K - 1 stacks are concatenated as features and pass a self-attention Transformer
    of `depth` blocks. Let h be the concatenated means of all targets' tokens, zeros for absent ones; the output is one token,
    h + W' relu(W h + b) + b', of width K (K - 1) width. The cost grows as K^2.

    Where the paper and its code differ, this follows the code: residual connections bypass the norms (the paper adds LN(z)).
    `PublishedMulT` is the code. This differs from it: means instead of last tokens, since a grid has no last token; learned
    positions (`Embed`), in the embedding alone, instead of sinusoids in every stack; no scaling by sqrt(d); a bias in the
    embedding; a separate norm for the context; GELU instead of ReLU; no causal attention; epsilon 1e-6 in the norms.

    hidden: units of the perceptrons of cross-modal blocks; K - 1 times as many in the self-attention. width, depth, heads,
    dropout, dtype: as in `EarlyTransformer`.
    """

    width: int = 32
    depth: int = 2
    heads: int = 4
    hidden: int = 128
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        transformer_fields(self)
        names = sorted(tokens)
        x = {name: Embed(self.width, self.dtype, name=f"{name}_embed")(tokens[name]) for name in names}
        x = {name: Dropout(self.dropout, name=f"{name}_dropout")(x[name], train=train) for name in names}

        def pair(target, source):
            z, stack = x[target], f"{source}_to_{target}"
            for layer in range(self.depth):
                block = CrossBlock(self.heads, self.hidden, self.dropout, self.dtype, name=f"{stack}_block{layer}")
                z = block(z, x[source], tokens[source].mask, train=train)
            return nn.LayerNorm(name=f"{stack}_norm")(z)

        def stream(target):
            sources, mask = others(names, target), tokens[target].mask
            z = jnp.concatenate([pair(target, source) for source in sources], axis=-1)
            hidden = self.hidden * len(sources)
            layers = Transformer(self.depth, self.heads, hidden, self.dropout, dtype=self.dtype, name=f"{target}_transformer")
            z = nn.LayerNorm(name=f"{target}_norm")(layers(z, mask, train=train))
            return masked_mean(Tokens(z, mask))

        h = jnp.concatenate([stream(name) for name in names], axis=-1)
        y = nn.relu(Dense(h.shape[-1], dtype=self.dtype, name="up")(h))
        y = Dense(h.shape[-1], dtype=self.dtype, name="down")(Dropout(self.dropout, name="dropout")(y, train=train))
        present = jnp.stack([any_token(tokens[name]) for name in names]).any(axis=0)
        return Tokens((h + y.astype(jnp.float32))[:, None], present[:, None])
