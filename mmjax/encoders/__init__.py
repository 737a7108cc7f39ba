"""One modality's array(s) -> Tokens."""

from mmjax.encoders.audio import AST, FrameRNN, OnSpectrum, SpectrogramCNN, ast_base
from mmjax.encoders.image import CNN
from mmjax.encoders.text import BagOfEmbeddings, TextRNN

__all__ = [
    "AST",
    "CNN",
    "BagOfEmbeddings",
    "FrameRNN",
    "OnSpectrum",
    "SpectrogramCNN",
    "TextRNN",
    "ast_base",
]
