"""Fusions: {modality: Tokens} -> Tokens. Modalities are sorted by name, so no output depends on the order of a dict."""

from mmjax.fusion.attention import CoAttention, CrossAttention, MulT
from mmjax.fusion.bottleneck import Bottleneck
from mmjax.fusion.compose import Append, Only, Parallel, Serial
from mmjax.fusion.connectors import (
    GridMean,
    LineBreak,
    MLPConnector,
    Normalised,
    PixelShuffle,
    gemma3_connector,
    idefics3_connector,
    llava_linear,
    llava_mlp,
)
from mmjax.fusion.early import EarlyTransformer, JoinTokens
from mmjax.fusion.gated import Gated
from mmjax.fusion.joint import GMU, Concat, FiLM, Product, WeightedSum
from mmjax.fusion.kernel import RandomFourier
from mmjax.fusion.late import MeanLogits, ProductOfExperts, Stacked, WeightedLogits
from mmjax.fusion.mixture import MixtureOfExperts
from mmjax.fusion.perceiver import Perceiver
from mmjax.fusion.resamplers import QFormer, Resampler, blip2_qformer, flamingo_resampler
from mmjax.fusion.steps import ContextOver, EachStep, SideBySide
from mmjax.fusion.tensor import MFB, MUTAN, LowRank, MultiplicativeInteractions, TensorFusion

__all__ = [
    "GMU",
    "MFB",
    "MUTAN",
    "Append",
    "Bottleneck",
    "CoAttention",
    "Concat",
    "ContextOver",
    "CrossAttention",
    "EachStep",
    "EarlyTransformer",
    "FiLM",
    "Gated",
    "GridMean",
    "JoinTokens",
    "LineBreak",
    "LowRank",
    "MLPConnector",
    "MeanLogits",
    "MixtureOfExperts",
    "MulT",
    "MultiplicativeInteractions",
    "Normalised",
    "Only",
    "Parallel",
    "Perceiver",
    "PixelShuffle",
    "Product",
    "ProductOfExperts",
    "QFormer",
    "RandomFourier",
    "Resampler",
    "Serial",
    "SideBySide",
    "Stacked",
    "TensorFusion",
    "WeightedLogits",
    "WeightedSum",
    "blip2_qformer",
    "flamingo_resampler",
    "gemma3_connector",
    "idefics3_connector",
    "llava_linear",
    "llava_mlp",
]
