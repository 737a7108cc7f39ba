"""Published fusions against their definitions, rewritten in torch (`fusion_definitions`), with the same random weights: the
outputs to 1e-5, and the gradients with respect to all inputs. torch is imported within functions.
"""

from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.encoders import Contextual
from mmjax.fusion import (
    BBFN,
    GMU,
    MAG,
    MCTN,
    MFM,
    MFN,
    MISA,
    MMIM,
    MMVAE,
    MUTAN,
    MVAE,
    RAVEN,
    AttentionPooling,
    ContextOver,
    FiLM,
    FiLMBlocks,
    GraphMFN,
    MixtureOfExperts,
    MultiplicativeInteractions,
    NLGate,
    Perceiver,
    PerceiverIO,
    ProductOfExperts,
    QFormer,
    RandomFourier,
    SelfMM,
    SideBySide,
    ViLBERT,
    flamingo_resampler,
    published,
)
from mmjax.fusion.outputs import FusedTokens
from mmjax.fusion.published_perceiver import PublishedPerceiver
from mmjax.losses import SelfMMLoss, misa_loss, mmim_loss
from mmjax.nn import LSTM, Bidirectional
from mmjax.types import Batch, Padded, Tokens
from tests.parity.originals import assert_parity

pytestmark = pytest.mark.parity
B = 6
PAIR, THREE = ("audio", "video"), ("audio", "text", "video")


class Case(NamedTuple):
    """fusion: with its settings. steps: tokens of each modality, a number or one for each. source: for docs/architectures.md.
    definition: "module.function" in `fusion_definitions`."""

    fusion: Any
    source: str
    definition: str
    modalities: tuple[str, ...] = THREE
    steps: Any = 1


