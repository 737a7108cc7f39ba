"""Fusions exactly as published: one function per paper, with the settings of the paper or of its authors' code.

    fusion=published.tfn(width=128),
    heads={"label": Regressor()},

The outputs equal those of the authors' definition with the same weights (docs/architectures.md has the measured differences). A
difference that remains is stated. Vectors of modalities are the means of their tokens; the definitions have one token each, or
one per step. An absent modality is masked, as everywhere; the definitions have none.

These modules are as published by themselves: `AttentionPooling`, `BBFN`, `FiLM` and `FiLMBlocks`, `GMU`, `GraphMFN`, `MAG`,
`MCTN`, `MFM`, `MFN`, `MISA`, `MMIM`, `MMVAE` and `MVAE` (with Gaussian distributions and perceptrons), `MUTAN`,
`MixtureOfExperts`, `NLGate`, `PerceiverIO`, `ProductOfExperts`, `QFormer`, `RAVEN`, `RandomFourier` (but for the unit length of
each modality), `SelfMM`, `ViLBERT`, and `MultiplicativeInteractions` for two modalities.
`fusion.published_perceiver.PublishedPerceiver` is Perceiver, and `fusion.published_mmvae.PublishedMMVAE` is MMVAE as in its
authors' code; they are imported from there. `fusion.flamingo_resampler` is Flamingo's, after a linear layer, and `ContextOver`
is bc-LSTM. The docstrings of others, such as `Perceiver`, `CoAttention` (see `ViLBERT`) and `Gated`, state how they differ.

Of training, `nn.StochasticDepth` is that of MBT, `losses.published_mfm_loss` the loss of MFM, `train.unimodal_labels` has the
labels of Self-MM, `train.previous_batch` the memory of MMIM, and `train.balance.ogm_ge` is OGM-GE, without the 1e-8 that the
authors' code adds to the deviation of the noise.
"""

from typing import Any

from mmjax.fusion.bottleneck import Bottleneck, SharedClassifier
from mmjax.fusion.compose import Parallel
from mmjax.fusion.connectors import MLPConnector
from mmjax.fusion.joint import Concat
from mmjax.fusion.mult import PublishedMulT
from mmjax.fusion.outputs import FusionOutput
from mmjax.fusion.tensor import MFB, LowRank, OuterProduct
from mmjax.nn.attention import gelu_tanh

__all__ = [
    "lmf", "logit_heads", "mbt", "mfb", "mfm_heads", "misa_heads", "mmim_heads", "mult", "multiplicative_interactions",
    "self_mm_heads", "tfn",
]


def mult(**fields: Any) -> PublishedMulT:
    """The multimodal Transformer of Tsai et al., 2019: their code, whose defaults are 5 layers of 5 heads and width 30.

    Its docstring lists the differences. fields: of `PublishedMulT`.
    """
    return PublishedMulT(**fields)


def mbt(classes: int, **fields: Any) -> SharedClassifier:
    """The multimodal bottleneck Transformer of Nagrani et al., 2021: scenic's MBT-Base, with 4 + 1 bottleneck tokens (the code
    adds one), GELU by tanh, one last norm and one classifier for all modalities.

    The output are the mean logits. In training, the loss is the mean of the cross-entropies of each modality's logits:

        heads={"label": Mean(), **published.logit_heads("label", ("audio", "image"))},
        loss=WeightedLosses({"audio.label": 0.5, "image.label": 0.5}),

    In training, the authors have no dropout, and stochastic depth whose rate rises linearly to 0.3 in the last layer. It is
    not in this constructor; with it, the fusion is

        fusion=nn.StochasticDepth(published.mbt(10), depth=12, rate=0.3)

    The tokens are those of encoders, with a linear layer; in scenic, patches of the input with a convolution. The rate of
    `dropout` is one for all places.

    classes: number of classes. fields: of `Bottleneck`.
    """
    base = {"tokens": 5, "fusion_layer": 8, "depth": 12, "width": 768, "heads": 12, "hidden": 3072}
    return SharedClassifier(Bottleneck(**{**base, "activation": gelu_tanh, "shared_norm": True, **fields}), classes)


