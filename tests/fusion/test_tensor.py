"""Tensor fusions against their equations in NumPy, by example, for every pattern of presence."""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.fusion.tensor import MFB, MUTAN, LowRank, MultiplicativeInteractions, TensorFusion
from mmjax.types import Tokens
from tests.fusion.tokens import apply, check, check_finite, dense, tokens_of

each_count = pytest.mark.parametrize("modalities", [1, 2, 3])


@each_count
def test_tensor_fusion(modalities):
    def formula(params, x, present):
        h = [np.append(np.maximum(dense(params[name], x[name]), 0) * (name in present), 1) for name in x]
        outer = reduce(np.multiply.outer, h)
        assert outer.shape == (3,) * modalities
        return np.maximum(dense(params["dense"], outer.ravel()), 0)

    check(TensorFusion(width=6, inner=2), modalities, formula)


def test_tensor_fusion_order_by_hand():
    # h_a = 2, h_b = 3: [2; 1] x [3; 1] = [[6, 2], [3, 1]], flattened; the index of b varies fastest.
    one = {"kernel": np.eye(1, dtype=np.float32), "bias": np.zeros(1, np.float32)}
    params = {"a": one, "b": one, "dense": {"kernel": np.eye(4, dtype=np.float32), "bias": np.zeros(4, np.float32)}}
    tokens = {"a": Tokens(jnp.full((2, 1, 1), 2.0), jnp.ones((2, 1), bool))}
    tokens["b"] = Tokens(jnp.full((2, 1, 1), 3.0), jnp.array([[True], [False]]))
    fused = apply(TensorFusion(width=4, inner=1), params, tokens)
    np.testing.assert_array_equal(fused.x[:, 0], [[6, 2, 3, 1], [0, 2, 0, 1]])  # without b, only the terms of a and 1 remain


def test_a_tensor_that_is_too_large():
    # (101)^3 = 1030301 entries fit, (102)^3 = 1061208 do not.
    tokens = tokens_of(3)
    jax.eval_shape(TensorFusion(width=2, inner=100).init, jax.random.key(0), tokens)
    with pytest.raises(ValueError, match=r"TensorFusion.inner is 101, .* 1061208 entries for 3 modalities.*LowRank"):
        jax.eval_shape(TensorFusion(width=2, inner=101).init, jax.random.key(0), tokens)


@each_count
def test_low_rank(modalities):
    def formula(params, x, present):
        """The outer product times the full weight tensor."""
        letters = "abc"[:modalities]
        z = reduce(np.multiply.outer, [np.append(x[name], 1) for name in x])
        factors = [params[f"{name}_factor"] for name in x]
        weight = np.einsum(",".join(f"r{i}w" for i in letters) + f"->{letters}w", *factors)
        return np.einsum(f"{letters},{letters}w->w", z, weight)

    check(LowRank(width=6, rank=3), modalities, formula)


@each_count
def test_multiplicative_interactions(modalities):
    def interact(params, name, z, x):
        bilinear = [z @ params[f"{name}_tensor"][:, :, w] @ x for w in range(6)]
        return np.array(bilinear) + z @ params[f"{name}_before"]["kernel"] + dense(params[name], x)

    def formula(params, x, present):
        names = list(x)
        if len(names) == 1:
            return dense(params[names[0]], x[names[0]])
        result = interact(params, names[1], x[names[0]], x[names[1]])
        for name in names[2:]:
            result = interact(params, name, result, x[name])
        return result

    check(MultiplicativeInteractions(width=6), modalities, formula)


@each_count
def test_mfb(modalities):
    def formula(params, x, present):
        p = np.ones(6 * 4)
        for name in present:
            p = p * (x[name] @ params[name]["kernel"])
        z = np.array([p[4 * w : 4 * w + 4].sum() for w in range(6)])
        z = np.sign(z) * np.sqrt(np.abs(z))
        return z / np.sqrt((z * z).sum())

    check(MFB(width=6, factors=4), modalities, formula, atol=2e-4)  # e = 1e-6 in the root and the norm


def test_mfb_has_a_finite_slope_at_zero():
    # A single modality with x = 0: z = 0, and the slope of z (|z| + e)^(-1/2) (... + e)^(-1/2) is 1/e, times U.
    tokens = {"a": Tokens(jnp.zeros((1, 1, 1)), jnp.ones((1, 1), bool))}
    params = {"params": {"a": {"kernel": jnp.full((1, 1), 2.0)}}}
    fusion = MFB(width=1, factors=1)
    run = lambda x: fusion.apply(params, {"a": tokens["a"].replace(x=x)}).x.sum()
    value, slope = jax.jit(jax.value_and_grad(run))(tokens["a"].x)
    assert float(value) == 0
    np.testing.assert_allclose(slope.item(), 2e6, rtol=1e-4)


@each_count
def test_mutan(modalities):
    def formula(params, x, present):
        total = np.zeros(6)
        for r in range(3):
            term = np.ones(6)
            for name in present:
                q = np.tanh(x[name] @ params[name]["kernel"])
                term = term * (q @ params[f"{name}_core"]["kernel"][:, 6 * r : 6 * r + 6])
            total += term
        return total

    check(MUTAN(width=6, inner=4, rank=3), modalities, formula)


@pytest.mark.parametrize(
    "fusion",
    [TensorFusion(6, inner=3), LowRank(6), MultiplicativeInteractions(6), MFB(6), MUTAN(6)],
    ids=lambda fusion: type(fusion).__name__,
)
def test_finite_at_zero(fusion):
    check_finite(fusion)
