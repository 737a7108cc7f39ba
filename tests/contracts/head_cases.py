"""Heads of the contract suite, tiny: name -> (head, shape of the output without the batch). All outputs are float32."""

from mmjax.heads import Classifier, Mean, MultiLabel, Ordinal, Projection, Regressor, TokenLogits
from tests.contracts.inputs import CLASSES

WIDTH = 6  # of the suite's tokens

HEADS = {
    "classifier": (Classifier(CLASSES), (CLASSES,)),
    "matching": (Classifier(2, hidden=(4, 3)), (2,)),
    "multi_label": (MultiLabel(3), (3,)),
    "regressor": (Regressor(), (1,)),
    "ordinal": (Ordinal(CLASSES), (CLASSES,)),
    "projection": (Projection(4), (4,)),
    "mean": (Mean(), (WIDTH,)),
    "token_logits": (TokenLogits(7), (3, 7)),
}
