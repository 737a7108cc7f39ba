"""Published fusions against their definitions, rewritten in torch (`fusion_definitions.py`), with the same random weights: the
outputs to 1e-5, and the gradients with respect to all inputs. torch is imported within functions.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.fusion import (
    GMU,
    MAG,
    MFM,
    MFN,
    MISA,
    MMVAE,
    MUTAN,
    MVAE,
    RAVEN,
    AttentionPooling,
    GraphMFN,
    MixtureOfExperts,
    MultiplicativeInteractions,
    NLGate,
    SumLogits,
    published,
)
from mmjax.fusion.outputs import FusedTokens
from mmjax.losses import DCCA, On, misa_loss
from mmjax.train.balance import ogm_ge
from mmjax.types import Aux, Batch, Tokens
from tests.parity.originals import assert_parity, assert_same

pytestmark = pytest.mark.parity
B = 6
PAIR, THREE = ("audio", "video"), ("audio", "text", "video")


class Case(NamedTuple):
    """fusion: with its settings. steps: tokens of each modality, a number or one for each. source: for docs/architectures.md.
    definition: the function in `fusion_definitions.py`."""

    fusion: Any
    source: str
    definition: str
    modalities: tuple[str, ...] = THREE
    steps: Any = 1


CASES = {
    "fusion.published.mult": Case(
        published.mult(width=6, depth=2, heads=2), "Tsai et al., 2019, code", "mult", steps={"audio": 5, "text": 3, "video": 4}
    ),
    "fusion.published.mbt": Case(
        published.mbt(4, tokens=3, fusion_layer=1, depth=3, width=6, heads=2, hidden=8),
        "Nagrani et al., 2021, scenic", "mbt", PAIR, {"audio": 5, "video": 3},
    ),
    "fusion.published.lmf": Case(published.lmf(5, rank=3), "Liu et al., 2018, code", "lmf"),
    "fusion.published.tfn": Case(published.tfn(6), "Zadeh et al., 2017, code", "tfn"),
    "fusion.published.multiplicative_interactions": Case(
        published.multiplicative_interactions(5), "Liang et al., 2021, MultiBench", "multiplicative_interactions"
    ),
    "fusion.published.mfb": Case(published.mfb(5, factors=3), "Yu et al., 2017, code", "mfb", PAIR),
    "MUTAN": Case(MUTAN(5, inner=4, rank=3), "Ben-younes et al., 2017, without W_o", "mutan", PAIR),
    "MultiplicativeInteractions of two": Case(
        MultiplicativeInteractions(5), "Jayakumar et al., 2020, equation 1", "multiplicative_interactions_of_two", PAIR
    ),
    "MixtureOfExperts": Case(MixtureOfExperts(5, experts=4, k=2, hidden=6), "Shazeer et al., 2017", "mixture"),
    "GMU of two": Case(GMU(5), "Arevalo et al., 2017, section 3", "gmu", PAIR),
    "GMU of three": Case(GMU(5), "Arevalo et al., 2017, section 3", "gmu"),
    "MAG": Case(MAG("text", beta=0.5), "Rahman et al., 2020, code", "mag", steps=4),
    "RAVEN": Case(RAVEN("text", beta=0.5), "Wang et al., 2019, equations 3 to 8", "raven", steps=4),
    "NLGate": Case(
        NLGate("video", width=5), "Wang et al., 2020; MultiBench", "nl_gate", PAIR, {"audio": 3, "video": 4}
    ),
    "AttentionPooling": Case(AttentionPooling(5, hidden=4), "Poria et al., 2017 (AT-Fusion)", "attention_pooling"),
    "MFN": Case(MFN(features=4, memory=5, hidden=6), "Zadeh et al., 2018, code", "mfn", steps=4),
    "GraphMFN": Case(
        GraphMFN(features=4, memory=5, vertex=3, inner=7, hidden=6), "Zadeh et al., 2018, MMSA", "graph_mfn", steps=4
    ),
    "MFM, with its loss": Case(MFM(width=4, features=4, memory=5, hidden=6), "Tsai et al., 2019, MMSA", "mfm", steps=4),
    "MISA, with its losses": Case(MISA(6, hidden=8), "Hazarika et al., 2020, code", "misa"),
    "MVAE, with its loss": Case(MVAE(5, hidden=6), "Wu and Goodman, 2018, code", "mvae"),
    "MMVAE, with its loss": Case(MMVAE(5, hidden=6), "Shi et al., 2019, equation 2", "mmvae"),
}  # fmt: skip
WIDTHS = {"audio": 3, "text": 5, "video": 4}
SOURCES = {name: (name, case.source) for name, case in CASES.items()}
SOURCES |= {
    "test_dcca": ("losses.DCCA", "Andrew et al., 2013"),
    "test_ogm_ge": ("train.balance.ogm_ge", "Peng et al., 2022, code"),
}


def tensors(params):
    import torch

    return jax.tree.map(lambda leaf: torch.from_numpy(np.array(leaf)), params)


def random_params(fusion, tokens):
    random = np.random.default_rng(1)

    def drawn(path, leaf):
        values = random.normal(size=leaf.shape).astype(np.float32)
        if path[-1].key == "scale":
            return 1 + 0.2 * values
        return values * (0.3 if leaf.ndim == 1 else np.float32(1 / np.sqrt(leaf.shape[-2])))

    shapes = jax.eval_shape(fusion.init, jax.random.key(0), tokens)["params"]
    return jax.tree.map(jnp.asarray, jax.tree_util.tree_map_with_path(drawn, shapes))


def outputs_of(case: Case) -> Callable[[Tokens], dict[str, jax.Array]]:
    """Fused tokens -> the outputs that are compared."""

    def run(fused):
        x = fused.x[:, 0] if fused.x.shape[1] == 1 else fused.x
        others = dict(fused.outputs) if isinstance(fused, FusedTokens) else {}
        if isinstance(case.fusion, MISA):
            present = {name: jnp.ones(B, bool) for name in case.modalities}
            values = misa_loss(lambda outputs, batch: jnp.zeros(B), case.modalities, 1.0, 1.0, 1.0)(
                others, Batch({}, present, {}, jnp.ones(B))
            )
            total = lambda kind: sum(value.mean()[None] for name, value in values.items() if name.startswith(kind))
            others = {kind: total(kind) for kind in ("similarity", "difference", "reconstruction")}
        if isinstance(case.fusion, MFM):
            others |= {"generation": others["generation"].mean()[None]}
        return {"fused": x, **others}

    return run


@pytest.mark.parametrize("name", CASES)
def test_published(name):
    from tests.parity import fusion_definitions

    case = CASES[name]
    steps = case.steps if isinstance(case.steps, dict) else dict.fromkeys(case.modalities, case.steps)
    sizes = [steps[modality] * WIDTHS[modality] for modality in case.modalities]
    x = np.random.default_rng(2).normal(size=(B, sum(sizes))).astype(np.float32)

    def split(x):
        ends = np.cumsum([0, *sizes])
        parts = [x[:, start:end] for start, end in pairwise(ends)]
        return {m: part.reshape(B, steps[m], WIDTHS[m]) for m, part in zip(case.modalities, parts)}

    def tokens(x):
        return {m: Tokens(part, jnp.ones(part.shape[:2], bool)) for m, part in split(x).items()}

    params = random_params(case.fusion, tokens(jnp.asarray(x)))
    definition, run = getattr(fusion_definitions, case.definition), outputs_of(case)
    assert_parity(
        lambda x: run(case.fusion.apply({"params": params}, tokens(x))),
        lambda x: definition(tensors(params), split(x)),
        x,
        tolerance=1e-5,
    )


@pytest.mark.parametrize("top", [2, 4])
def test_dcca(top):
    import torch

    from tests.parity import fusion_definitions

    x = np.random.default_rng(3).normal(size=(40, 8)).astype(np.float32)
    x[:, 4:] += x[:, :4]
    given = Batch({}, {"a": jnp.ones(40, bool), "b": jnp.ones(40, bool)}, {}, jnp.ones(40))

    def ours(x):
        return {"loss": top - DCCA("a.z", "b.z", top=top)({"a.z": x[:, :4], "b.z": x[:, 4:]}, given).mean()[None]}

    def theirs(x):
        return {"loss": fusion_definitions.dcca(x[:, :4], x[:, 4:], 1e-3, top)[None]}

    assert isinstance(theirs(torch.from_numpy(x))["loss"], torch.Tensor)
    assert_parity(ours, theirs, x, tolerance=1e-5)


def test_ogm_ge():
    """One step of a small audio-visual network: the gradients of all parameters, with and without a dominant modality."""
    import torch
    from torch.nn import functional as F

    random = np.random.default_rng(4)
    drawn = lambda *shape: (random.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)
    encoder = lambda: {"conv": {"kernel": drawn(3, 3, 1, 4), "bias": drawn(4)}, "dense": {"kernel": drawn(4, 5)}}
    params = {f"encoders_{name}": encoder() for name in PAIR}
    params["fusion"] = {name: {"kernel": 3 * drawn(5, 3)} for name in PAIR} | {"bias": drawn(3)}
    x, label = {name: random.normal(size=(B, 6, 6, 1)).astype(np.float32) for name in PAIR}, np.arange(B) % 3
    batch = Batch({}, {name: np.ones(B, bool) for name in PAIR}, {"label": jnp.asarray(label)}, jnp.ones(B))
    fusion = SumLogits(3)

    def objective(params, batch, key):
        def encode(name):
            p = params[f"encoders_{name}"]
            layout = jax.lax.conv_dimension_numbers(x[name].shape, p["conv"]["kernel"].shape, ("NHWC", "HWIO", "NHWC"))
            y = jax.lax.conv_general_dilated(x[name], p["conv"]["kernel"], (1, 1), "VALID", dimension_numbers=layout)
            y = jax.nn.relu(y + p["conv"]["bias"][None, None, None]).mean(axis=(1, 2)) @ p["dense"]["kernel"]
            return Tokens(y[:, None], jnp.ones((B, 1), bool))

        fused = fusion.apply({"params": params["fusion"]}, {name: encode(name) for name in PAIR})
        outputs = {"label": fused.x[:, 0]} | {f"{name}.label": fused.outputs[f"{name}.logits"] for name in PAIR}
        loss = On("label")(outputs, batch).mean()
        return {"label": loss}, Aux(outputs, {}, {}, {})

    _, ours, _, _ = jax.jit(lambda params: ogm_ge(0.4, noise=0.0)(objective, params, (), batch, jax.random.key(0)))(params)

    theirs = jax.tree.map(lambda leaf: torch.tensor(leaf, requires_grad=True), params)
    h = {}
    for name in PAIR:
        p = theirs[f"encoders_{name}"]
        y = F.conv2d(torch.from_numpy(x[name]).permute(0, 3, 1, 2), p["conv"]["kernel"].permute(3, 2, 0, 1), p["conv"]["bias"])
        h[name] = F.adaptive_avg_pool2d(y.relu(), 1).flatten(1) @ p["dense"]["kernel"]
    weight = torch.cat([theirs["fusion"][name]["kernel"] for name in PAIR])
    out, target = torch.cat(list(h.values()), dim=1) @ weight + theirs["fusion"]["bias"], torch.from_numpy(label)
    F.cross_entropy(out, target).backward()
    part = {name: h[name] @ theirs["fusion"][name]["kernel"] + theirs["fusion"]["bias"] / 2 for name in PAIR}
    score = {name: sum(part[name].softmax(dim=1)[i, label[i]] for i in range(B)) for name in PAIR}
    ratio = score["audio"] / score["video"]
    strong, ratio = ("audio", ratio) if ratio > 1 else ("video", 1 / ratio)
    theirs[f"encoders_{strong}"]["conv"]["kernel"].grad *= 1 - torch.tanh(0.4 * ratio.detach())

    assert jax.tree.structure(ours) == jax.tree.structure(params)
    for (path, leaf), tensor in zip(jax.tree_util.tree_leaves_with_path(ours), jax.tree.leaves(theirs)):
        assert_same(leaf, tensor.grad, f"gradient of {jax.tree_util.keystr(path)}", 1e-5)
