"""The multimodal Transformer exactly as its authors' code defines it."""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mmjax.fusion.attention import others
from mmjax.fusion.joint import one_token, project
from mmjax.nn import Attention, Dropout, any_token
from mmjax.nn.checks import divides, positive, rate
from mmjax.types import Tokens

__all__ = ["PublishedMulT", "sinusoids"]


def sinusoids(count: int, width: int) -> Float[Array, "n d"]:
    """Position embeddings [n d] of tensor2tensor, for the positions 1, 2, ..., n: the sines of position / 10,000^(i / (h - 1))
    for i < h = width // 2, then the cosines, and a zero if `width` is odd. width: at least 4."""
    half = width // 2
    angle = np.arange(1, count + 1)[:, None] * np.exp(-np.arange(half) * (math.log(10_000) / (half - 1)))[None]
    return jnp.asarray(np.concatenate([np.sin(angle), np.cos(angle), np.zeros((count, width % 2))], axis=1), jnp.float32)


class _Stack(nn.Module):
    """The code's `TransformerEncoder`: x and the context are scaled by sqrt(d), and positions are added; pre-norm layers, whose
    first norm is also that of the context; a final norm. Perceptrons have 4 d units. Without a context, self-attention."""

    depth: int
    heads: int
    causal: bool
    dropout: float
    dtype: Any

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], mask: Bool[Array, "b m"], context: Float[Array, "b m d"] | None = None, *, train: bool
    ) -> Float[Array, "b n d"]:
        width = x.shape[-1]
        drop = lambda y, name: Dropout(self.dropout, name=name)(y.astype(jnp.float32), train=train)
        embed = lambda y, name: drop(math.sqrt(width) * y + sinusoids(y.shape[1], width)[None], name)
        norm = lambda name: nn.LayerNorm(1e-5, name=name)
        x, keys = embed(x, "dropout"), None if context is None else embed(context, "context_dropout")
        if self.causal:
            n, m = x.shape[1], mask.shape[1]
            mask = mask[:, None] & jnp.tril(jnp.ones((n, m), bool), abs(m - n))[None]
        for layer in range(self.depth):
            norm1 = norm(f"norm{layer}_attention")
            attention = Attention(self.heads, dropout=self.dropout, dtype=self.dtype, name=f"attention{layer}")
            attended = attention(norm1(x), None if keys is None else norm1(keys), mask, train=train)
            x = x + drop(attended, f"dropout{layer}_attention")
            y = nn.relu(project(norm(f"norm{layer}_perceptron")(x), 4 * width, f"up{layer}", self.dtype))
            y = project(drop(y, f"dropout{layer}_hidden"), width, f"down{layer}", self.dtype)
            x = x + drop(y, f"dropout{layer}_perceptron")
        return norm("norm")(x)


class PublishedMulT(nn.Module):
    """The multimodal Transformer (Tsai et al., 2019), as in its authors' code; `published.mult` has their settings.

    Unlike `MulT`: ReLU in the perceptrons, of 4 d units; embeddings are scaled by sqrt(d), and sinusoids are added to them, in
    every stack, that of self-attention too; a projection has no bias; one norm for queries and context; causal attention; at
    least three layers of self-attention; and the last token of each stream instead of the mean.

    Differences: padding is masked, while the code's zero vectors attend without a position; the code omits the projection of
    features that have the width already (the identity here); and there is one rate of dropout, at all places where the code has
    rates. The stream of an absent modality is zero. The code's last linear layer is the head. With K modalities, the output is
    one token of width K (K - 1) width.

    width: of the streams, at least 4. depth: of the cross-modal stacks. memory: depth of the self-attention, unless `depth` is
    higher. heads: of the attention; they divide `width`. causal: token i attends to tokens up to i + |m - n|, for n queries and
    m keys. dropout: rate. dtype: of the matmuls.
    """

    width: int = 30
    depth: int = 5
    memory: int = 3
    heads: int = 5
    causal: bool = True
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "depth", "memory")
        divides(self, "heads", "width")
        rate(self, "dropout")
        if self.width < 4:
            raise ValueError(f"PublishedMulT.width is {self.width}; it must be at least 4, for the sinusoids")
        names, settings = sorted(tokens), (self.heads, self.causal, self.dropout, self.dtype)
        clean = {name: jnp.where(tokens[name].mask[..., None], tokens[name].x, 0) for name in names}
        x = {name: project(clean[name], self.width, f"{name}_project", self.dtype, bias=False) for name in names}

        def stream(target):
            mask = tokens[target].mask
            stacks = {s: _Stack(self.depth, *settings, name=f"{s}_to_{target}") for s in others(names, target)}
            z = [stack(x[target], tokens[s].mask, x[s], train=train) for s, stack in stacks.items()]
            memory = _Stack(max(self.depth, self.memory), *settings, name=f"{target}_memory")
            z = memory(jnp.concatenate(z, axis=-1), mask, train=train)
            last = jnp.max(jnp.where(mask, jnp.arange(mask.shape[1])[None], 0), axis=1)
            z = jnp.take_along_axis(z, last[:, None, None], axis=1)[:, 0]
            return jnp.where(any_token(tokens[target])[:, None], z, 0)

        h = jnp.concatenate([stream(name) for name in names], axis=-1)
        y = nn.relu(project(h, h.shape[-1], "up", self.dtype))
        y = project(Dropout(self.dropout, name="dropout")(y, train=train), h.shape[-1], "down", self.dtype)
        return one_token(h + y, jnp.stack([any_token(tokens[name]) for name in names], axis=1))
