"""Heads of the contract suite, tiny: name -> (head, the output's shape after the batch). All outputs are float32."""

from mmjax.heads import (
    Bias,
    Classifier,
    LogVariances,
    Mean,
    MultiLabel,
    Ordinal,
    Projection,
    Regressor,
    Temperature,
)
from tests.contracts.inputs import CLASSES

WIDTH = 6  # of the tokens that the suite feeds

HEADS = {
    "classifier": (Classifier(CLASSES), (CLASSES,)),
    "matching": (Classifier(2, hidden=(4, 3)), (2,)),
    "multi_label": (MultiLabel(3), (3,)),
    "regressor": (Regressor(), (1,)),
    "ordinal": (Ordinal(CLASSES), (CLASSES,)),
    "projection": (Projection(4), (4,)),
    "mean": (Mean(), (WIDTH,)),
    "temperature": (Temperature(), (1,)),
    "bias": (Bias(), (1,)),
    "log_variances": (LogVariances(("label", "image.label")), (2,)),
}
