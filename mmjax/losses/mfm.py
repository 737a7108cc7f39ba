"""The loss of the multimodal factorisation model exactly as its authors' code defines it."""

from dataclasses import dataclass
from typing import Any

from mmjax.losses.combine import WeightedLosses
from mmjax.losses.distributions import NormalMMD
from mmjax.losses.published import mfm_loss

__all__ = ["PublishedNormalMMD", "published_mfm_loss"]


@dataclass(frozen=True)
class PublishedNormalMMD(NormalMMD):
    """`NormalMMD` of an output z [b d] with the kernel of the authors' code of the multimodal factorisation model (Tsai et al.,
    2019), k(x, y) = exp(-|x - y|^2 / d^2).

    Deviation: the code draws as many y as there are examples. This is the expectation over the y, without the constant
    that pairs y_i, y_i add to it in the code.

    output: its name.
    """

    def kernel_scale(self, width: int) -> int:
        return width**2


def published_mfm_loss(
    loss: Any, modalities: tuple[str, ...], generation: float = 1.0, discrepancy: float = 1.0
) -> WeightedLosses:
    """`mfm_loss` with the kernel of the authors' code: `PublishedNormalMMD` instead of `NormalMMD`. All as there."""
    exact = lambda one: PublishedNormalMMD(one.output) if isinstance(one, NormalMMD) else one
    each = mfm_loss(loss, modalities, generation, discrepancy).losses
    return WeightedLosses({name: (exact(one), weight) for name, (one, weight) in each.items()})
