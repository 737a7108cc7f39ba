"""A fusion of modalities in which missing ones are filled in from the present ones, and the losses that train the imputer."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Float

from mmjax.nn import any_token, masked_mean
from mmjax.types import Tokens

__all__ = ["Imputed", "ImputedTokens", "ImputerLoss"]


@struct.dataclass
class ImputedTokens(Tokens):
    """Fused tokens, and the losses of the imputer, {name: Float[b]}, which are zero in evaluation."""

    losses: Any


class Imputed(nn.Module):
    """Fills in missing modalities before a fusion: an explicit imputer instead of masking.

    A missing modality gets one valid token, predicted from the mean tokens of the present modalities. Tokens of present
    modalities never change. An example without any modality stays without. No gradient flows through imputed tokens, so the
    imputer learns from its own losses alone: read them by `ImputerLoss` heads, and add them by `losses.OutputLoss`. Encoders
    that learn move the targets of the imputer; train it on features (`Features(width=None)`), or in a stage of its own.

        fusion=Imputed(Concat(), GANImputer()),
        heads={"label": Classifier(9), "generator": ImputerLoss("generator"), "discriminator": ImputerLoss("discriminator")},
        loss=WeightedLosses({"label": 1.0} | {name: (OutputLoss(name), 1.0) for name in ("generator", "discriminator")}),
        stages=(Stage(1, ("fusion/imputer",)), Stage(1, ("fusion/(?!imputer)[^/]+", "heads"))),

    wrapped: any Fusion; its parameters have the same names and initial values as without the wrapper. imputer: a module of
    `fusion.imputers`. modalities: which ones are filled in; None for all, () for none, which is the fusion alone. ValueError if
    a name is unknown.
    """

    wrapped: nn.Module
    imputer: nn.Module
    modalities: tuple[str, ...] | None = None

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        names = tuple(sorted(tokens)) if self.modalities is None else self.modalities
        unknown = sorted(set(names) - set(tokens))
        if unknown:
            raise ValueError(f"Imputed.modalities is {names}; it must contain some of the modalities {sorted(tokens)}")
        if not names:
            return self._fused(tokens, train)
        vectors = {name: lax.stop_gradient(masked_mean(t).astype(jnp.float32)) for name, t in tokens.items()}
        present = {name: any_token(t) for name, t in tokens.items()}
        imputed, losses = self.imputer(vectors, present, train=train)
        some = jnp.stack(list(present.values())).any(axis=0)
        filled = {name: _fill(tokens[name], imputed[name], some & ~present[name]) for name in names}
        fused = self._fused({**tokens, **filled}, train)
        return ImputedTokens(fused.x, fused.mask, losses)

    def _fused(self, tokens: Mapping[str, Tokens], train: bool) -> Tokens:
        """The fusion in the scope of this module: with the names and random numbers that it has without the wrapper.

        `nn.share_scope` keeps the names alone: modules inside the fusion have other random numbers.
        """
        return self.wrapped.clone(parent=self.scope, _deep_clone=True)(tokens, train=train)


def _fill(tokens: Tokens, vector: Float[Array, "b d"], missing: Any) -> Tokens:
    """The tokens with `vector` as the first, valid token of the examples where `missing` Bool[b] is True."""
    first = missing[:, None] & (jnp.arange(tokens.mask.shape[1]) == 0)[None]
    vector = lax.stop_gradient(vector).astype(tokens.x.dtype)
    return Tokens(jnp.where(first[..., None], vector[:, None], tokens.x), tokens.mask | first)


class ImputerLoss(nn.Module):
    """A head whose output is a loss of the imputer, Float[b]: the fusion must be an `Imputed` whose imputer has this loss.

    loss: its name, such as "regression". ValueError if there is no such loss.
    """

    loss: str

    def __call__(self, tokens: Tokens, *, train: bool = False) -> Float[Array, " b"]:
        losses = tokens.losses if isinstance(tokens, ImputedTokens) else {}
        if self.loss not in losses:
            raise ValueError(
                f"ImputerLoss.loss is {self.loss!r}; the fusion has the losses {sorted(losses)}: use Imputed(fusion, imputer) "
                "as the outermost fusion, with an imputer that has this loss"
            )
        return losses[self.loss]
