"""Losses and gradients of published fusions against their definitions in torch (`fusion_definitions`). torch is imported within
functions.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.fusion import SumLogits
from mmjax.losses import DCCA, On, PublishedNormalMMD, SelfMMLoss, SignedEntropy
from mmjax.train.balance import ogm_ge
from mmjax.train.previous_batch import PreviousBatch
from mmjax.train.unimodal_labels import UnimodalLabels
from mmjax.types import Aux, Batch, Tokens
from tests.parity.originals import assert_parity, assert_same

pytestmark = pytest.mark.parity
B = 6
PAIR, THREE = ("audio", "video"), ("audio", "text", "video")
SOURCES = {
    "test_dcca": ("losses.DCCA", "Andrew et al., 2013"),
    "test_discrepancy": ("losses.PublishedNormalMMD, expected", "Tsai et al., 2019, MFM, code"),
    "test_ogm_ge": ("train.balance.ogm_ge", "Peng et al., 2022, code"),
    "test_the_entropy_with_the_batch_before": ("losses.SignedEntropy", "Han et al., 2021, MMIM, code"),
    "test_generated_labels": ("train.unimodal_labels", "Yu et al., 2021, Self-MM, code"),
}


@pytest.mark.parametrize("top", [2, 4])
def test_dcca(top):
    import torch

    from tests.parity.fusion_definitions.representations import dcca

    x = np.random.default_rng(3).normal(size=(40, 8)).astype(np.float32)
    x[:, 4:] += x[:, :4]
    given = Batch({}, {"a": jnp.ones(40, bool), "b": jnp.ones(40, bool)}, {}, jnp.ones(40))

    def ours(x):
        return {"loss": top - DCCA("a.z", "b.z", top=top)({"a.z": x[:, :4], "b.z": x[:, 4:]}, given).mean()[None]}

    def theirs(x):
        return {"loss": dcca(x[:, :4], x[:, 4:], 1e-3, top)[None]}

    assert isinstance(theirs(torch.from_numpy(x))["loss"], torch.Tensor)
    assert_parity(ours, theirs, x, tolerance=1e-5)


def test_discrepancy():
    """The code's samples of N(0, I) are the nodes of a Gauss-Hermite quadrature with its weights, which gives expectations."""
    import torch

    from tests.parity.fusion_definitions.representations import discrepancy

    z = (1.5 * np.random.default_rng(8).normal(size=(B, 2)) + 0.5).astype(np.float32)
    given = Batch({}, {"text": jnp.ones(B, bool)}, {}, jnp.ones(B))
    node, weight = np.polynomial.hermite_e.hermegauss(30)
    nodes = torch.from_numpy(np.stack(np.meshgrid(node, node), axis=-1).reshape(-1, 2))
    weights = torch.from_numpy(np.outer(weight, weight).ravel() / weight.sum() ** 2)
    ours = lambda z: {"loss": PublishedNormalMMD("text.latent")({"text.latent": z}, given).mean()[None]}
    assert_parity(ours, lambda z: {"loss": discrepancy(z.double(), nodes, weights).float()[None]}, z, tolerance=1e-5)


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


