"""Attention fusions for the contract suite: name -> (fusion, head)."""

from mmjax.fusion.attention import CoAttention, CrossAttention, MulT
from mmjax.fusion.bimodal import BBFN
from mmjax.fusion.bottleneck import Bottleneck, SharedClassifier
from mmjax.fusion.compose import Append, Only, Parallel
from mmjax.fusion.early import EarlyTransformer
from mmjax.fusion.joint import WeightedSum
from mmjax.fusion.mult import PublishedMulT
from mmjax.fusion.perceiver import Perceiver, PerceiverIO
from mmjax.fusion.published_perceiver import PublishedPerceiver
from mmjax.fusion.resamplers import QFormer, Resampler
from mmjax.fusion.vilbert import ViLBERT
from mmjax.heads import Classifier, Mean
from mmjax.nn import StochasticDepth
from tests.contracts.inputs import CLASSES

# Dropout may zero all of a token narrower than 8, and a layer norm of near-zero values amplifies rounding.
SIZE = {"width": 8, "heads": 2, "hidden": 6, "dropout": 0.2}

VILBERT = ViLBERT(("one", "two"), depth=1, width=8, heads=2, own_heads=(1, 2), hidden=(6, 6))
# It has two modalities; another fusion sees the third.
WITH_A_THIRD = Parallel({"pair": Only(("one", "two"), VILBERT), "three": Only(("three",), WeightedSum(8))}, Append())

FUSIONS = {
    "early_transformer": (EarlyTransformer(depth=1, **SIZE), Classifier(CLASSES)),
    "cross_attention": (CrossAttention(query="one", depth=1, **SIZE), Classifier(CLASSES)),
    "co_attention": (CoAttention(depth=1, **SIZE), Classifier(CLASSES)),
    "mult": (MulT(depth=1, **(SIZE | {"dropout": 0.0})), Classifier(CLASSES)),  # without dropout, to compile faster
    "perceiver": (Perceiver(latents=3, reads=1, depth=1, **SIZE), Classifier(CLASSES)),
    "resampler": (Resampler(queries=2, depth=1, **SIZE), Classifier(CLASSES)),
    "qformer": (QFormer(6, queries=2, depth=1, **SIZE), Classifier(CLASSES)),
    "bottleneck": (Bottleneck(tokens=2, fusion_layer=0, depth=2, **SIZE), Classifier(CLASSES)),
    "shared_classifier": (SharedClassifier(Bottleneck(tokens=1, fusion_layer=0, depth=1, **SIZE), CLASSES), Mean()),
    "vilbert": (WITH_A_THIRD, Classifier(CLASSES)),
    "perceiver_io": (
        PerceiverIO(latents=3, width=6, depth=1, blocks=1, heads=2, queries=2, query_width=6), Classifier(CLASSES)
    ),
    "published_perceiver": (
        PublishedPerceiver(latents=3, width=6, reads=2, depth=1, heads=2, bands=2, encoding=2), Classifier(CLASSES)
    ),
    "stochastic_depth": (
        StochasticDepth(Bottleneck(tokens=2, fusion_layer=0, depth=2, **SIZE), depth=2, rate=0.4), Classifier(CLASSES)
    ),
    "bbfn": (BBFN("one", width=8, depth=2, heads=2), Classifier(CLASSES)),
    "published_mult": (PublishedMulT(width=4, depth=1, memory=1, heads=1), Classifier(CLASSES)),
}
# They compile for seconds.
SLOW = tuple(
    f"fusion {name}"
    for name in (
        "shared_classifier", "vilbert", "perceiver_io", "published_perceiver", "stochastic_depth", "bbfn", "published_mult"
    )
)  # fmt: skip
