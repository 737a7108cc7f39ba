"""Early fusion: one Transformer over the concatenated tokens of all modalities."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.nn import Dropout, Transformer, any_token
from mmjax.nn.checks import positive, rate, transformer_fields
from mmjax.nn.dense import Dense
from mmjax.types import Tokens

__all__ = ["EarlyTransformer", "Embed", "JoinTokens", "Project", "spans_of"]


class Embed(nn.Module):
    """Embeds the tokens of one modality in a common space: W x_i + b + p_i, float32 [b n width]; b + p_i for masked tokens.

    The bias b serves as the modality (type) embedding. p_i are learned positions, since the grid of a CNN has none; n is fixed
    at initialisation.
    """

    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Tokens) -> Float[Array, "b n width"]:
        x = Project(self.width, self.dtype, name="project")(tokens)
        position = self.param("position", nn.initializers.normal(0.02), x.shape[1:])
        return x + position[None]


class Project(nn.Module):
    """Projects the tokens of one modality to a common width: W x_i + b, float32 [b n width]; b for masked tokens."""

    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Tokens) -> Float[Array, "b n width"]:
        x = jnp.where(tokens.mask[..., None], tokens.x, 0)
        return Dense(self.width, dtype=self.dtype, name="dense")(x).astype(jnp.float32)


class EarlyTransformer(nn.Module):
    """One Transformer over a class token and the tokens of all modalities, each embedded by `Embed`. The output is one token,
    the layer norm of the class token. Like ViLT (Kim et al., 2021, section 3.1), but on the outputs of encoders.

    width: of the tokens. depth: number of pre-norm blocks. heads: attention heads; they divide `width`. hidden: units of each
    perceptron. dropout: rate on the embedded tokens, the attention weights and the output of each sublayer. dtype: of the
    matmuls.
    """

    width: int = 64
    depth: int = 2
    heads: int = 4
    hidden: int = 128
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        transformer_fields(self)
        names = sorted(tokens)
        present = jnp.stack([any_token(tokens[name]) for name in names]).any(axis=0)
        class_token = self.param("class", nn.initializers.normal(0.02), (1, 1, self.width))
        embedded = [Embed(self.width, self.dtype, name=f"{name}_embed")(tokens[name]) for name in names]
        x = jnp.concatenate([jnp.broadcast_to(class_token, (present.shape[0], 1, self.width)), *embedded], axis=1)
        mask = jnp.concatenate([jnp.ones((present.shape[0], 1), bool), *(tokens[name].mask for name in names)], axis=1)
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        layers = Transformer(self.depth, self.heads, self.hidden, self.dropout, dtype=self.dtype, name="transformer")
        x = nn.LayerNorm(name="norm")(layers(x, mask, train=train)[:, :1])
        return Tokens(x, present[:, None])


class JoinTokens(nn.Module):
    """All tokens of all modalities, each embedded by `Embed`, [b sum(n) width]: the memory of a decoder.

    Absent modalities and padding stay masked.

    width: of the tokens. dropout: rate on the embedded tokens. dtype: of the matmuls.
    """

    width: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "width")
        rate(self, "dropout")
        names = sorted(tokens)
        embedded = [Embed(self.width, self.dtype, name=f"{name}_embed")(tokens[name]) for name in names]
        x = Dropout(self.dropout, name="dropout")(jnp.concatenate(embedded, axis=1), train=train)
        return Tokens(x, jnp.concatenate([tokens[name].mask for name in names], axis=1))

    def spans(self, counts: Mapping[str, int]) -> dict[str, range]:
        """The positions of each modality's tokens in the output. counts: {modality: number of its tokens}."""
        return spans_of(counts)


def spans_of(counts: Mapping[str, int]) -> dict[str, range]:
    """The positions of parts of these lengths that are concatenated in the order of their names."""
    spans, start = {}, 0
    for name in sorted(counts):
        spans[name] = range(start, start + counts[name])
        start += counts[name]
    return spans