def test_the_noise_of_ogm_ge():
    """The modulated gradients of 4,096 keys, given a made-up gradient g. Each kernel of a convolution, of either modality, is
    normally distributed with the mean k g and the deviation std(g) + 1e-8 of the authors' code, independently between elements.
    Ours is without the 1e-8, so that a gradient of zeros has no noise. Dense layers have none.
    """
    import torch
    from scipy.stats import kstest

    random, keys = np.random.default_rng(7), 4096
    drawn = lambda scale, *shape: (scale * (0.3 + random.normal(size=shape))).astype(np.float32)
    encoder = lambda: {"small": drawn(1e-3, 1, 1, 2, 2), "large": drawn(3.0, 2, 1, 1, 3), "dense": drawn(1.0, 4, 5)}
    params = {f"encoders_{name}": encoder() for name in PAIR}
    params["encoders_video"]["zero"] = np.zeros((1, 1, 1, 3), np.float32)
    logits = {name: drawn(2.0, B, 3) for name in PAIR}
    label = np.arange(B) % 3
    batch = Batch({}, {name: np.ones(B, bool) for name in PAIR}, {"label": jnp.asarray(label)}, jnp.ones(B))

    def objective(weights, batch, key):  # its gradient is `params`
        total = sum(jnp.vdot(g, w) for g, w in zip(jax.tree.leaves(params), jax.tree.leaves(weights)))
        outputs = {f"{name}.label": jnp.asarray(value) for name, value in logits.items()}
        return {"label": total}, Aux(outputs, {}, {}, {})

    step = lambda key: ogm_ge(0.4)(objective, params, (), batch, key)[1]
    ours = jax.jit(jax.vmap(step))(jax.random.split(jax.random.key(0), keys))

    score = {name: torch.from_numpy(value).softmax(dim=1)[range(B), label].sum() for name, value in logits.items()}
    ratio = {"audio": score["audio"] / score["video"], "video": score["video"] / score["audio"]}
    normal = []
    for name in PAIR:
        k = 1 - torch.tanh(0.4 * ratio[name]) if ratio[name] > 1 else torch.tensor(1.0)
        for kind in ("small", "large"):
            g = torch.from_numpy(params[f"encoders_{name}"][kind])
            z = (np.asarray(ours[f"encoders_{name}"][kind]) - (k * g).numpy()) / (g.std().item() + 1e-8)
            normal.append(z.reshape(keys, -1))
            assert kstest(z.ravel(), "norm").pvalue > 0.01, (name, kind)
            assert abs(z.std() - 1) < 0.03, (name, kind)  # with n instead of n - 1, .87 and .91
        assert (np.asarray(ours[f"encoders_{name}"]["dense"]) == params[f"encoders_{name}"]["dense"]).all()
    between = np.corrcoef(np.concatenate(normal, axis=1).T) - np.eye(20)
    assert np.abs(between).max() < 5 / np.sqrt(keys)
    assert not np.asarray(ours["encoders_video"]["zero"]).any()


def test_the_entropy_with_the_batch_before():
    """Two steps of gradient ascent with a memory of one batch, which has no gradient."""
    import torch

    from tests.parity.fusion_definitions.sentiment import signed_entropy

    random = np.random.default_rng(5)
    kernel = random.normal(size=(4, 3)).astype(np.float32)
    x, label = random.normal(size=(2, 24, 4)).astype(np.float32), random.normal(size=(2, 24)).astype(np.float32)
    loss, memory = SignedEntropy("video.z", ridge=0.0), PreviousBatch((("video.z", 3),), 24)

    def objective(kernel, batch, key):
        outputs = {"video.z": jnp.tanh(batch.inputs["video"] @ kernel)}
        values = loss(outputs, batch)
        return {"entropy": values.mean()}, Aux(outputs, {}, {}, {})

    ours, theirs, state = jnp.asarray(kernel), torch.tensor(kernel, requires_grad=True), memory.init(None)
    run, before = jax.jit(partial(memory, objective)), []
    for inputs, scores in zip(x, label):
        given = Batch({"video": inputs}, {"video": np.ones(24, bool)}, {"score": scores}, np.ones(24, np.float32))
        value, gradient, _, state = run(ours, state, given, jax.random.key(0))
        z = torch.tanh(torch.from_numpy(inputs) @ theirs)
        every = [*before, (z, torch.from_numpy(scores))]
        expected = signed_entropy(*(torch.cat(parts) for parts in zip(*every)))
        (slope,) = torch.autograd.grad(expected, theirs)
        before = [(z.detach(), torch.from_numpy(scores))]
        assert_same(value, expected.detach(), "entropy", 1e-5)
        assert_same(gradient, slope, "gradient", 1e-5)
        ours, theirs = ours + 0.1 * gradient, (theirs + 0.1 * slope).detach().requires_grad_()


