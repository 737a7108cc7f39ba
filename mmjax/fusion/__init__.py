"""{modality: Tokens} -> Tokens. Modalities are taken in the order of their names, so that no result depends on a dict's."""

from mmjax.fusion.gated import Gated
from mmjax.fusion.joint import Concat
from mmjax.fusion.late import MeanLogits

__all__ = ["Concat", "Gated", "MeanLogits"]
