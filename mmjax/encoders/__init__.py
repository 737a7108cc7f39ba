"""Encoders: one modality's array(s) -> Tokens. Published models have constructors with their sizes, such as `vgg16()`."""

from mmjax.encoders.audio import AST, FrameRNN, OnSpectrum, SpectrogramCNN, ast_base
from mmjax.encoders.bert import BERT, bert_base, bert_large, bert_medium, bert_mini, bert_small, bert_tiny
from mmjax.encoders.dual import Pooled, TextTransformer
from mmjax.encoders.each_image import EachImage
from mmjax.encoders.efficientnet import EfficientNetLite, efficientnet_lite0, efficientnet_lite1, efficientnet_lite2
from mmjax.encoders.features import Contextual, Features
from mmjax.encoders.image import CNN
from mmjax.encoders.key_tokens import KeyTokens
from mmjax.encoders.lora import LoRA, QLoRA
from mmjax.encoders.naflex import ImagePatches, NaFlex
from mmjax.encoders.no_tokens import NoTokens
from mmjax.encoders.qwen_audio import QwenAudio, Recordings
from mmjax.encoders.qwen_vit import PlacedCells, QwenViT
from mmjax.encoders.resnet import ResNet, resnet18, resnet34, resnet50, resnet101
from mmjax.encoders.sentence import SentencePooling
from mmjax.encoders.series import TCN, PatchTransformer
from mmjax.encoders.text import BagOfEmbeddings, TextRNN, WordEmbeddings
from mmjax.encoders.vgg import VGG, vgg11, vgg13, vgg16, vgg19
from mmjax.encoders.video import FrameWise, VideoMAE, ViViT, videomae_b16, vivit_b16x2
from mmjax.encoders.vit import PatchStates, ViT, vit_b16, vit_l16, vit_s16, vit_ti16
from mmjax.encoders.wav2vec2 import Wav2Vec2, wav2vec2_base, wav2vec2_large
from mmjax.encoders.whisper import WhisperEncoder, whisper_base, whisper_small, whisper_tiny

__all__ = [
    "AST",
    "BERT",
    "CNN",
    "TCN",
    "VGG",
    "BagOfEmbeddings",
    "Contextual",
    "EachImage",
    "EfficientNetLite",
    "Features",
    "FrameRNN",
    "FrameWise",
    "ImagePatches",
    "KeyTokens",
    "LoRA",
    "NaFlex",
    "NoTokens",
    "OnSpectrum",
    "PatchStates",
    "PatchTransformer",
    "PlacedCells",
    "Pooled",
    "QLoRA",
    "QwenAudio",
    "QwenViT",
    "Recordings",
    "ResNet",
    "SentencePooling",
    "SpectrogramCNN",
    "TextRNN",
    "TextTransformer",
    "ViT",
    "ViViT",
    "VideoMAE",
    "Wav2Vec2",
    "WhisperEncoder",
    "WordEmbeddings",
    "ast_base",
    "bert_base",
    "bert_large",
    "bert_medium",
    "bert_mini",
    "bert_small",
    "bert_tiny",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "videomae_b16",
    "vit_b16",
    "vit_l16",
    "vit_s16",
    "vit_ti16",
    "vivit_b16x2",
    "wav2vec2_base",
    "wav2vec2_large",
    "whisper_base",
    "whisper_small",
    "whisper_tiny",
]