def test_generated_labels():
    """Three epochs of Self-MM over eight examples in batches of four: the labels after each epoch, and the gradients."""
    import torch

    random, names = np.random.default_rng(6), ("", *THREE)
    widths = {name: 3 if name else 4 for name in names}
    y = np.float32([1.0, -1.0, 2.5, -2.0, 0.5, -0.7, 0.0, -3.0])
    x = {name: random.normal(size=(8, 5)).astype(np.float32) for name in names}
    first = {name: random.normal(size=(5, width)).astype(np.float32) for name, width in widths.items()}
    last = {name: random.normal(size=(width, 1)).astype(np.float32) for name, width in widths.items()}
    balance = UnimodalLabels(8, THREE, width=4, unimodal_width=3)
    output = lambda name, kind: f"{name}.{kind}" if name else kind

    def objective(first, batch, key):
        features = {name: jax.nn.relu(batch.inputs["x"][name] @ kernel) for name, kernel in first.items()}
        outputs = {output(name, "features"): f for name, f in features.items()}
        outputs |= {output(name, "score"): f @ last[name] for name, f in features.items()}
        values = SelfMMLoss(THREE)(outputs, batch)
        return {name: value.mean() for name, value in values.items()}, Aux(outputs, {}, {}, {})

    run, state, ours = jax.jit(partial(balance, objective)), balance.init(None), first
    theirs = {name: torch.tensor(kernel) for name, kernel in first.items()}
    label = {name: torch.tensor(y) for name in names}
    maps = {name: torch.zeros(8, width) for name, width in widths.items()}
    for epoch in (1, 2, 3):
        for rows in np.split(random.permutation(8), 2):
            present = dict.fromkeys(THREE, np.ones(4, bool))
            targets = {"score": y[rows], "row": rows.astype(np.int32)}
            given = Batch({"x": {name: part[rows] for name, part in x.items()}}, present, targets, np.ones(4, np.float32))
            _, gradient, _, state = run(ours, state, given, jax.random.key(0))
            inputs = {name: torch.from_numpy(part[rows]) for name, part in x.items()}
            slopes = self_mm_step(theirs, last, inputs, label, maps, rows, epoch)
            for name, slope in slopes.items():
                if epoch > 2 or not name:  # before, the labels are equal, and these losses have no weight
                    assert_same(gradient[name], slope, f"gradient of {name}", 1e-5)
            ours = jax.tree.map(lambda leaf, slope: leaf - 0.05 * slope, ours, gradient)
            theirs = {name: theirs[name] - 0.05 * slope for name, slope in slopes.items()}
        for name in THREE:
            assert_same(state["labels"][name], label[name], f"{name}, epoch {epoch}", 1e-5)
    assert np.abs(label["text"].numpy() - y).max() > 0.1


def self_mm_step(first, last, x, label, maps, rows, epoch):
    """A step of the authors' trainer: gradients of `first`; `label` and `maps` of all examples are updated in place."""
    import torch

    rows = torch.from_numpy(rows)
    leaves = {name: kernel.clone().requires_grad_() for name, kernel in first.items()}
    features = {name: torch.relu(x[name] @ kernel) for name, kernel in leaves.items()}
    loss = 0
    for name, f in features.items():
        weight = torch.tanh(torch.abs(label[name][rows] - label[""][rows])) if name else 1
        loss = loss + torch.mean(weight * torch.abs((f @ torch.from_numpy(last[name]))[:, 0] - label[name][rows]))
    loss.backward()
    features = {name: f.detach() for name, f in features.items()}

    def delta(name):
        positive, negative = (maps[name][chosen].mean(dim=0) for chosen in (label[name] > 0, label[name] < 0))
        to_positive, to_negative = (torch.norm(features[name] - centre, dim=-1) for centre in (positive, negative))
        return (to_negative - to_positive) / (to_positive + 1e-8)

    if epoch > 1:
        fused, of_task = delta(""), label[""][rows]
        for name in THREE:
            own = delta(name)
            new = 0.5 * own / (fused + 1e-8) * of_task + 0.5 * (of_task + own - fused)
            label[name][rows] = (epoch - 1) / (epoch + 1) * label[name][rows] + 2 / (epoch + 1) * new.clamp(-3, 3)
    for name, f in features.items():
        maps[name][rows] = f
    return {name: leaf.grad for name, leaf in leaves.items()}
