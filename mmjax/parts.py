"""All encoders, fusions, heads, decoders and losses with shapes, parameters and sources: `python -m mmjax.parts`.

Shapes and numbers of parameters are computed from the modules by `jax.eval_shape`. Published models have their published size.
"""

import argparse
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax import decoders, encoders, fusion, heads, losses
from mmjax.fusion.published_mmvae import PublishedMMVAE
from mmjax.fusion.published_perceiver import PublishedPerceiver
from mmjax.nn import GRU, LSTM, RNN, Bidirectional, StochasticDepth
from mmjax.nn.mel import LogMel
from mmjax.types import Padded, Tokens

__all__ = [
    "CELLS", "CLASSES", "DECODERS", "ENCODERS", "FRAMES", "FUSED", "FUSIONS", "GRID", "HEADS", "IMAGE", "LOSSES",
    "LOSS_PARAMETERS", "MEMORY", "NARROW", "PAIR", "PATCHES", "PREFIX", "SERIES", "SMALL_IMAGE", "SOUND", "SPECTRUM", "STEPS",
    "TOKENS", "TOKEN_IDS", "VECTORS", "VIDEO", "WAVE", "WHISPER", "Part", "line", "table", "three", "unlisted",
]

CLASSES = 10


def _array(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, *shape), dtype)


def _sequence(*shape: int, dtype: Any = jnp.float32) -> Padded:
    return Padded(_array(*shape, dtype=dtype), _array(dtype=jnp.int32))


IMAGE, SMALL_IMAGE = _array(224, 224, 3), _array(32, 32, 3)
PATCHES = encoders.ImagePatches(_array(256, 768), _array(2, dtype=jnp.int32))
CELLS = encoders.PlacedCells(_array(64, 28, 28, 3), _array(64, 3, dtype=jnp.int32))
TOKEN_IDS, FRAMES, SERIES = _sequence(32, dtype=jnp.int32), _sequence(100, 40), _sequence(100, 6)
WHISPER = _sequence(3000, 80)
SOUND = encoders.Recordings(_array(1, 3000, 80), _array(1, dtype=jnp.int32))
SPECTRUM, VIDEO, WAVE = _sequence(1024, 128), _sequence(32, 224, 224, 3), _sequence(32_000)
VECTORS = _sequence(20, 100)
TOKENS = {
    name: Tokens(_array(count, 64), _array(count, dtype=bool)) for name, count in (("audio", 1), ("image", 49), ("text", 16))
}
GRID = {"image": Tokens(_array(1024, 768), _array(1024, dtype=bool))}
FUSED = Tokens(_array(1, 64), _array(1, dtype=bool))


class Part(NamedTuple):
    """One row of a table. name: the constructor call. input: shapes of the input. source: a citation or a description.
    memory: shapes of the second input of a decoder."""

    name: str
    module: nn.Module
    input: Any
    source: str
    memory: Tokens | None = None


def _rnn(layer: nn.Module) -> nn.Module:
    return encoders.TextRNN(vocabulary=10_000, layer=layer)


