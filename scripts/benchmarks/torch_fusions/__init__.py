"""The equations of each fusion in plain torch.

All modalities and tokens are present, so there are no masks and no dropout. Modules and parameters have mmjax's names, which
`fusion_specs.as_torch` relies on. Parameters that mmjax needs only for absent modalities are unused here.
"""

from benchmarks.torch_fusions.attention import EarlyTransformer
from benchmarks.torch_fusions.compose import build, lstm

__all__ = ["EarlyTransformer", "build", "lstm"]
