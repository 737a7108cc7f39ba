"""Fusion in time: modalities whose tokens are steps of one sequence, aligned, and fused step by step."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mmjax.nn import masked_mean
from mmjax.nn.context import Context
from mmjax.types import Tokens


def _aligned(tokens: Mapping[str, Tokens], who: str) -> tuple[int, int]:
    """(b, n), the same for all modalities."""
    steps = {name: t.x.shape[1] for name, t in sorted(tokens.items())}
    if len(set(steps.values())) > 1:
        raise ValueError(f"{who} needs modalities aligned in time, as many steps in each; they have {steps}")
    return next(iter(tokens.values())).mask.shape


class EachStep(nn.Module):
    """Any fusion at each step t of {modality: [b n d]} by itself, with the same parameters: tokens [b n width].

    The steps become examples of one token each, so that whatever the fusion does for an example it does for a step. A modality
    that is masked at a step is absent there. Of several tokens for a step their mean is kept.
    """

    fusion: nn.Module

    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        b, n = _aligned(tokens, "EachStep")
        folded = {name: Tokens(t.x.reshape(b * n, 1, -1), t.mask.reshape(b * n, 1)) for name, t in tokens.items()}
        fused = self.fusion(folded, train=train)
        x = masked_mean(fused) if fused.x.shape[1] > 1 else fused.x[:, 0]
        return Tokens(x.reshape(b, n, -1), fused.mask.any(axis=1).reshape(b, n))


class SideBySide(nn.Module):
    """[h_1; ...; h_K] at each step, of modalities aligned in time: no parameters, zeros where a modality is absent."""

    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        _aligned(tokens, "SideBySide")
        parts = [jnp.where(t.mask[..., None], t.x, 0).astype(jnp.float32) for _, t in sorted(tokens.items())]
        return Tokens(jnp.concatenate(parts, axis=-1), jnp.stack([t.mask for t in tokens.values()]).any(axis=0))


class ContextOver(nn.Module):
    """A layer over the fused steps: what `fusion` gives at each step is seen with its neighbours, by `nn.context.Context`.

    With `SideBySide` over `encoders.Contextual` it is the hierarchical fusion of Poria et al. (2017), section 3.3: contextual
    unimodal networks, whose outputs are concatenated at each utterance and go through a contextual network of their own.

    fusion: {modality: Tokens [b n d]} -> Tokens [b n e], such as `SideBySide` or `EachStep`. layer: (x, mask) -> [b n h].
    width: of a dense layer with ReLU at every step, None for none. dropout: rate on the fused steps and on the states.
    """

    fusion: nn.Module
    layer: nn.Module
    width: int | None = None
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        fused = self.fusion(tokens, train=train)
        context = Context(self.layer, self.width, self.dropout, self.dtype, name="context")
        return Tokens(context(fused.x, fused.mask, train=train), fused.mask)