def logit_heads(target: str, modalities: tuple[str, ...]) -> dict[str, FusionOutput]:
    """The heads "modality.target" of `mbt` and `SumLogits`: the logits of each modality."""
    return {f"{name}.{target}": FusionOutput(f"{name}.logits") for name in modalities}


def lmf(width: int = 64, rank: int = 4, **fields: Any) -> LowRank:
    """Low-rank multimodal fusion of Liu et al., 2018: their code, with a weight per term and a bias. Its networks before the
    fusion are the encoders; `width` is the number of outputs in the code. fields: of `LowRank`."""
    return LowRank(width, rank, **{"affine": True, **fields})


def tfn(width: int = 128, **fields: Any) -> Parallel:
    """The tensor fusion network of Zadeh et al., 2017: relu(W' relu(W flatten([x_1; 1] x ... x [x_K; 1]) + b) + b').

    Its networks before the fusion are the encoders, and the last linear layer is the head. In the authors' code, the head's
    output y is 6 sigmoid(y) - 3, for sentiments from -3 to 3. fields: of `Concat`; its `dropout` is also after the layers,
    where the code has none.
    """
    return Parallel({"outer": OuterProduct()}, Concat(width, **{"hidden": (width,), **fields}))


def mfb(width: int = 1000, **fields: Any) -> MFB:
    """Multi-modal factorised bilinear pooling of Yu et al., 2017, with the paper's 5 factors and 1000 outputs. The slopes of
    the square root and of the norm at zero are limited by e = 1e-12. fields: of `MFB`."""
    return MFB(width, **{"epsilon": 1e-12, **fields})


def multiplicative_interactions(width: int = 64, **fields: Any) -> Parallel:
    """MultiBench's `MultiplicativeInteractions3Modal` (Liang et al., 2021), after Jayakumar et al., 2020, for K modalities.

    For three, the trilinear map of x_1, x_2 and x_3 with all bilinear and linear terms and a bias, which is a linear map of
    flatten([x_1; 1] x [x_2; 1] x [x_3; 1]). `MultiplicativeInteractions` instead folds three modalities from the
    left. fields: of `MLPConnector`.
    """
    return Parallel({"outer": OuterProduct()}, MLPConnector(width, **fields))


def misa_heads(modalities: tuple[str, ...]) -> dict[str, FusionOutput]:
    """The heads of a `MISA` for `losses.misa_loss`: "text.shared", "text.private", ..., "reconstruction"."""
    return _heads(*(f"{name}.{kind}" for name in modalities for kind in ("shared", "private")), "reconstruction")


def mfm_heads(modalities: tuple[str, ...]) -> dict[str, FusionOutput]:
    """The heads of an `MFM` for `losses.mfm_loss`: "text.latent", ..., "latent", "generation"."""
    return _heads(*(f"{name}.latent" for name in modalities), "latent", "generation")


def mmim_heads(modalities: tuple[str, ...], main: str = "text") -> dict[str, FusionOutput]:
    """The heads of an `MMIM` for `losses.mmim_loss`: "text.vector", "text.predicted", ..., "audio.entropy", ...,
    "negative_log_likelihood"."""
    pairs = (f"{name}.{kind}" for name in modalities for kind in ("vector", "predicted"))
    return _heads(*pairs, *(f"{name}.entropy" for name in modalities if name != main), "negative_log_likelihood")


def self_mm_heads(target: str, modalities: tuple[str, ...]) -> dict[str, FusionOutput]:
    """The heads of a `SelfMM` for `losses.SelfMMLoss` and `train.unimodal_labels`: the scores "target", "text.target", ..., and
    "features", "text.features", ..."""
    parts = ("", *(f"{name}." for name in modalities))
    return {f"{part}{target}": FusionOutput(f"{part}score") for part in parts} | _heads(*(f"{part}features" for part in parts))


def _heads(*outputs: str) -> dict[str, FusionOutput]:
    return {output: FusionOutput(output) for output in outputs}