CASES = {
    "fusion.published.mult": Case(
        published.mult(width=6, depth=1, heads=2), "Tsai et al., 2019, code", "attention.mult",
        steps={"audio": 5, "text": 3, "video": 4},
    ),
    "fusion.published.mbt": Case(
        published.mbt(4, tokens=3, fusion_layer=1, depth=3, width=6, heads=2, hidden=8),
        "Nagrani et al., 2021, scenic", "attention.mbt", PAIR, {"audio": 5, "video": 3},
    ),
    "fusion.published.lmf": Case(published.lmf(5, rank=3), "Liu et al., 2018, code", "vectors.lmf"),
    "fusion.published.tfn": Case(published.tfn(6), "Zadeh et al., 2017, code", "vectors.tfn"),
    "fusion.published.multiplicative_interactions": Case(
        published.multiplicative_interactions(5), "Liang et al., 2021, MultiBench", "vectors.multiplicative_interactions"
    ),
    "fusion.published.mfb": Case(published.mfb(5, factors=3), "Yu et al., 2017, code", "vectors.mfb", PAIR),
    "MUTAN": Case(MUTAN(5, inner=4, rank=3), "Ben-younes et al., 2017, without W_o", "vectors.mutan", PAIR),
    "MultiplicativeInteractions of two": Case(
        MultiplicativeInteractions(5), "Jayakumar et al., 2020, equation 1", "vectors.multiplicative_interactions_of_two", PAIR
    ),
    "MixtureOfExperts": Case(MixtureOfExperts(5, experts=4, k=2, hidden=6), "Shazeer et al., 2017", "vectors.mixture"),
    "MixtureOfExperts, all experts": Case(
        MixtureOfExperts(5, experts=4, k=4, hidden=6), "Jacobs et al., 1991", "vectors.soft_mixture"
    ),
    "ProductOfExperts": Case(ProductOfExperts(5, width=6), "Hinton, 2002", "vectors.product_of_experts"),
    "RandomFourier": Case(
        RandomFourier(width=40, gamma=0.4), "Rahimi and Recht, 2007; Yu et al., 2016, section 4", "vectors.random_fourier"
    ),
    "GMU of two": Case(GMU(5), "Arevalo et al., 2017, section 3", "vectors.gmu", PAIR),
    "GMU of three": Case(GMU(5), "Arevalo et al., 2017, section 3", "vectors.gmu"),
    "MAG": Case(MAG("text", beta=0.5), "Rahman et al., 2020, code", "sequences.mag", steps=4),
    "RAVEN": Case(RAVEN("text", beta=0.5), "Wang et al., 2019, equations 3 to 8", "sequences.raven", steps=4),
    "NLGate": Case(
        NLGate("video", width=5), "Wang et al., 2020; MultiBench", "attention.nl_gate", PAIR, {"audio": 3, "video": 4}
    ),
    "AttentionPooling": Case(AttentionPooling(5, hidden=4), "Poria et al., 2017 (AT-Fusion)", "attention.attention_pooling"),
    "MFN": Case(MFN(features=4, memory=5, hidden=6), "Zadeh et al., 2018, code", "sequences.mfn", PAIR, steps=4),
    "GraphMFN": Case(
        GraphMFN(features=4, memory=5, vertex=3, inner=7, hidden=6), "Zadeh et al., 2018, MMSA", "sequences.graph_mfn", steps=4
    ),
    "MFM, with its loss": Case(
        MFM(width=4, features=4, memory=5, hidden=6), "Tsai et al., 2019, MMSA", "sequences.mfm", steps=4
    ),
    "MISA, with its losses": Case(MISA(6, hidden=8), "Hazarika et al., 2020, code", "representations.misa"),
    "MVAE, with its loss": Case(MVAE(5, hidden=6), "Wu and Goodman, 2018, code", "representations.mvae"),
    "MMVAE, with its loss": Case(MMVAE(5, hidden=6), "Shi et al., 2019, equation 2", "representations.mmvae"),
    "FiLM of two": Case(FiLM("video", width=5), "Perez et al., 2018, equations 1 and 2", "vectors.film", PAIR, 4),
    "FiLMBlocks": Case(
        FiLMBlocks("video", (3, 2), width=4, depth=2), "Perez et al., 2018, code", "vectors.film_blocks",
        steps={"audio": 1, "text": 2, "video": 6},
    ),
    "ViLBERT": Case(
        ViLBERT(("video", "audio"), depth=1, width=6, heads=2, own_heads=(2, 3), hidden=(7, 5)),
        "Lu et al., 2019, code", "attention.vilbert", PAIR, {"audio": 3, "video": 5},
    ),
    "Perceiver": Case(
        Perceiver(latents=4, width=6, reads=2, depth=1, heads=2, hidden=6),
        "Jaegle et al., 2021, with stated deviations", "attention.perceiver", PAIR, {"audio": 3, "video": 4},
    ),
    "PerceiverIO": Case(
        PerceiverIO(latents=5, width=6, depth=1, blocks=2, heads=2, queries=3, query_width=4),
        "Jaegle et al., 2022, transformers", "attention.perceiver_io", steps={"audio": 5, "text": 3, "video": 4},
    ),
    "QFormer": Case(
        QFormer(5, queries=3, width=6, depth=2, heads=2, hidden=8),
        "Li et al., 2023, transformers", "attention.qformer", ("video",), 4,
    ),
    "BBFN, with its loss": Case(
        BBFN("video", width=6, depth=2, heads=2), "Han et al., 2021, ICMI, code", "sentiment.bbfn", PAIR, 3
    ),
    "MCTN, with its losses": Case(
        MCTN(width=4), "Pham et al., 2019, code", "sentiment.mctn", steps={"audio": 3, "text": 4, "video": 5}
    ),
    "MMIM, with its losses": Case(MMIM(width=6), "Han et al., 2021, EMNLP, code", "sentiment.mmim"),
    "SelfMM, with its losses": Case(SelfMM(6, unimodal_width=4), "Yu et al., 2021, code", "sentiment.self_mm"),
}  # fmt: skip
WIDTHS = {"audio": 3, "text": 5, "video": 4}
SOURCES = {name: (name, case.source) for name, case in CASES.items()}
SOURCES["test_perceiver"] = "fusion.published_perceiver.PublishedPerceiver", "Jaegle et al., 2021, section 3, appendix C"
SOURCES["test_flamingo_resampler"] = "fusion.flamingo_resampler", "Alayrac et al., 2022, figure 5"
SOURCES["test_context"] = "ContextOver, after Contextual", "Poria et al., 2017, section 3, bc-LSTM"


def tensors(params):
    import torch

    return jax.tree.map(lambda leaf: torch.from_numpy(np.array(leaf)), params)


