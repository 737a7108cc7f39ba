"""Connectors with a fixed number of vectors for each modality: learned queries attend to its tokens.

See `connectors.py`. No positions within an image are added; encoders provide them.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmjax.fusion.compose import Append
from mmjax.fusion.early import Project
from mmjax.nn import Dropout, any_token
from mmjax.nn.attention import attend
from mmjax.nn.checks import positive, transformer_fields
from mmjax.nn.dense import Dense
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


class _ResamplerLayer(nn.Module):
    """z <- z + A(LN(z), [LN'(x); LN(z)]), then z + M(LN''(z)): z attends to x and to itself. Dense layers have no biases."""

    heads: int
    hidden: int
    dropout: float
    dtype: Any

    @nn.compact
    def __call__(
        self, z: Float[Array, "b q d"], x: Float[Array, "b n d"], mask: Bool[Array, "b m"], *, train: bool
    ) -> Float[Array, "b q d"]:
        dense = lambda y, size, name: Dense(size, use_bias=False, dtype=self.dtype, name=name)(y)
        norm = lambda y, name: nn.LayerNorm(1e-5, name=name)(y)
        dropped = lambda y, name: Dropout(self.dropout, name=name)(y.astype(jnp.float32), train=train)
        split = lambda y: y.reshape(*y.shape[:2], self.heads, -1).swapaxes(1, 2)
        width, latents = z.shape[-1], norm(z, "norm_latents")
        context = jnp.concatenate([norm(x, "norm_media"), latents], axis=1)
        q, k, v = (split(dense(y, width, name)) for y, name in ((latents, "query"), (context, "key"), (context, "value")))
        attended = attend(q, k, v, mask).swapaxes(1, 2).reshape(z.shape)
        z = z + dropped(dense(attended, width, "out"), "dropout1")
        y = jnp.square(nn.relu(dense(norm(z, "norm_perceptron"), self.hidden, "up")))
        return z + dropped(dense(y, width, "down"), "dropout2")


class Resampler(nn.Module):
    """The Perceiver resampler of Flamingo (Alayrac et al., 2022, section 2.1 and appendix A.1.1, figure 5):

        z <- z + A(z, [x; z]),  z <- z + M(z)        `depth` times, with queries z and tokens x

    A learned embedding of the frame is added to the tokens of each frame; frame by frame, they are x. The perceptron M has a
    squared ReLU (appendix A.1.4). The output are the layer-normalised queries.

    The paper states neither norms nor biases, and its code is not public. As in OpenFlamingo's code, there are separate norms
    of tokens and queries before A, one before M and a last one, and A and M have no biases. OpenFlamingo has GELU instead of
    the squared ReLU, and by default no embeddings of frames.

    Deviations: a linear layer to `width` comes first, as encoders differ in width. The number of frames is fixed; the paper
    interpolates the embeddings if there are more frames than in training (appendix B.1.2). Masked tokens are left out of x.
    Queries and embeddings start with deviation 0.02; the paper gives none, OpenFlamingo's is 1. `dropout`, which the paper does
    not have, is on the tokens and on the outputs of A and M. With Flamingo's sizes there are 170 million weights after the
    linear layer; the paper says approximately 200 million (appendix B.1.1), so it may have more than the figure shows.

    queries: vectors per modality. width: of the vectors. frames: of each modality, 1 for an image; they divide its number of
    tokens, or ValueError. depth, heads, hidden, dropout, dtype: as in `EarlyTransformer`.
    """

    queries: int = 64
    width: int = 64
    depth: int = 2
    heads: int = 4
    hidden: int = 128
    frames: int = 1
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "queries", "frames")
        transformer_fields(self)

        def embedded(name: str) -> Float[Array, "b n d"]:
            x = Project(self.width, self.dtype, name=f"{name}_project")(tokens[name])
            if x.shape[1] % self.frames:
                raise ValueError(
                    f"Resampler.frames is {self.frames}; it must divide the number of tokens of {name!r}, which is {x.shape[1]}"
                )
            frames = self.param(f"{name}_frames", nn.initializers.truncated_normal(0.02), (self.frames, self.width))
            x = x + jnp.repeat(frames, x.shape[1] // self.frames, axis=0)[None]
            return Dropout(self.dropout, name=f"{name}_dropout")(x, train=train)

        def one(name: str) -> Tokens:
            x = embedded(name)
            z = _queries(self, name, x.shape[0])
            mask = jnp.concatenate([tokens[name].mask, jnp.ones(z.shape[:2], bool)], axis=1)
            for number in range(self.depth):
                layer = _ResamplerLayer(self.heads, self.hidden, self.dropout, self.dtype, name=f"{name}_layer{number}")
                z = layer(z, x, mask, train=train)
            return _all(tokens[name], nn.LayerNorm(1e-5, name=f"{name}_norm")(z))

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
    """Flamingo's resampler (section 2.1 and appendix A.1.4, table 4): 64 queries, 6 layers, 96 features per head, perceptrons 4
    times as wide. width: of the vectors, 1536 in Flamingo. fields: of `Resampler`, such as frames=8, as in its training."""
    sizes = {"queries": 64, "depth": 6, "heads": max(1, width // 96), "hidden": 4 * width}
    return Resampler(**{"width": width, **sizes, **fields})


def blip2_qformer(out: int, **fields: Any) -> QFormer:
    """BLIP-2's Q-Former (section 3.1): 32 queries of width 768 in 12 layers. out: width of the language model."""
    sizes = {"queries": 32, "width": 768, "every": 2, "depth": 12, "heads": 12, "hidden": 3072}
    return QFormer(out, **{**sizes, **fields})
