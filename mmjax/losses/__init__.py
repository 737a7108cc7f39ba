"""Losses: ({name: output}, batch) -> one value per example, Float[b], or {task: Float[b]}. The step takes weighted means.

A criterion compares one output with its target, (output, target) -> Float[b], and knows no names; `On` makes a loss of it.

    cross_entropy                                                         every output that has a target
    On("label", SquaredError())                                           one output, another criterion
    Tasks({"label": 1.0, "score": (On("score", Huber()), 0.5)})           several, with fixed weights
    Uncertainty(Tasks({...}))                                             with learned weights
    Tasks({"label": 1.0, "pairs": (InfoNCE("image.embedding", "text.embedding"), 0.1)})
"""

from mmjax.losses.contrastive import Correlation, InfoNCE, SigmoidPairs, Triplet
from mmjax.losses.criteria import (
    AbsoluteError,
    Criterion,
    CrossEntropy,
    Focal,
    Huber,
    SigmoidCrossEntropy,
    SquaredError,
)
from mmjax.losses.tasks import On, Tasks, Uncertainty, counted, cross_entropy

__all__ = [
    "AbsoluteError",
    "Correlation",
    "Criterion",
    "CrossEntropy",
    "Focal",
    "Huber",
    "InfoNCE",
    "On",
    "SigmoidCrossEntropy",
    "SigmoidPairs",
    "SquaredError",
    "Tasks",
    "Triplet",
    "Uncertainty",
    "counted",
    "cross_entropy",
]
