"""Losses of the contract suite: name -> loss over the outputs of `test_losses.py`."""

from dataclasses import dataclass

import jax.numpy as jnp

from mmjax.losses import (
    CPC,
    CTC,
    DCCA,
    AbsoluteError,
    CentralMoments,
    Correlation,
    CrossEntropy,
    Focal,
    Huber,
    InfoNCE,
    NormalMMD,
    On,
    Orthogonality,
    PublishedNormalMMD,
    SigmoidCrossEntropy,
    SigmoidPairs,
    SignedEntropy,
    SquaredError,
    TowerDistillation,
    Triplet,
    Uncertainty,
    WeightedLosses,
    cross_entropy,
)
from mmjax.types import Tokens

PAIR = ("image.embedding", "text.embedding")
WEIGHTED = WeightedLosses({"label": 1.0, "image.label": 0.3, "pairs": (InfoNCE(*PAIR), 0.1)})


def label_cross_entropy(outputs, batch):
    """`cross_entropy` takes all outputs that have a target; in this suite only the labels are classes."""
    return cross_entropy({name: x for name, x in outputs.items() if name.endswith("label")}, batch)


@dataclass(frozen=True)
class OfTokens:
    """`On` with an output [b 12] as the logits of 4 tokens, of which the first 3 are always valid."""

    output: str
    criterion: CTC

    def __call__(self, outputs, batch):
        x = outputs[self.output].reshape(-1, 4, 3)
        tokens = Tokens(x, (x[..., 0] > 0) | (jnp.arange(4) < 3)[None])
        return On(self.output, self.criterion)({**outputs, self.output: tokens}, batch)


LOSSES = {
    "cross_entropy": label_cross_entropy,
    "smoothed": On("image.label", CrossEntropy(0.1, (1.0, 2.0, 0.5, 1.0, 1.0))),
    "focal": On("image.label", Focal()),
    "several_labels": On("image.several", SigmoidCrossEntropy()),
    "squared_error": On("image.score", SquaredError()),
    "absolute_error": On("image.score", AbsoluteError()),
    "huber": On("image.score", Huber(0.7)),
    "ctc": OfTokens("image.text", CTC(per_id=True)),
    "info_nce": InfoNCE(*PAIR, temperature="temperature"),
    "info_nce_items": InfoNCE(*PAIR, temperature="temperature", match="label"),
    "sigmoid_pairs": SigmoidPairs(*PAIR, temperature="temperature", bias="bias"),
    "sigmoid_items": SigmoidPairs(*PAIR, temperature="temperature", match="label"),
    "triplet": Triplet(*PAIR),
    "tower": TowerDistillation(*PAIR),
    "correlation": Correlation(*PAIR),
    "dcca": DCCA(*PAIR, top=2),
    "central_moments": CentralMoments(*PAIR),
    "orthogonality": Orthogonality(*PAIR),
    "normal_mmd": NormalMMD(PAIR[0]),
    "published_mmd": PublishedNormalMMD(PAIR[0]),
    "cpc": CPC(*PAIR),
    "signed_entropy": SignedEntropy(PAIR[0], ridge=0.1),
    "weighted_losses": WEIGHTED,
    "uncertainty": Uncertainty(WEIGHTED),
}
# like "correlation": computed over the whole batch; like "info_nce"
SLOW = ("dcca", "central_moments", "orthogonality", "normal_mmd", "published_mmd", "signed_entropy", "cpc")
