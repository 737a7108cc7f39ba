"""Fusions: {modality: Tokens} -> Tokens. Modalities are sorted by name, so no output depends on the order of a dict."""

from mmjax.fusion.attention import CoAttention, CrossAttention, MulT
from mmjax.fusion.bottleneck import Bottleneck
from mmjax.fusion.compose import Append, Only, Parallel, Serial
from mmjax.fusion.early import EarlyTransformer, JoinTokens
from mmjax.fusion.gated import Gated
from mmjax.fusion.joint import GMU, Concat, FiLM, Product, WeightedSum
from mmjax.fusion.kernel import RandomFourier
from mmjax.fusion.late import MeanLogits, ProductOfExperts, Stacked, WeightedLogits
from mmjax.fusion.mixture import MixtureOfExperts
from mmjax.fusion.perceiver import Perceiver
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
    "JoinTokens",
    "LowRank",
    "MeanLogits",
    "MixtureOfExperts",
    "MulT",
    "MultiplicativeInteractions",
    "Only",
    "Parallel",
    "Perceiver",
    "Product",
    "ProductOfExperts",
    "RandomFourier",
    "Serial",
    "SideBySide",
    "Stacked",
    "TensorFusion",
    "WeightedLogits",
    "WeightedSum",
]
