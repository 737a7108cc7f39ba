"""Fusion by cross-modal attention: the tokens of one modality ask, those of the others answer.

Where a modality has no other beside it in the model, it attends to itself. Where the others are there and absent in an example,
attention adds nothing but its bias, and what the modality has goes on by the residuals.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmjax.fusion.early import Embed, Project
from mmjax.nn import Attention, Block, Dropout, Transformer, any_token, masked_mean
from mmjax.nn.attention import gelu
from mmjax.types import Tokens


class CrossBlock(nn.Module):
    """x + A(LN(x), LN'(c)) with A multi-head attention from x to c, then x + M(LN''(x)) with M a perceptron with GELU.

    The context c has a norm of its own. heads, hidden, dropout, dtype: as of `nn.Block`, which this is but for the context.
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
        seen = Attention(self.heads, dropout=self.dropout, dtype=self.dtype, name="attention")(query, keys, mask, train=train)
        x = x + Dropout(self.dropout, name="dropout1")(seen.astype(jnp.float32), train=train)
        y = nn.Dense(self.hidden, dtype=self.dtype, name="up")(nn.LayerNorm(name="norm2")(x))
        y = nn.Dense(x.shape[-1], dtype=self.dtype, name="down")(gelu(y))
        return x + Dropout(self.dropout, name="dropout2")(y.astype(jnp.float32), train=train)


def others(names: list[str], name: str) -> list[str]:
    """The modalities that `name` attends to: all but itself, or itself where it is the only one."""
    return [other for other in names if other != name] or [name]


class CrossAttention(nn.Module):
    """One way: the tokens of `query` attend to the tokens of all other modalities, softmax(Q K^T / sqrt(d_k)) V in each of
    `depth` layers (`CrossBlock`; the context is the same in each); the result is the final norm of the query's tokens.

    A learned token asks instead where `query` itself is absent, so that the others still get through; elsewhere it is masked.
    There are no positions: they are the encoders' business.

    query: the modality that asks; ValueError where the model has no such one. width, depth, heads, hidden, dropout, dtype: as
    of `EarlyTransformer`.
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
        names = sorted(tokens)
        if self.query not in names:
            raise ValueError(f"CrossAttention.query is {self.query!r}, which is not among the modalities {names}")
        x = {name: Project(self.width, self.dtype, name=f"{name}_project")(tokens[name]) for name in names}
        context = jnp.concatenate([x[name] for name in others(names, self.query)], axis=1)
        mask = jnp.concatenate([tokens[name].mask for name in others(names, self.query)], axis=1)
        context = Dropout(self.dropout, name="context_dropout")(context, train=train)

        there, asks = jnp.stack([any_token(tokens[name]) for name in names]).any(axis=0), any_token(tokens[self.query])
        stand_in = self.param("stand_in", nn.initializers.normal(0.02), (1, 1, self.width))
        y = jnp.concatenate([x[self.query], jnp.broadcast_to(stand_in, (len(there), 1, self.width))], axis=1)
        y = Dropout(self.dropout, name="dropout")(y, train=train)
        for layer in range(self.depth):
            block = CrossBlock(self.heads, self.hidden, self.dropout, self.dtype, name=f"block{layer}")
            y = block(y, context, mask, train=train)
        fused = jnp.concatenate([tokens[self.query].mask, (there & ~asks)[:, None]], axis=1)
        return Tokens(nn.LayerNorm(name="norm")(y), fused)


class CoAttention(nn.Module):
    """Both ways: in each of `depth` layers every modality attends to the tokens of all others (`CrossBlock`), all at once, and
    then to its own (`nn.Block`); the result is one token, the normed mean tokens side by side, zeros where one is absent.

    The co-attentional Transformer layer of ViLBERT (Lu et al., 2019, section 2.1) for any number of modalities, here with the
    norms ahead of each part and with means instead of a first token. No positions: they are the encoders' business.
    width, depth, heads, hidden, dropout, dtype: as of `EarlyTransformer`; the result is K * width wide.
    """

    width: int = 64
    depth: int = 1
    heads: int = 4
    hidden: int = 128
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        names, settings = sorted(tokens), (self.heads, self.hidden, self.dropout)
        x = {name: Project(self.width, self.dtype, name=f"{name}_project")(tokens[name]) for name in names}
        x = {name: Dropout(self.dropout, name=f"{name}_dropout")(x[name], train=train) for name in names}
        for layer in range(self.depth):
            before = x
            for name in names:
                context = jnp.concatenate([before[other] for other in others(names, name)], axis=1)
                mask = jnp.concatenate([tokens[other].mask for other in others(names, name)], axis=1)
                cross = CrossBlock(*settings, self.dtype, name=f"{name}_cross{layer}")
                own = Block(*settings, dtype=self.dtype, name=f"{name}_block{layer}")
                y = own(cross(before[name], context, mask, train=train), tokens[name].mask, train=train)
                x = x | {name: y}
        normed = [Tokens(nn.LayerNorm(name=f"{name}_norm")(x[name]), tokens[name].mask) for name in names]
        there = jnp.stack([any_token(t) for t in normed]).any(axis=0)
        return Tokens(jnp.concatenate([masked_mean(t) for t in normed], axis=-1)[:, None], there[:, None])


class MulT(nn.Module):
    """The multimodal Transformer (Tsai et al., 2019). For each target a and source s, a stack of `depth` cross-modal blocks

        z_0 = x_a,   z_{i+1} = CrossBlock(z_i, x_s)     (equation 4; x_s stays the embedding, low-level, in each layer);

    for each target the LN of its K - 1 stacks side by side as features, through a self-attention Transformer of `depth` blocks;
    the mean tokens h of all targets side by side (zeros where one is absent), and h + W' relu(W h + b) + b'. One token,
    K * (K - 1) * width wide; the cost grows as K^2.

    After the authors' code where the paper differs: residuals are around the norms (the paper adds LN(z)). Other than both: a
    mean instead of the last token, since a grid has none; learned positions (`Embed`) instead of sinusoids; a context has a
    norm of its own. heads: of each attention, dividing `width`. hidden: units of a cross-modal block's perceptron; K - 1 times
    that in the self-attention. width, depth, dropout, dtype: as of `EarlyTransformer`.
    """

    width: int = 32
    depth: int = 2
    heads: int = 4
    hidden: int = 128
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
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
            own = Transformer(self.depth, self.heads, hidden, self.dropout, dtype=self.dtype, name=f"{target}_transformer")
            z = nn.LayerNorm(name=f"{target}_norm")(own(z, mask, train=train))
            return masked_mean(Tokens(z, mask))

        h = jnp.concatenate([stream(name) for name in names], axis=-1)
        y = nn.relu(nn.Dense(h.shape[-1], dtype=self.dtype, name="up")(h))
        y = nn.Dense(h.shape[-1], dtype=self.dtype, name="down")(Dropout(self.dropout, name="dropout")(y, train=train))
        there = jnp.stack([any_token(tokens[name]) for name in names]).any(axis=0)
        return Tokens((h + y.astype(jnp.float32))[:, None], there[:, None])
