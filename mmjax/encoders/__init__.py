"""One modality's array(s) -> Tokens."""

from mmjax.encoders.audio import FrameLSTM
from mmjax.encoders.image import CNN
from mmjax.encoders.text import TextLSTM

__all__ = ["CNN", "FrameLSTM", "TextLSTM"]
