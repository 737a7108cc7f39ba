"""Fusion over time, of modalities whose tokens are aligned steps of one sequence."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mmjax.nn import masked_mean
from mmjax.nn.checks import positive, rate
from mmjax.nn.context import Context
from mmjax.types import Tokens

__all__ = ["ContextOver", "EachStep", "SideBySide", "aligned"]


def aligned(tokens: Mapping[str, Tokens], module: nn.Module) -> tuple[int, int]:
    """(b, n), which must be the same for all modalities."""
    steps = {name: t.x.shape[1] for name, t in sorted(tokens.items())}
    if len(set(steps.values())) > 1:
        name = type(module).__name__
        raise ValueError(f"{name} needs modalities with the same number of steps, but their numbers are {steps}")
    return next(iter(tokens.values())).mask.shape


class EachStep(nn.Module):
    """Applies a fusion to every step of {modality: [b n d]}, with the same parameters: tokens [b n width].

    Each step becomes an example with one token per modality. A modality is absent at its masked steps. If the fusion returns
    several tokens, their mean is used.

    Raises ValueError if the modalities have different numbers of steps.
    """

    fusion: nn.Module

    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        b, n = aligned(tokens, self)
        folded = {name: Tokens(t.x.reshape(b * n, 1, -1), t.mask.reshape(b * n, 1)) for name, t in tokens.items()}
        fused = self.fusion(folded, train=train)
        x = masked_mean(fused) if fused.x.shape[1] > 1 else fused.x[:, 0]
        return Tokens(x.reshape(b, n, -1), fused.mask.any(axis=1).reshape(b, n))


class SideBySide(nn.Module):
    """Concatenates aligned modalities at each step, [h_1; ...; h_K], with zeros for absent ones. No parameters.

    Raises ValueError if the modalities have different numbers of steps.
    """

    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        aligned(tokens, self)
        parts = [jnp.where(t.mask[..., None], t.x, 0).astype(jnp.float32) for _, t in sorted(tokens.items())]
        return Tokens(jnp.concatenate(parts, axis=-1), jnp.stack([t.mask for t in tokens.values()]).any(axis=0))


class ContextOver(nn.Module):
    """Applies `nn.context.Context`, a layer over time, to the fused steps.

    With `SideBySide` and encoders `encoders.Contextual`, it is the hierarchical fusion of Poria et al. (2017), section 3.3:
    contextual unimodal networks, concatenation at each utterance, and a contextual network over the result. With the layer
    `Bidirectional(LSTM(...))` and a width, all of them are bc-LSTM. The steps are the utterances of a video; masked ones are
    left out. The softmax layer is the head.

    Deviations: the forget gate starts open, with a bias of 1. In the authors' code the unimodal networks learn first, by heads
    of their own; that is left to the experiment. The code of their repository multimodal-sentiment-analysis is another model:
    it has GRUs, tanh in the dense layers of unimodal networks, and by default attention instead of concatenation.

    fusion: {modality: Tokens [b n d]} -> Tokens [b n e], such as `SideBySide` or `EachStep`. layer: (x, mask, train) ->
    [b n h], such as `LSTM`. width: of a dense layer with ReLU at every step, None for no dense layer. dropout: rate on the
    fused steps and on the states. dtype: of the dense layer.
    """

    fusion: nn.Module
    layer: nn.Module
    width: int | None = None
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        positive(self, "width")
        rate(self, "dropout")
        fused = self.fusion(tokens, train=train)
        context = Context(self.layer, self.width, self.dropout, self.dtype, name="context")
        return Tokens(context(fused.x, fused.mask, train=train), fused.mask)
