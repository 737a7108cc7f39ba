"""Differential privacy: DP-SGD, its accountants, the checks of an experiment, and an audit with canaries."""

from mmjax.robust.privacy.accounting import PLD, RDP, ClassicRDP
from mmjax.robust.privacy.clipping import AdaptiveClip, Flat, PerLayer
from mmjax.robust.privacy.gradient import DPSGD

__all__ = ["DPSGD", "PLD", "RDP", "AdaptiveClip", "ClassicRDP", "Flat", "PerLayer"]