def random_variables(fusion, tokens):
    random = np.random.default_rng(1)

    def drawn(path, leaf):
        values = random.normal(size=leaf.shape).astype(np.float32)
        if path[-1].key == "signs":
            return np.sign(values)
        if path[-1].key in ("scale", "var"):
            return np.abs(1 + 0.2 * values)
        return values * (0.3 if leaf.ndim == 1 else np.float32(1 / np.sqrt(leaf.shape[-2])))

    shapes = jax.eval_shape(fusion.init, jax.random.key(0), tokens)
    return jax.tree.map(jnp.asarray, jax.tree_util.tree_map_with_path(drawn, shapes))


KINDS = {MISA: ("similarity", "difference", "reconstruction"), MMIM: ("cpc", "likelihood", "entropy")}
"""Losses that are compared as sums over modalities or pairs."""


def loss_of(case: Case, outputs):
    """The values of the published loss, with weights of 1 and without that of the task where it is free."""
    from tests.parity.fusion_definitions.sentiment import SCORES

    present, scores = dict.fromkeys(case.modalities, jnp.ones(B, bool)), {name: jnp.array(x) for name, x in SCORES.items()}
    free = lambda outputs, batch: jnp.zeros(B)
    loss = {
        MISA: misa_loss(free, case.modalities, 1.0, 1.0, 1.0),
        MMIM: mmim_loss(free, case.modalities, cpc=1.0, bound=1.0, ridge=0.0),
        SelfMM: SelfMMLoss(case.modalities),
    }[type(case.fusion)]
    return loss(outputs, Batch({}, present, scores, jnp.ones(B)))


def outputs_of(case: Case) -> Callable[[Tokens], dict[str, jax.Array]]:
    """Fused tokens -> the outputs that are compared."""

    def run(fused):
        x = fused.x[:, 0] if fused.x.shape[1] == 1 else fused.x
        others = dict(fused.outputs) if isinstance(fused, FusedTokens) else {}
        if type(case.fusion) in KINDS:
            values = loss_of(case, others)
            total = lambda kind: sum(value.mean()[None] for name, value in values.items() if name.startswith(kind))
            others = {kind: total(kind) for kind in KINDS[type(case.fusion)]}
        if isinstance(case.fusion, SelfMM):
            named = {"task": "loss"} | {name: f"{name}.loss" for name in case.modalities}
            others |= {named[name]: value.mean()[None] for name, value in loss_of(case, others).items()}
        if isinstance(case.fusion, MFM):
            others |= {"generation": others["generation"].mean()[None]}
        return {"fused": x, **others}

    return run


@pytest.mark.parametrize("name", CASES)
def test_published(name):
    case = CASES[name]
    family, function = case.definition.split(".")
    definition = getattr(import_module(f"tests.parity.fusion_definitions.{family}"), function)
    steps = case.steps if isinstance(case.steps, dict) else dict.fromkeys(case.modalities, case.steps)
    sizes = [steps[modality] * WIDTHS[modality] for modality in case.modalities]
    x = np.random.default_rng(2).normal(size=(B, sum(sizes))).astype(np.float32)

    def split(x):
        ends = np.cumsum([0, *sizes])
        parts = [x[:, start:end] for start, end in pairwise(ends)]
        return {m: part.reshape(B, steps[m], WIDTHS[m]) for m, part in zip(case.modalities, parts)}

    def tokens(x):
        return {m: Tokens(part, jnp.ones(part.shape[:2], bool)) for m, part in split(x).items()}

    variables, run = random_variables(case.fusion, tokens(jnp.asarray(x))), outputs_of(case)
    known = tensors({**variables.get("params", {}), **{name: part for name, part in variables.items() if name != "params"}})
    assert_parity(
        lambda x: run(case.fusion.apply(variables, tokens(x))),
        lambda x: definition(known, split(x)),
        x,
        tolerance=1e-5,
    )


