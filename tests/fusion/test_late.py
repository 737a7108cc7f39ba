"""Late fusions against their equations in NumPy, by example, for every pattern of presence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from mmjax.fusion.late import MeanLogits, ProductOfExperts, Stacked, WeightedLogits
from mmjax.types import Tokens
from tests.fusion.tokens import apply, check, check_finite, dense

each_count = pytest.mark.parametrize("modalities", [1, 2, 3])


def unimodal(params, x):
    hidden = {name: np.maximum(dense(params[f"{name}_hidden"], x[name]), 0) for name in x}
    return {name: dense(params[f"{name}_logits"], h) for name, h in hidden.items()}


@each_count
def test_mean_logits(modalities):
    def formula(params, x, present):
        logits = unimodal(params, x)
        return np.mean([logits[name] for name in present], axis=0) if present else np.zeros(4)

    check(MeanLogits(4, width=5), modalities, formula)


@each_count
def test_weighted_logits(modalities):
    def formula(params, x, present):
        logits = unimodal(params, x)
        score = dict(zip(x, params["weight"]))
        total = sum(np.exp(score[name]) for name in present)
        return sum((np.exp(score[name]) / total * logits[name] for name in present), start=np.zeros(4))

    check(WeightedLogits(4, width=5), modalities, formula)


@each_count
def test_product_of_experts(modalities):
    def formula(params, x, present):
        logits = unimodal(params, x)
        p = np.prod([softmax(logits[name]) for name in present], axis=0) * np.ones(4)
        return np.log(p / p.sum())

    check(ProductOfExperts(4, width=5), modalities, formula)


def test_product_of_experts_by_hand():
    # (.8, .2) and (.8, .2) multiply to .64 : .04, 16/17; (.5, .5) changes nothing.
    def modality(*p):
        weights = {"hidden": {"kernel": np.zeros((1, 1)), "bias": np.zeros(1)}}
        return weights | {"logits": {"kernel": np.zeros((1, 2)), "bias": np.log(p) + 7}}  # + 7 has no effect

    parts = {"a": modality(0.8, 0.2), "b": modality(0.8, 0.2), "c": modality(0.5, 0.5)}
    params = {f"{name}_{layer}": p for name, layers in parts.items() for layer, p in layers.items()}
    params = jax.tree.map(jnp.float32, params)
    tokens = {name: Tokens(jnp.ones((1, 1, 1)), jnp.ones((1, 1), bool)) for name in parts}
    fused = apply(ProductOfExperts(2, width=1), params, tokens)
    np.testing.assert_allclose(np.exp(fused.x[0, 0]), [16 / 17, 1 / 17], rtol=1e-5)


@each_count
def test_stacked(modalities):
    def formula(params, x, present):
        logits = unimodal(params, x)
        level_1 = [np.exp(log_softmax(logits[name])) if name in present else np.zeros(4) for name in x]
        return dense(params["stack"], np.concatenate(level_1))

    check(Stacked(4, width=5), modalities, formula)


@pytest.mark.parametrize("kind", [MeanLogits, WeightedLogits, ProductOfExperts, Stacked])
def test_finite_at_zero(kind):
    check_finite(kind(4, width=5))
