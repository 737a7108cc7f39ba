"""Fusions: {modality: Tokens} -> Tokens. Modalities are sorted by name, so no output depends on the order of a dict."""

from mmjax.fusion import published
from mmjax.fusion.attention import CoAttention, CrossAttention, MulT
from mmjax.fusion.bimodal import BBFN
from mmjax.fusion.bottleneck import Bottleneck, SharedClassifier
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
from mmjax.fusion.factorised import MFM
from mmjax.fusion.film import FiLMBlocks
from mmjax.fusion.gated import Gated
from mmjax.fusion.generative import MMVAE, MVAE
from mmjax.fusion.infomax import MMIM
from mmjax.fusion.joint import GMU, Concat, FiLM, Product, WeightedSum
from mmjax.fusion.kernel import RandomFourier
from mmjax.fusion.late import MeanLogits, ProductOfExperts, Stacked, SumLogits, WeightedLogits
from mmjax.fusion.memory import MFN, GraphMFN
from mmjax.fusion.mixture import MixtureOfExperts
from mmjax.fusion.mult import PublishedMulT
from mmjax.fusion.outputs import FusionOutput
from mmjax.fusion.perceiver import Perceiver, PerceiverIO
from mmjax.fusion.pooled import AttentionPooling, NLGate
from mmjax.fusion.resamplers import QFormer, Resampler, blip2_qformer, flamingo_resampler
from mmjax.fusion.shared_private import MISA
from mmjax.fusion.shift import MAG, RAVEN
from mmjax.fusion.steps import ContextOver, EachStep, SideBySide
from mmjax.fusion.tensor import MFB, MUTAN, LowRank, MultiplicativeInteractions, OuterProduct, TensorFusion
from mmjax.fusion.translation import MCTN
from mmjax.fusion.unimodal_labels import SelfMM
from mmjax.fusion.vilbert import ViLBERT

__all__ = [
    "BBFN",
    "GMU",
    "MAG",
    "MCTN",
    "MFB",
    "MFM",
    "MFN",
    "MISA",
    "MMIM",
    "MMVAE",
    "MUTAN",
    "MVAE",
    "RAVEN",
    "Append",
    "AttentionPooling",
    "Bottleneck",
    "CoAttention",
    "Concat",
    "ContextOver",
    "CrossAttention",
    "EachStep",
    "EarlyTransformer",
    "FiLM",
    "FiLMBlocks",
    "FusionOutput",
    "Gated",
    "GraphMFN",
    "GridMean",
    "JoinTokens",
    "LineBreak",
    "LowRank",
    "MLPConnector",
    "MeanLogits",
    "MixtureOfExperts",
    "MulT",
    "MultiplicativeInteractions",
    "NLGate",
    "Normalised",
    "Only",
    "OuterProduct",
    "Parallel",
    "Perceiver",
    "PerceiverIO",
    "PixelShuffle",
    "Product",
    "ProductOfExperts",
    "PublishedMulT",
    "QFormer",
    "RandomFourier",
    "Resampler",
    "SelfMM",
    "Serial",
    "SharedClassifier",
    "SideBySide",
    "Stacked",
    "SumLogits",
    "TensorFusion",
    "ViLBERT",
    "WeightedLogits",
    "WeightedSum",
    "blip2_qformer",
    "flamingo_resampler",
    "gemma3_connector",
    "idefics3_connector",
    "llava_linear",
    "llava_mlp",
    "published",
]