ENCODERS = (
    Part("CNN()", encoders.CNN(), SMALL_IMAGE, "3x3 convolution, ReLU, max-pooling"),
    *(
        Part(f"{name}()", getattr(encoders, name)(), IMAGE, "Simonyan and Zisserman, 2015")
        for name in ("vgg11", "vgg13", "vgg16", "vgg19")
    ),
    Part("vgg16(batch_norm=True)", encoders.vgg16(batch_norm=True), IMAGE, "Simonyan and Zisserman, 2015; torchvision"),
    *(
        Part(f"{name}()", getattr(encoders, name)(), IMAGE, "He et al., 2016 (v1.5)")
        for name in ("resnet18", "resnet34", "resnet50", "resnet101")
    ),
    *(
        Part(f"{name}()", getattr(encoders, name)(), IMAGE, "Tan and Le, 2019; lite")
        for name in ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
    ),
    *(Part(f"{name}()", getattr(encoders, name)(), IMAGE, "Touvron et al., 2021") for name in ("vit_ti16", "vit_s16")),
    *(Part(f"{name}()", getattr(encoders, name)(), IMAGE, "Dosovitskiy et al., 2021") for name in ("vit_b16", "vit_l16")),
    Part("NaFlex()", encoders.NaFlex(), PATCHES, "Tschannen et al., 2025"),
    Part("QwenViT()", encoders.QwenViT(), CELLS, "Wang et al., 2024"),
    Part("BagOfEmbeddings(10_000)", encoders.BagOfEmbeddings(10_000), TOKEN_IDS, "Iyyer et al., 2015"),
    Part("WordEmbeddings(10_000)", encoders.WordEmbeddings(10_000), TOKEN_IDS, "the input of `decoders.LanguageModel`"),
    Part("TextRNN(10_000, layer=RNN(128))", _rnn(RNN(128)), TOKEN_IDS, "Elman, 1990"),
    Part("TextRNN(10_000, layer=GRU(128))", _rnn(GRU(128)), TOKEN_IDS, "Cho et al., 2014"),
    Part("TextRNN(10_000, layer=LSTM(128))", _rnn(LSTM(128)), TOKEN_IDS, "Hochreiter and Schmidhuber, 1997"),
    Part("TextRNN(10_000, layer=Bidirectional(LSTM(128)))", _rnn(Bidirectional(LSTM(128))), TOKEN_IDS, "Graves, 2005"),
    *(
        Part(f"{name}()", getattr(encoders, name)(), TOKEN_IDS, "Turc et al., 2019")
        for name in ("bert_tiny", "bert_mini", "bert_small", "bert_medium")
    ),
    *(Part(f"{name}()", getattr(encoders, name)(), TOKEN_IDS, "Devlin et al., 2019") for name in ("bert_base", "bert_large")),
    Part("LoRA(bert_base())", encoders.LoRA(encoders.bert_base()), TOKEN_IDS, "Hu et al., 2022"),
    Part("QLoRA(bert_base())", encoders.QLoRA(encoders.bert_base()), TOKEN_IDS, "Dettmers et al., 2023"),
    Part("TextTransformer()", encoders.TextTransformer(), TOKEN_IDS, "Radford et al., 2021"),
    Part("Pooled(vit_b16())", encoders.Pooled(encoders.vit_b16()), IMAGE, "pooling of an encoder"),
    Part(
        "Pooled(bert_base(), SentencePooling())",
        encoders.Pooled(encoders.bert_base(), encoders.SentencePooling()),
        TOKEN_IDS,
        "Reimers and Gurevych, 2019",
    ),
    Part("FrameRNN()", encoders.FrameRNN(), FRAMES, "dense layer and LSTM on each frame"),
    Part("SpectrogramCNN()", encoders.SpectrogramCNN(), FRAMES, "CNN over time and frequency"),
    Part("QwenAudio(WhisperEncoder())", encoders.QwenAudio(encoders.WhisperEncoder()), SOUND, "Chu et al., 2024"),
    Part("ast_base()", encoders.ast_base(), SPECTRUM, "Gong et al., 2021"),
    *(
        Part(f"{name}()", getattr(encoders, name)(), WHISPER, "Radford et al., 2023")
        for name in ("whisper_tiny", "whisper_base", "whisper_small")
    ),
    *(
        Part(f"{name}()", getattr(encoders, name)(), WAVE, "Baevski et al., 2020")
        for name in ("wav2vec2_base", "wav2vec2_large")
    ),
    Part(
        "OnSpectrum(LogMel(), FrameRNN())",
        encoders.OnSpectrum(LogMel(), encoders.FrameRNN()),
        WAVE,
        "Davis and Mermelstein, 1980",
    ),
    Part(
        "FrameWise(CNN(), LSTM(128))",
        encoders.FrameWise(encoders.CNN(), LSTM(128)),
        _sequence(16, 32, 32, 3),
        "image encoder and layer over time",
    ),
    Part(
        "KeyTokens(FrameWise(CNN(), LSTM(128)))",
        encoders.KeyTokens(encoders.FrameWise(encoders.CNN(), LSTM(128))),
        _sequence(16, 32, 32, 3),
        "Gao and Ji, 2019 (top-k pooling)",
    ),
    Part("EachImage(vit_b16())", encoders.EachImage(encoders.vit_b16()), _sequence(4, 224, 224, 3), "each of several images"),
    Part("PatchStates(vit_b16())", encoders.PatchStates(encoders.vit_b16()), IMAGE, "Liu et al., 2023"),
    Part("vivit_b16x2()", encoders.vivit_b16x2(), VIDEO, "Arnab et al., 2021"),
    Part("videomae_b16()", encoders.videomae_b16(), _sequence(16, 224, 224, 3), "Tong et al., 2022"),
    Part("TCN()", encoders.TCN(), SERIES, "Bai et al., 2018"),
    Part("PatchTransformer()", encoders.PatchTransformer(), SERIES, "Nie et al., 2023"),
    Part("Features()", encoders.Features(), VECTORS, "dense layer on feature vectors"),
    Part("NoTokens()", encoders.NoTokens(), _array(0), "no input: a text-only model"),
    Part("Contextual(LSTM(64))", encoders.Contextual(LSTM(64)), VECTORS, "Poria et al., 2017"),
)
PAIR = ("image", "text")
NARROW = {name: Tokens(_array(1, 16), _array(1, dtype=bool)) for name in ("audio", "image", "text")}
STEPS = {name: Tokens(_array(20, 64), _array(20, dtype=bool)) for name in ("audio", "text")}
FUSIONS = (
    Part("Concat()", fusion.Concat(), TOKENS, "concatenation and a dense layer"),
    Part("WeightedSum()", fusion.WeightedSum(), TOKENS, "v = alpha f + beta g with learned weights"),
    Part("Product()", fusion.Product(), TOKENS, "element-wise product and ReLU"),
    Part('FiLM("image")', fusion.FiLM("image"), TOKENS, "Perez et al., 2018"),
    Part('FiLMBlocks("image", (7, 7), 64)', fusion.FiLMBlocks("image", (7, 7), 64), TOKENS, "Perez et al., 2018, code"),
    Part("GMU()", fusion.GMU(), TOKENS, "Arevalo et al., 2017"),
    Part("Gated()", fusion.Gated(), TOKENS, "Jacobs et al., 1991"),
    Part("TensorFusion()", fusion.TensorFusion(), TOKENS, "Zadeh et al., 2017"),
    Part("LowRank()", fusion.LowRank(), TOKENS, "Liu et al., 2018"),
    Part("MultiplicativeInteractions()", fusion.MultiplicativeInteractions(), TOKENS, "Jayakumar et al., 2020"),
    Part("MFB()", fusion.MFB(), TOKENS, "Yu et al., 2017"),
    Part("MUTAN()", fusion.MUTAN(), TOKENS, "Ben-younes et al., 2017"),
    Part("OuterProduct()", fusion.OuterProduct(), TOKENS, "Zadeh et al., 2017; without layers"),
    Part("published.tfn()", fusion.published.tfn(), NARROW, "Zadeh et al., 2017, code"),
    Part("published.lmf()", fusion.published.lmf(), TOKENS, "Liu et al., 2018, code"),
    Part("published.mfb()", fusion.published.mfb(), TOKENS, "Yu et al., 2017, code"),
    Part(
        "published.multiplicative_interactions()",
        fusion.published.multiplicative_interactions(),
        NARROW,
        "Liang et al., 2021, MultiBench",
    ),
    Part("RandomFourier()", fusion.RandomFourier(), TOKENS, "Yu et al., 2016"),
    Part("AttentionPooling()", fusion.AttentionPooling(), TOKENS, "Poria et al., 2017; Ilse et al., 2018"),
    Part('NLGate("text")', fusion.NLGate("text"), TOKENS, "Wang et al., 2020"),
    Part("MISA()", fusion.MISA(), TOKENS, "Hazarika et al., 2020"),
    Part("MMIM()", fusion.MMIM(), TOKENS, "Han et al., 2021, EMNLP"),
    Part("SelfMM()", fusion.SelfMM(), TOKENS, "Yu et al., 2021"),
    Part("MVAE()", fusion.MVAE(), TOKENS, "Wu and Goodman, 2018"),
    Part("MMVAE()", fusion.MMVAE(), TOKENS, "Shi et al., 2019"),
    Part("PublishedMMVAE()", PublishedMMVAE(), TOKENS, "Shi et al., 2019, code"),
    Part("EarlyTransformer()", fusion.EarlyTransformer(), TOKENS, "Vaswani et al., 2017"),
    Part("JoinTokens()", fusion.JoinTokens(), TOKENS, "concatenation of tokens, for decoders"),
    Part('CrossAttention("text")', fusion.CrossAttention("text"), TOKENS, "Vaswani et al., 2017"),
    Part("CoAttention()", fusion.CoAttention(), TOKENS, "Lu et al., 2019"),
    Part(
        "ViLBERT(depth=1, own_heads=(8, 8))",
        fusion.ViLBERT(depth=1, own_heads=(8, 8)),
        {name: TOKENS[name] for name in PAIR},
        "Lu et al., 2019, code",
    ),
    Part("MulT()", fusion.MulT(), TOKENS, "Tsai et al., 2019"),
    Part("published.mult(depth=1)", fusion.published.mult(depth=1), TOKENS, "Tsai et al., 2019, code"),
    Part("BBFN(depth=2)", fusion.BBFN(depth=2), TOKENS, "Han et al., 2021, ICMI"),
    Part("Perceiver()", fusion.Perceiver(), TOKENS, "Jaegle et al., 2021"),
    Part("PublishedPerceiver(depth=1)", PublishedPerceiver(depth=1), TOKENS, "Jaegle et al., 2021, as in the paper"),
    Part("PerceiverIO(depth=1, blocks=1)", fusion.PerceiverIO(depth=1, blocks=1), TOKENS, "Jaegle et al., 2022"),
    Part("llava_linear(576)", fusion.llava_linear(576), TOKENS, "Liu et al., 2023"),
    Part("llava_mlp(576)", fusion.llava_mlp(576), TOKENS, "Liu et al., 2024"),
    Part("MLPConnector(576, hidden=(128, 128))", fusion.MLPConnector(576, (128, 128)), TOKENS, "perceptron on each token"),
    Part("idefics3_connector(576, 4, (32, 32))", fusion.idefics3_connector(576, 4, (32, 32)), GRID, "Laurençon et al., 2024"),
    Part("gemma3_connector(576, 4, (32, 32))", fusion.gemma3_connector(576, 4, (32, 32)), GRID, "Gemma Team, 2025"),
    Part("LineBreak(llava_mlp(576))", fusion.LineBreak(fusion.llava_mlp(576)), TOKENS, "Liu et al., 2024"),
    Part("Normalised(MLPConnector(576))", fusion.Normalised(fusion.MLPConnector(576)), TOKENS, "RMS norm, then a connector"),
    Part("flamingo_resampler(576)", fusion.flamingo_resampler(576), GRID, "Alayrac et al., 2022"),
    Part("blip2_qformer(576)", fusion.blip2_qformer(576), GRID, "Li et al., 2023"),
    Part("Bottleneck()", fusion.Bottleneck(), TOKENS, "Nagrani et al., 2021"),
    Part(
        "published.mbt(10, depth=2, fusion_layer=1)",
        fusion.published.mbt(CLASSES, depth=2, fusion_layer=1),
        TOKENS,
        "Nagrani et al., 2021, code",
    ),
    Part(
        "StochasticDepth(published.mbt(10, depth=2, fusion_layer=1), 2)",
        StochasticDepth(fusion.published.mbt(CLASSES, depth=2, fusion_layer=1), 2),
        TOKENS,
        "Nagrani et al., 2021, code, in training",
    ),
    Part("MixtureOfExperts()", fusion.MixtureOfExperts(), TOKENS, "Shazeer et al., 2017"),
    Part("MeanLogits(10)", fusion.MeanLogits(CLASSES), TOKENS, "mean of logits"),
    Part("WeightedLogits(10)", fusion.WeightedLogits(CLASSES), TOKENS, "learned weighted mean of logits"),
    Part("ProductOfExperts(10)", fusion.ProductOfExperts(CLASSES), TOKENS, "Hinton, 2002"),
    Part("Stacked(10)", fusion.Stacked(CLASSES), TOKENS, "Wolpert, 1992"),
    Part("SumLogits(10)", fusion.SumLogits(CLASSES), TOKENS, "terms of a linear classifier, for OGM-GE"),
    Part('Only(("image", "text"), GMU())', fusion.Only(PAIR, fusion.GMU()), TOKENS, "restriction to some modalities"),
    Part(
        'Serial(("image", "text"), GMU(), Concat())', fusion.Serial(PAIR, fusion.GMU(), fusion.Concat()), TOKENS, "composition"
    ),
    Part(
        'Parallel({"sum": WeightedSum(), "product": Product()}, Append())',
        fusion.Parallel({"sum": fusion.WeightedSum(), "product": fusion.Product()}, fusion.Append()),
        TOKENS,
        "composition",
    ),
    Part("Append()", fusion.Append(), {name: TOKENS[name] for name in PAIR}, "concatenation along the token axis"),
    Part("EachStep(GMU())", fusion.EachStep(fusion.GMU()), STEPS, "any fusion at each step"),
    Part("SideBySide()", fusion.SideBySide(), STEPS, "concatenation at each step"),
    Part("ContextOver(SideBySide(), LSTM(64))", fusion.ContextOver(fusion.SideBySide(), LSTM(64)), STEPS, "Poria et al., 2017"),
    Part('MAG("text")', fusion.MAG("text"), STEPS, "Rahman et al., 2020"),
    Part('RAVEN("text")', fusion.RAVEN("text"), STEPS, "Wang et al., 2019"),
    Part("MFN()", fusion.MFN(), STEPS, "Zadeh et al., 2018, AAAI"),
    Part("GraphMFN()", fusion.GraphMFN(), STEPS, "Zadeh et al., 2018, ACL"),
    Part("MFM()", fusion.MFM(), STEPS, "Tsai et al., 2019, ICLR"),
    Part('MCTN(targets=("audio",))', fusion.MCTN(targets=("audio",)), STEPS, "Pham et al., 2019"),
)
HEADS = (
    Part("Classifier(10)", heads.Classifier(CLASSES), FUSED, "logits"),
    Part("Classifier(2, hidden=(64,))", heads.Classifier(2, hidden=(64,)), FUSED, "matching by a fully connected network"),
    Part("MultiLabel(5)", heads.MultiLabel(5), FUSED, "independent logits"),
    Part("Regressor()", heads.Regressor(), FUSED, "real values"),
    Part("Ordinal(5)", heads.Ordinal(5), FUSED, "McCullagh, 1980"),
    Part("Projection()", heads.Projection(), FUSED, "unit vectors for contrastive losses"),
    Part("Mean()", heads.Mean(), FUSED, "for late fusions"),
    Part("TokenLogits(1000)", heads.TokenLogits(1000), STEPS["text"], "Graves et al., 2006"),
    Part("EachToken(Classifier(10))", heads.EachToken(heads.Classifier(CLASSES)), STEPS["text"], "one output per step"),
)
MEMORY = Tokens(_array(49, 384), _array(49, dtype=bool))
PREFIX = Tokens(_array(49, 256), _array(49, dtype=bool))
DECODERS = (
    Part("Decoder(10_000)", decoders.Decoder(10_000), TOKEN_IDS, "Vaswani et al., 2017", MEMORY),
    Part("AttentionLSTM(10_000)", decoders.AttentionLSTM(10_000), TOKEN_IDS, "Xu et al., 2015", MEMORY),
    Part(
        'whisper_base_decoder("cs")',
        decoders.whisper_base_decoder("cs"),
        TOKEN_IDS,
        "Radford et al., 2023",
        Tokens(_array(1500, 512), _array(1500, dtype=bool)),
    ),
    Part("LoRA(Decoder(10_000))", encoders.LoRA(decoders.Decoder(10_000)), TOKEN_IDS, "Hu et al., 2022", MEMORY),
    Part("LanguageModel(10_000)", decoders.LanguageModel(10_000), TOKEN_IDS, "Llama Team, 2024; a prefix of Tokens", PREFIX),
    Part("GPT2(10_000)", decoders.GPT2(10_000), TOKEN_IDS, "Radford et al., 2019; a prefix of Tokens", PREFIX),
    Part(
        "Interleaved(LanguageModel(10_000), (0,))",
        decoders.Interleaved(decoders.LanguageModel(10_000), (0,)),
        TOKEN_IDS,
        "vectors at ids of at least 10_000",
        PREFIX,
    ),
    Part(
        "Flamingo(LanguageModel(10_000))",
        decoders.Flamingo(decoders.LanguageModel(10_000)),
        TOKEN_IDS,
        "Alayrac et al., 2022",
        PREFIX,
    ),
    Part(
        "Factored(LanguageModel(10_000))",
        decoders.Factored(decoders.LanguageModel(10_000)),
        TOKEN_IDS,
        "chunked cross-entropy over a large vocabulary",
    ),
    Part(
        "PackedDecoder(LanguageModel(10_000))",
        decoders.PackedDecoder(decoders.LanguageModel(10_000)),
        TOKEN_IDS,
        "rows of several texts, which do not attend to each other",
    ),
    Part("smollm2_135m()", decoders.smollm2_135m(), TOKEN_IDS, "Ben Allal et al., 2025"),
    Part("gpt2_small()", decoders.gpt2_small(), TOKEN_IDS, "Radford et al., 2019"),
)
# name -> (compared values, source)
LOSSES = {
    "cross_entropy": ("logits [b c] with classes, of all outputs", "Shannon, 1948"),
    "CrossEntropy": ("logits [b c] with classes or probabilities; smoothing, class weights", "Szegedy et al., 2016"),
    "Focal": ("logits [b c] with classes", "Lin et al., 2017"),
    "SigmoidCrossEntropy": ("logits [b c] with 0 or 1 each", "multi-label"),
    "SquaredError": ("numbers, or logits with one-hot classes", "least squares"),
    "AbsoluteError": ("numbers, or logits with one-hot classes", "least deviations"),
    "Huber": ("numbers, or logits with one-hot classes", "Huber, 1964"),
    "CTC": ("logits of each token [b n c] with token ids of a text", "Graves et al., 2006"),
    "InfoNCE": ("two modalities' embeddings [b d]", "van den Oord et al., 2018; Radford et al., 2021"),
    "SigmoidPairs": ("two modalities' embeddings [b d]", "Zhai et al., 2023"),
    "CPC": ("a vector [b d] with its prediction, of unit length", "van den Oord et al., 2018"),
    "Triplet": ("two modalities' embeddings [b d], hardest negatives", "Faghri et al., 2018"),
    "TowerDistillation": ("an embedding [b d] with a frozen tower's", "Yang et al., 2024"),
    "Correlation": ("two modalities' vectors [b d]", "Andrew et al., 2013"),
    "DCCA": ("two modalities' vectors [b d]", "Andrew et al., 2013"),
    "CentralMoments": ("two modalities' vectors [b d]", "Zellinger et al., 2017"),
    "Orthogonality": ("two vectors [b d]", "Bousmalis et al., 2016"),
    "NormalMMD": ("one vector [b d] with N(0, I)", "Gretton et al., 2012"),
    "PublishedNormalMMD": ("one vector [b d] with N(0, I)", "Tsai et al., 2019, code"),
    "SignedEntropy": ("one vector [b d], by the sign of a target", "Han et al., 2021, EMNLP"),
    "On": ("one output by one criterion", "composition"),
    "WeightedLosses": ("several losses with fixed weights", "composition"),
    "Uncertainty": ("several losses with learned weights", "Kendall et al., 2018"),
}
# Modules without inputs, for `Multimodal.loss_parameters`: name -> (output, source)
LOSS_PARAMETERS = {
    "Temperature": ("[]", "Radford et al., 2021"),
    "Bias": ("[]", "Zhai et al., 2023"),
    "LogVariances": ("[losses]", "Kendall et al., 2018"),
}


