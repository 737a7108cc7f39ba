"""Connectors with a fixed number of vectors for each modality: learned queries attend to its tokens.

See `connectors.py`. No positions are added; encoders provide them.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.fusion.attention import CrossBlock
from mmjax.fusion.compose import Append
from mmjax.fusion.early import Project
from mmjax.nn import Dropout, any_token
from mmjax.nn.checks import positive, transformer_fields
from mmjax.nn.post_norm import PostNormAttention, PostNormPerceptron
from mmjax.types import Tokens

__all__ = ["QFormer", "Resampler", "blip2_qformer", "flamingo_resampler"]


def _queries(module: nn.Module, name: str, batch: Any) -> Float[Array, "b q d"]:
    """Learned queries of a modality; call it in a compact method."""
    shape = 1, module.queries, module.width
    learned = module.param(f"{name}_queries", nn.initializers.truncated_normal(0.02), shape)
    return jnp.broadcast_to(learned, (batch, *shape[1:]))


def _all(tokens: Tokens, x: Float[Array, "b q d"]) -> Tokens:
    """Vectors that are all valid if any token is."""
    return Tokens(x.astype(jnp.float32), jnp.broadcast_to(any_token(tokens)[:, None], x.shape[:2]))


class Resampler(nn.Module):
    """The Perceiver resampler of Flamingo (Alayrac et al., 2022, section 2.1 and appendix A.1.1, figure 5):

        z <- z + A(z, [x; z]),  z <- z + M(z)        `depth` times, with queries z and projected tokens x

    The output are the layer-normalised queries. Tokens and queries share the norm of keys and values (`CrossBlock`); Flamingo
    has one norm for each, a squared ReLU, and embeddings of the frame.

    queries: vectors per modality. width: of the vectors. depth, heads, hidden, dropout, dtype: as in `EarlyTransformer`.
    """

    queries: int = 64
    width: int = 64
    depth: int = 2
    heads: int = 4
    hidden: int = 128
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "queries")
        transformer_fields(self)

        def one(name: str) -> Tokens:
            x = Project(self.width, self.dtype, name=f"{name}_project")(tokens[name])
            x = Dropout(self.dropout, name=f"{name}_dropout")(x, train=train)
            z = _queries(self, name, x.shape[0])
            mask = jnp.concatenate([tokens[name].mask, jnp.ones(z.shape[:2], bool)], axis=1)
            for layer in range(self.depth):
                block = CrossBlock(self.heads, self.hidden, self.dropout, self.dtype, name=f"{name}_block{layer}")
                z = block(z, jnp.concatenate([x, z], axis=1), mask, train=train)
            return _all(tokens[name], nn.LayerNorm(name=f"{name}_norm")(z))

        return Append()({name: one(name) for name in sorted(tokens)})


class QFormer(nn.Module):
    """The Q-Former of BLIP-2 (Li et al., 2023, section 3.1) with queries alone, as in its code. In each layer, queries z attend
    to each other, in every `every`-th one also to the tokens x, and pass a perceptron:

        z <- LN(z + A(z, z)),   z <- LN(z + A'(z, x)),   z <- LN(z + M(z)),   from z = LN(queries)

    A dense layer follows (section 3.2, figure 3). It equals transformers' `Blip2QFormerModel` and `language_projection`. The
    paper's Q-Former also has a text in its pretraining, which no fusion has. There is one rate of dropout.

    out: width of the vectors. queries: vectors per modality. width: of the queries. every: the distance of layers with
    cross-attention, from the first one. depth, heads, hidden, dropout, dtype: as in `EarlyTransformer`.
    """

    out: int
    queries: int = 32
    width: int = 64
    every: int = 2
    depth: int = 2
    heads: int = 4
    hidden: int = 128
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "out", "queries", "every")
        transformer_fields(self)
        settings = {"dropout": self.dropout, "dtype": self.dtype}

        def one(name: str) -> Tokens:
            attention = lambda kind: PostNormAttention(self.heads, **settings, name=f"{name}_{kind}")
            x = jnp.where(tokens[name].mask[..., None], tokens[name].x, 0)
            z = nn.LayerNorm(1e-12, name=f"{name}_norm")(_queries(self, name, x.shape[0]))
            z = Dropout(self.dropout, name=f"{name}_dropout")(z, train=train)
            for layer in range(self.depth):
                z = attention(f"self{layer}")(z, train=train)
                if layer % self.every == 0:
                    z = attention(f"cross{layer}")(z, x, tokens[name].mask, train=train)
                z = PostNormPerceptron(self.hidden, **settings, name=f"{name}_perceptron{layer}")(z, train=train)
            return _all(tokens[name], nn.Dense(self.out, dtype=self.dtype, name=f"{name}_out")(z))

        return Append()({name: one(name) for name in sorted(tokens)})


def flamingo_resampler(width: int, **fields: Any) -> Resampler:
    """Flamingo's resampler (appendix B.1, table 5): 64 queries and 6 layers. width: of the language model."""
    sizes = {"queries": 64, "depth": 6, "heads": max(1, width // 96), "hidden": 4 * width}
    return Resampler(**{"width": width, **sizes, **fields})


def blip2_qformer(out: int, **fields: Any) -> QFormer:
    """BLIP-2's Q-Former (section 3.1): 32 queries of width 768 in 12 layers. out: width of the language model."""
    sizes = {"queries": 32, "width": 768, "every": 2, "depth": 12, "heads": 12, "hidden": 3072}
    return QFormer(out, **{**sizes, **fields})
