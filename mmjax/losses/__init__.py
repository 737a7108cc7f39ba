"""Losses: ({name: output}, batch) -> one value per example, Float[b], or {name: Float[b]}. The step takes weighted means.

A criterion compares one output with its target, (output, target) -> Float[b]; `On` turns it into a loss by naming the output.

    cross_entropy                                                          all outputs that have a target
    On("label", SquaredError())                                            one output, another criterion
    WeightedLosses({"label": 1.0, "score": (On("score", Huber()), 0.5)})   several losses with fixed weights
    On("text", CTC())                                                      texts from the logits of every token
    Uncertainty(WeightedLosses({...}))                                     several losses with learned weights
    WeightedLosses({"label": 1.0, "pairs": (InfoNCE("image.embedding", "text.embedding"), 0.1)})
"""

from mmjax.losses.combine import On, Uncertainty, WeightedLosses, counted, cross_entropy
from mmjax.losses.contrastive import CPC, InfoNCE, SigmoidPairs, Triplet
from mmjax.losses.criteria import (
    AbsoluteError,
    Criterion,
    CrossEntropy,
    Focal,
    Huber,
    SigmoidCrossEntropy,
    SquaredError,
)
from mmjax.losses.ctc import CTC
from mmjax.losses.distributions import DCCA, CentralMoments, Correlation, NormalMMD, Orthogonality, SignedEntropy
from mmjax.losses.mfm import PublishedNormalMMD, published_mfm_loss
from mmjax.losses.published import SelfMMLoss, mfm_loss, misa_loss, mmim_loss
from mmjax.losses.towers import TowerDistillation

__all__ = [
    "CPC",
    "CTC",
    "DCCA",
    "AbsoluteError",
    "CentralMoments",
    "Correlation",
    "Criterion",
    "CrossEntropy",
    "Focal",
    "Huber",
    "InfoNCE",
    "NormalMMD",
    "On",
    "Orthogonality",
    "PublishedNormalMMD",
    "SelfMMLoss",
    "SigmoidCrossEntropy",
    "SigmoidPairs",
    "SignedEntropy",
    "SquaredError",
    "TowerDistillation",
    "Triplet",
    "Uncertainty",
    "WeightedLosses",
    "counted",
    "cross_entropy",
    "mfm_loss",
    "misa_loss",
    "mmim_loss",
    "published_mfm_loss",
]