def _shape(tree: Any) -> str:
    """The shape of the values, such as "[b n d]", with b for the batch size."""
    if isinstance(tree, Mapping):
        return ", ".join(f"{name} {_shape(part)}" for name, part in sorted(tree.items()))
    x = tree.x if isinstance(tree, (Padded, Tokens, encoders.ImagePatches, encoders.PlacedCells, encoders.Recordings)) else tree
    return " ".join(["b", *map(str, x.shape[1:])]).join("[]")


def line(part: Part) -> tuple[str, str, str, str, str]:
    """(name, input, output, parameters, source)."""
    inputs = (part.input,) if part.memory is None else (part.input, part.memory)
    output, variables = jax.eval_shape(lambda *x: part.module.init_with_output(jax.random.key(0), *x), *inputs)
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables.get("params", {})))
    shapes = "the three" if part.input is TOKENS else "fused" if part.input is FUSED else ", ".join(map(_shape, inputs))
    return part.name, shapes, _shape(output), f"{parameters:,}", part.source


def table() -> str:
    """All tables in Markdown. docs/modules.md contains a copy."""
    out = []
    for title, parts in (("Encoder", ENCODERS), ("Fusion", FUSIONS), ("Head", HEADS), ("Decoder", DECODERS)):
        out += [f"| {title} | Input | Output | Parameters | Source |", "|---|---|---|---:|---|"]
        out += [f"| `{name}` | {' | '.join(rest)} |" for name, *rest in map(line, parts)] + [""]
    out += ["| Loss | Compares | Source |", "|---|---|---|"]
    out += [f"| `{name}` | {compares} | {source} |" for name, (compares, source) in LOSSES.items()] + [""]
    out += ["| Loss parameter | Output | Source |", "|---|---|---|"]
    out += [f"| `{name}` | {output} | {source} |" for name, (output, source) in LOSS_PARAMETERS.items()]
    return "\n".join(out)