@pytest.mark.parametrize(
    ("width", "reads", "depth", "shared", "names"),
    [(6, 3, 2, True, PAIR), (24, 2, 1, False, PAIR), (6, 2, 1, True, ("video",))],
    ids=["shared", "wide and unshared", "one modality"],
)
def test_perceiver(width, reads, depth, shared, names):
    """Masked tokens, which are NaN, do not exist in the definition: none, some, those of a modality, or all."""
    from tests.parity.fusion_definitions.perceiver import perceiver

    sizes = {"reads": reads, "depth": depth, "heads": 2, "bands": 3, "shared": shared}
    fusion = PublishedPerceiver(latents=4, width=width, encoding=2, grids={"video": (2, 3)}, **sizes)
    rows = {"audio": "111 101 000 111 010 000".split(), "video": "111111 110101 011110 000000 000001 000000".split()}
    present = {name: np.array([[letter == "1" for letter in row] for row in rows[name]]) for name in names}
    ends = np.cumsum([0, *(present[name].shape[1] * WIDTHS[name] for name in names)])
    x = np.random.default_rng(2).normal(size=(B, ends[-1])).astype(np.float32)
    split = lambda x: {n: x[:, a:b].reshape(B, -1, WIDTHS[n]) for n, (a, b) in zip(names, pairwise(ends))}

    def tokens(x):
        spoiled = {name: jnp.where(present[name][..., None], part, jnp.nan) for name, part in split(x).items()}
        return {name: Tokens(part, jnp.asarray(present[name])) for name, part in spoiled.items()}

    variables = random_variables(fusion, tokens(jnp.asarray(x)))
    known, grids = tensors(variables["params"]), {"audio": (3,), "video": (2, 3)}
    fused = fusion.apply(variables, tokens(jnp.asarray(x)))
    assert fused.mask.all(axis=1).tolist() == [any(of[b].any() for of in present.values()) for b in range(B)]
    assert_parity(
        lambda x: {"fused": fusion.apply(variables, tokens(x)).x},
        lambda x: perceiver(known, split(x), present, grids, **sizes),
        x,
        tolerance=1e-5,
    )


def test_flamingo_resampler():
    """Masked tokens, which are NaN, do not exist in the definition: none, those of some frames, of a whole frame, or all."""
    from tests.parity.fusion_definitions import attention

    fusion = flamingo_resampler(6, queries=4, depth=2, heads=2, hidden=8, frames=3)
    rows = ("111111", "110011", "100110", "000001", "011000", "000000")  # two tokens for each of three frames
    present = np.array([[letter == "1" for letter in row] for row in rows])
    x = np.random.default_rng(2).normal(size=(B, 6, WIDTHS["video"])).astype(np.float32)
    tokens = lambda x: {"video": Tokens(jnp.where(present[..., None], x, jnp.nan), jnp.asarray(present))}
    variables = random_variables(fusion, tokens(jnp.asarray(x)))
    known = tensors(variables["params"])
    assert_parity(
        lambda x: {"fused": fusion.apply(variables, tokens(x)).x},
        lambda x: attention.flamingo_resampler(known, x, present),
        x,
        tolerance=1e-5,
    )


@pytest.mark.parametrize(("layer", "width"), [(Bidirectional(LSTM(3)), 4), (LSTM(3), None)], ids=["bc-LSTM", "h-LSTM"])
def test_context(layer, width):
    """Videos of different numbers of utterances: padded for us, each alone in the definition."""
    from tests.parity.fusion_definitions.sequences import hierarchical

    lengths = np.array([4, 1, 3, 4, 2, 4])
    encoder, fusion = Contextual(layer, width), ContextOver(SideBySide(), layer, width)
    x = np.random.default_rng(2).normal(size=(B, 4, sum(WIDTHS[name] for name in PAIR))).astype(np.float32)
    split = lambda x: {"audio": x[..., : WIDTHS["audio"]], "video": x[..., WIDTHS["audio"] :]}
    padded = lambda x: {name: Padded(part, jnp.asarray(lengths)) for name, part in split(x).items()}
    variables = {name: random_variables(encoder, steps) for name, steps in padded(jnp.asarray(x)).items()}
    encoded = lambda x: {name: encoder.apply(variables[name], steps) for name, steps in padded(x).items()}
    variables["fusion"] = random_variables(fusion, jax.eval_shape(encoded, x))
    known = {name: tensors(part["params"]) for name, part in variables.items()}
    assert_parity(
        lambda x: {"fused": fusion.apply(variables["fusion"], encoded(x)).x},
        lambda x: hierarchical(known, split(x), lengths),
        x,
        {"fused": np.arange(4)[None] < lengths[:, None]},
        tolerance=1e-5,
    )
