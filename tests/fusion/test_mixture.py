"""The mixture of experts against its equations in NumPy; its gates through experts with one-hot outputs."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.fusion.mixture import MixtureOfExperts
from mmjax.types import Tokens
from tests.fusion.tokens import check, check_finite, tokens_of

each_count = pytest.mark.parametrize("modalities", [1, 2, 3])


@each_count
@pytest.mark.parametrize("k", [2, 4])
def test_mixture_of_experts(modalities, k):
    def formula(params, x, present):
        joined = np.concatenate(list(x.values()))
        scores = joined @ params["gate"]["kernel"]
        best = np.argsort(-scores, kind="stable")[:k]
        weight = np.exp(scores[best]) / np.exp(scores[best]).sum()
        hidden = (joined @ params["hidden"]["kernel"] + params["hidden"]["bias"]).reshape(4, 3)
        outputs = [np.maximum(hidden[i], 0) @ params["kernel"][i] + params["bias"][i] for i in range(4)]
        return sum(g * outputs[i] for g, i in zip(weight, best))

    check(MixtureOfExperts(width=6, experts=4, k=k, hidden=3), modalities, formula)


def test_noise_balances_the_experts_in_training_only():
    # Expert i returns unit vector i, so the token equals the gates. With G = N = 0, the noise has standard deviation ln 2.
    count = 2000
    fusion = MixtureOfExperts(width=4, experts=4, k=2, hidden=1)
    tokens = {"a": Tokens(jnp.ones((count, 1, 1)), jnp.ones((count, 1), bool))}
    params = {
        "gate": {"kernel": jnp.zeros((1, 4))},
        "noise": {"kernel": jnp.zeros((1, 4))},
        "hidden": {"kernel": jnp.zeros((1, 4)), "bias": jnp.zeros(4)},
        "kernel": jnp.zeros((4, 1, 4)),
        "bias": jnp.eye(4),
    }
    run = jax.jit(fusion.apply, static_argnames="train")
    evaluated = run({"params": params}, tokens).x[:, 0]
    np.testing.assert_array_equal(evaluated, np.tile([0.5, 0.5, 0, 0], (count, 1)))  # equal scores: the first two
    noisy = np.asarray(run({"params": params}, tokens, train=True, rngs={"dropout": jax.random.key(0)}).x[:, 0])
    assert ((noisy > 0).sum(axis=1) == 2).all()
    np.testing.assert_allclose(noisy.sum(axis=1), 1, rtol=1e-5)
    # Half of the examples use each expert. The fraction has standard deviation .5 / sqrt(2000) = .011; the tolerance is five.
    np.testing.assert_allclose((noisy > 0).mean(axis=0), 0.5, atol=0.056)
    # The log ratio of the two gates is the difference of their scores, which is not zero.
    assert np.abs(np.log(noisy.max(axis=1) / (1 - noisy.max(axis=1)))).mean() > 0.1


def test_an_unused_expert_has_no_gradient():
    fusion = MixtureOfExperts(width=2, experts=3, k=1, hidden=2)
    tokens = tokens_of(2)
    params = jax.jit(fusion.init)(jax.random.key(0), tokens)["params"]
    gradient = jax.jit(jax.grad(lambda p: fusion.apply({"params": p}, tokens).x.sum()))(params)  # G = 0: all use the first
    chex.assert_tree_all_finite(gradient)
    assert np.asarray(gradient["bias"][0]).all()
    assert not np.asarray(gradient["bias"][1:]).any()


def test_k_larger_than_experts():
    with pytest.raises(ValueError, match=r"MixtureOfExperts.k is 4; it must be at most MixtureOfExperts.experts, 3"):
        MixtureOfExperts(experts=3, k=4).init(jax.random.key(0), tokens_of(1))


def test_finite_at_zero():
    check_finite(MixtureOfExperts(6, experts=3, k=2, hidden=4))
