"""Selection of a few tokens by attention, such as the key frames of a video."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmjax.nn.checks import positive
from mmjax.nn.presence import encode, takes_present
from mmjax.types import Tokens

__all__ = ["KeyTokens"]


class KeyTokens(nn.Module):
    """The `keep` tokens of an encoder that have the largest scores, in their order: key frames of a video, for instance.

    Each score is additive attention without a query, w . tanh(V x) (Bahdanau et al., 2015); a kept token is multiplied by the
    sigmoid of its score, which gives the scores a gradient (top-k pooling, Gao and Ji, "Graph U-Nets", 2019, equation 2).
    Masked tokens are kept only if there are fewer valid ones, and stay masked. The intermediate "scores" has the scores
    Float[b n], -inf where masked.

    encoder: any encoder. keep: number of tokens; encoders with fewer tokens keep them all. width: of V.
    """

    encoder: nn.Module
    keep: int = 3
    width: int = 32

    @property
    def takes_present(self) -> bool:
        return takes_present(self.encoder)

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False, present: Bool[Array, " b"] | None = None) -> Tokens:
        positive(self, "keep", "width")
        tokens = encode(self.encoder, x, present, train=train)
        values = jnp.where(tokens.mask[..., None], tokens.x, 0).astype(jnp.float32)
        score = self._score(values)
        ranked = jnp.where(tokens.mask, score, -jnp.inf)
        self.sow("intermediates", "scores", ranked)
        keep = min(self.keep, values.shape[1])
        order = jnp.sort(jax.lax.top_k(ranked, keep)[1], axis=1)
        kept = jnp.take_along_axis(values, order[..., None], axis=1)
        gate = nn.sigmoid(jnp.take_along_axis(score, order, axis=1))
        return Tokens(kept * gate[..., None], jnp.take_along_axis(tokens.mask, order, axis=1))

    def _score(self, x: Float[Array, "b n d"]) -> Float[Array, "b n"]:
        hidden = jnp.tanh(nn.Dense(self.width, name="hidden")(x))
        return nn.Dense(1, use_bias=False, name="score")(hidden)[..., 0]
