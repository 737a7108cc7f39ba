"""The equations of each fusion in plain torch.

Every modality and every token is there, and nothing drops out: so there are no masks. Modules and parameters have mmjax's own
names, by which `fusion.named` carries the weights over; what mmjax has for absent modalities alone stands here unused.
"""

from benchmarks.fusion_peers.attention import EarlyTransformer
from benchmarks.fusion_peers.compose import build, lstm

__all__ = ["EarlyTransformer", "build", "lstm"]
