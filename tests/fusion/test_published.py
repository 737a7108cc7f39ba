"""Published fusions by hand; tests/parity/test_fusions.py compares them with their definitions in torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.fusion import (
    BBFN,
    MAG,
    MCTN,
    MMIM,
    MVAE,
    FiLMBlocks,
    FusionOutput,
    NLGate,
    OuterProduct,
    PublishedMulT,
    ViLBERT,
    published,
)
from mmjax.fusion.mult import sinusoids
from mmjax.fusion.shift import _shifted
from mmjax.types import Tokens
from tests.fusion.tokens import apply


def token(*rows, present=None):
    """One token per example."""
    x = jnp.array(rows, jnp.float32)[:, None]
    return Tokens(x, jnp.ones(x.shape[:2], bool) if present is None else jnp.array(present, bool)[:, None])


def test_a_shift_is_at_most_beta_times_the_token():
    # |e| = 5: with beta = .5 no shift is longer than 2.5. |h| = 10 is cut to 2.5, |h| = 1 is not; without the target, all of h.
    e = jnp.array([[[3.0, 4.0], [3.0, 4.0], [3.0, 4.0], [0.0, 0.0]]])
    h = jnp.array([[[0.0, 10.0], [1.0, 0.0], [0.0, 0.0], [0.0, 10.0]]])
    run = jax.jit(lambda e, h: _shifted(e, h, jnp.array([[True, True, True, False]]), 0.5, 0.0))
    np.testing.assert_allclose(run(e, h)[0], [[3, 6.5], [4, 4], [3, 4], [0, 10]], rtol=1e-6)
    slopes = jax.jit(jax.grad(lambda e, h: run(e, h).sum(), argnums=(0, 1)))(e, h)
    assert all(np.isfinite(slope).all() for slope in slopes)


def test_a_product_of_gaussian_experts_by_hand():
    """Both experts are N(1, 1): with the prior, precisions 3, 2, 2, 1 and means 2/3, 1/2, 1/2, 0 for all, a, b and none."""
    tokens = {"a": token([5.0], [5.0], [5.0], [5.0], present=[1, 1, 0, 0])}
    tokens["b"] = token([7.0], [7.0], [7.0], [7.0], present=[1, 0, 1, 0])
    dense = lambda bias: {"kernel": np.zeros((1, len(bias)), np.float32), "bias": np.float32(bias)}
    params = {}
    for name, target in (("a", 5.0), ("b", 7.0)):
        params |= {f"{name}_up": dense([0.0]), name: dense([1.0, 0.0])}
        params |= {f"{name}_decoder_up": dense([0.0]), f"{name}_decoder": dense([target + 1])}  # an error of 1: 1/2 nats
    fused = apply(MVAE(width=1, hidden=1), params, tokens)
    np.testing.assert_allclose(fused.x[:, 0, 0], [2 / 3, 1 / 2, 1 / 2, 0], rtol=1e-6)
    # KL(N(m, 1/p) || N(0, 1)) = (m^2 + 1/p - 1 + log p) / 2
    kl = lambda m, p: (m**2 + 1 / p - 1 + np.log(p)) / 2
    both, one = 2 * 0.5 + kl(2 / 3, 3), 0.5 + kl(1 / 2, 2)
    np.testing.assert_allclose(fused.outputs["negative_elbo"], [both + 2 * one, 2 * one, 2 * one, 0], rtol=1e-6)
    assert fused.mask[:, 0].tolist() == [True, True, True, False]


def test_sinusoids_start_at_position_one():
    found = np.asarray(sinusoids(2, 5))  # two frequencies, 1 and 1/10,000, and a zero
    expected = [[np.sin(p), np.sin(p / 1e4), np.cos(p), np.cos(p / 1e4), 0] for p in (1, 2)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_other_outputs_are_named():
    tokens = {"a": token([1.0, 2.0])}
    assert list(published.misa_heads(("b", "a"))) == ["b.shared", "b.private", "a.shared", "a.private", "reconstruction"]
    assert list(published.logit_heads("label", ("a", "b"))) == ["a.label", "b.label"]
    assert published.self_mm_heads("mood", ("a",))["a.mood"] == FusionOutput("a.score")
    assert [name for name in published.mmim_heads(("a", "b"), "a") if name.endswith("entropy")] == ["b.entropy"]
    with pytest.raises(ValueError, match=r"FusionOutput.output is 'a.shared'; the outermost fusion has the outputs \[\]"):
        FusionOutput("a.shared")(tokens["a"])


@pytest.mark.parametrize(
    ("fusion", "message"),
    [
        (MAG("c"), r"MAG.target is 'c'; it must be one of the modalities \['a', 'b'\]"),
        (NLGate("c"), r"NLGate.query is 'c'; it must be one of the modalities \['a', 'b'\]"),
        (BBFN("c"), r"BBFN.main is 'c'; it must be one of several modalities, of \['a', 'b'\]"),
        (MMIM("c"), r"MMIM.main is 'c'; it must be one of the modalities \['a', 'b'\]"),
        (MCTN("a", ("c",)), r"MCTN.targets is \('c',\); they must be two or three different ones of .* \['a', 'b'\]"),
        (ViLBERT(), r"ViLBERT.modalities is .*; it must be two modalities, those of the model: \['a', 'b'\]"),
        (FiLMBlocks("c"), r"FiLMBlocks.target is 'c'; it must be one of several modalities, of \['a', 'b'\]"),
        (FiLMBlocks("a", (1, 1)), r"'a' has tokens \[1, 2048\]; by FiLMBlocks.grid and .width, they must be \[1, 128\]"),
        (PublishedMulT(width=3, heads=1), r"PublishedMulT.width is 3; it must be at least 4"),
        (OuterProduct(), r"OuterProduct has 4198401 entries for the widths {'a': 2048, 'b': 2048}; the limit is 1048576"),
    ],
    ids=lambda case: type(case).__name__,
)
def test_invalid_settings(fusion, message):
    tokens = {name: Tokens(jnp.zeros((1, 1, 2048)), jnp.ones((1, 1), bool)) for name in "ab"}
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(fusion.init, jax.random.key(0), tokens)