def unlisted() -> set[str]:
    """Public encoders, fusions, heads, decoders and losses that are missing from the tables."""
    rows = (*ENCODERS, *FUSIONS, *HEADS, *DECODERS)
    listed = {name for part in rows for name in (type(part.module).__name__, *re.findall(r"\w+", part.name))}
    listed |= set(LOSSES) | set(LOSS_PARAMETERS)
    public = {*encoders.__all__, *fusion.__all__, *losses.__all__, *decoders.__all__}
    public -= {"AttentionLSTMCache", "Cache", "Criterion", "ImagePatches", "LanguageCache", "counted"}  # values and types
    public -= {"FlamingoCache", "InterleavedCache", "LastImage", "PlacedCells", "PrefixLM", "Recordings", "both_ways_in_images"}
    public -= {"Whisper", "whisper_prompt", "empty_prefix"}  # an encoder and a decoder; token ids; Tokens
    public -= set(decoders.language_models.__all__)  # sizes of LanguageModel and GPT2, of which the table has two
    public -= {"FusionOutput", "SelfMMLoss", "published"}  # a head of some fusions; several losses; a module
    public -= {"mfm_loss", "misa_loss", "mmim_loss", "published_mfm_loss"}  # several losses
    public |= {name for name in fusion.published.__all__ if not name.endswith("_heads")}
    public |= {name for name, value in vars(heads).items() if isinstance(value, type) and value.__module__ == heads.__name__}
    return public - listed


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m mmjax.parts", description=__doc__.splitlines()[0]).parse_args()
    three = _shape(TOKENS)
    print(f"The three: {three}; fused: {_shape(FUSED)}; b is the batch size.\n\n{table()}")
