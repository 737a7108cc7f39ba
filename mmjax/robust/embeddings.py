"""Attacks on token embeddings: inputs that carry a change of the embeddings, and the encoder that understands them."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Key

from mmjax.nn.presence import encode, takes_present
from mmjax.robust.budgets import check_epsilon, require
from mmjax.robust.changes import as_axis, ball_draw, ball_project, ball_step
from mmjax.types import Padded, Tokens

__all__ = ["NEEDS_ACCESS", "Embeddings", "MixedTokens", "ShiftedTokens", "SoftTokens", "check_token_ids"]

NEEDS_ACCESS = "this attack changes token embeddings; give the encoder as SoftTokens(encoder)"


@struct.dataclass
class ShiftedTokens:
    """Token ids whose embeddings are shifted: embed(ids) + change. ids: `Padded` Int[b n]; change: Float[b n d]."""

    ids: Padded
    change: Any

    @property
    def x(self) -> Any:
        raise ValueError(NEEDS_ACCESS)


@struct.dataclass
class MixedTokens:
    """Mixtures of tokens: the embedding of step n is sum_v weight[n, v] embed(v). With one-hot weights it is that of the ids.

    ids: `Padded` Int[b n]; weight: Float[b n v] over the first v token ids.
    """

    ids: Padded
    weight: Any

    @property
    def x(self) -> Any:
        raise ValueError(NEEDS_ACCESS)


class SoftTokens(nn.Module):
    """An encoder of token ids that also takes `ShiftedTokens` and `MixedTokens`, so that attacks reach its embeddings.

    For token ids it is the encoder itself, with the same parameters under the same names (initial values may differ). Otherwise
    `nn.intercept_methods` changes the output of the `nn.Embed` that receives the ids. encoder: of `Padded` ids [b n].
    Raises ValueError if no `nn.Embed` receives the ids as they are, or the change has another width than the embeddings.
    """

    encoder: nn.Module

    def setup(self) -> None:
        nn.share_scope(self, self.encoder)

    @property
    def takes_present(self) -> bool:
        return takes_present(self.encoder)

    @property
    def vocabulary(self) -> int | None:
        """The number of token ids of the encoder, if it has that field."""
        return getattr(self.encoder, "vocabulary", None)

    def __call__(self, tokens: Any, *, train: bool = False, present: Bool[Array, " b"] | None = None) -> Tokens:
        if isinstance(tokens, Padded):
            return encode(self.encoder, tokens, present, train=train)
        ids = Padded(jnp.where(tokens.ids.mask, tokens.ids.x, 0), tokens.ids.length)
        found = []

        def embed(next_method, args, kwargs, context):
            embeds = isinstance(context.module, nn.Embed) and context.method_name == "__call__"
            if not (embeds and args and args[0] is ids.x):
                return next_method(*args, **kwargs)
            found.append(context.module)
            if isinstance(tokens, ShiftedTokens):
                return _shifted(next_method(*args, **kwargs), tokens.change)
            return _mixed(context.module, tokens.weight)

        with nn.intercept_methods(embed):
            encoded = encode(self.encoder, ids, present, train=train)
        require(found, f"SoftTokens.encoder is {type(self.encoder).__name__}, in which no nn.Embed takes the token ids")
        return encoded


def _shifted(embedded: Array, change: Array) -> Array:
    given, width = change.shape[-1], embedded.shape[-1]
    require(given == width, f"Embeddings.width is {given}, but the encoder's embeddings have {width} entries")
    return embedded + change.astype(embedded.dtype)


def _mixed(module: nn.Embed, weight: Array) -> Array:
    given = weight.shape[-1]
    known = module.num_embeddings
    require(given <= known, f"Substitutions.vocabulary is {given}, but the encoder has {known} token ids")
    table = module.embedding[:given]
    return (weight @ table).astype(module.dtype or table.dtype)


@dataclass(frozen=True)
class Embeddings:
    """The change of an example's token embeddings has Euclidean norm at most epsilon, over all its tokens.

    This is the ball of FreeLB (Zhu et al., ICLR 2020). The token ids remain; padding has no change.

    epsilon: in units of the embeddings. width: of the embeddings. The encoder must be `SoftTokens(encoder)`.
    """

    epsilon: float
    width: int

    def __post_init__(self):
        check_epsilon(self, self.epsilon)
        require(self.width > 0, f"Embeddings.width is {self.width}; it must be positive")

    @property
    def empty(self) -> bool:
        return self.epsilon == 0

    def check(self, x: Any) -> None:
        check_token_ids("Embeddings", x)

    def zeros(self, x: Any) -> Array:
        return jnp.zeros((*x.x.shape, self.width), jnp.float32)

    def draw(self, x: Any, keys: Key[Array, " b"]) -> Array:
        return ball_draw(x, keys, (*x.x.shape, self.width), self.epsilon)

    def steepest(self, x: Any, gradient: Array, size: Any) -> Array:
        return ball_step(x, gradient, self.epsilon * jnp.asarray(size))

    def project(self, x: Any, change: Array) -> Array:
        return ball_project(x, change, self.epsilon)

    def add(self, x: Any, change: Array, live: Bool[Array, " b"]) -> ShiftedTokens:
        return ShiftedTokens(x, jnp.where(as_axis(live, change.ndim), change, 0))


def check_token_ids(name: str, x: Any) -> None:
    """ValueError unless the input is `Padded` token ids [b n]."""
    ids = isinstance(x, Padded) and x.x.ndim == 2 and jnp.issubdtype(x.x.dtype, jnp.integer)
    given = jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", x)
    require(ids, f"{name} needs token ids, Padded Int[b n], but the input is {given}")
