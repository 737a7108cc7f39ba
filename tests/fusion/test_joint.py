"""Joint fusions against their equations in NumPy, by example, for every pattern of presence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.fusion.gated import Gated
from mmjax.fusion.joint import GMU, Concat, FiLM, Product, WeightedSum
from mmjax.types import Tokens
from tests.fusion.tokens import apply, check, check_finite, dense, random_params, tokens_of

each_count = pytest.mark.parametrize("modalities", [1, 2, 3])


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@each_count
def test_concat(modalities):
    def formula(params, x, present):
        h = np.concatenate(list(x.values()))
        h = relu(dense(params["hidden0"], h))
        h = relu(dense(params["hidden1"], h))
        return relu(dense(params["dense"], h))

    check(Concat(width=6, hidden=(5, 7)), modalities, formula)


def test_concat_has_one_layer_by_default():
    check(Concat(width=6), 2, lambda params, x, present: relu(dense(params["dense"], np.concatenate(list(x.values())))))


@each_count
def test_weighted_sum(modalities):
    def formula(params, x, present):
        total = np.zeros(6)
        for k, name in enumerate(x):
            if name in present:
                total += params["alpha"][k] * dense(params[name], x[name])
        return total * len(x) / max(len(present), 1)

    check(WeightedSum(width=6), modalities, formula)


def vector(*values, present=True):
    return Tokens(jnp.array([[values]]), jnp.array([[present]]))


def test_weighted_sum_by_hand():
    # alpha = 2 and beta = 3 of f = (1, 2) and g = (10, 20), projected by the identity: 2 f + 3 g = (32, 64).
    same = {"kernel": np.eye(2, dtype=np.float32), "bias": np.zeros(2, np.float32)}
    params = {"alpha": np.array([2, 3], np.float32), "f": same, "g": same}
    fused = apply(WeightedSum(width=2), params, {"f": vector(1.0, 2.0), "g": vector(10.0, 20.0)})
    np.testing.assert_array_equal(fused.x[0, 0], [32, 64])
    # Without g: 2/1 * 2 f.
    fused = apply(WeightedSum(width=2), params, {"f": vector(1.0, 2.0), "g": vector(10.0, 20.0, present=False)})
    np.testing.assert_array_equal(fused.x[0, 0], [4, 8])
    # It is initialised as the mean.
    variables = jax.jit(WeightedSum(width=2).init)(jax.random.key(0), {"f": vector(1.0, 2.0), "g": vector(3.0, 4.0)})
    np.testing.assert_array_equal(variables["params"]["alpha"], [0.5, 0.5])


@each_count
def test_product(modalities):
    def formula(params, x, present):
        result = np.ones(6)
        for name in present:
            result = result * dense(params[name], x[name])
        return relu(result)

    check(Product(width=6), modalities, formula)


@each_count
def test_gmu(modalities):
    def formula(params, x, present):
        joined = np.concatenate(list(x.values()))
        z = sigmoid(joined @ params["gate"]["kernel"])
        h = [np.tanh(x[name] @ params[name]["kernel"]) for name in x]
        if len(x) == 2:
            return z * h[0] + (1 - z) * h[1]
        return sum(z[6 * k : 6 * k + 6] * h[k] for k in range(len(x)))

    check(GMU(width=6), modalities, formula)


@each_count
def test_gated(modalities):
    def formula(params, x, present):
        h = {name: relu(dense(params[name], x[name])) if name in present else np.zeros(6) for name in x}
        scores = dense(params["gate"], np.concatenate(list(h.values())))
        weight = {name: np.exp(scores[k]) for k, name in enumerate(x) if name in present}
        return sum((weight[name] / sum(weight.values()) * h[name] for name in present), start=np.zeros(6))

    check(Gated(width=6), modalities, formula)


@each_count
def test_film_modulates_every_token(modalities):
    tokens = tokens_of(modalities)
    fusion = FiLM(target=list(tokens)[-1], width=6)
    params = random_params(fusion, tokens)
    fused, tokens = jax.tree.map(np.asarray, (apply(fusion, params, tokens), tokens))
    target = tokens[fusion.target]
    assert fused.x.shape == (*target.mask.shape, 6)
    for b in range(len(target.mask)):
        present = {name: bool(t.mask[b].any()) for name, t in tokens.items()}
        expected_mask = np.array(target.mask[b])
        expected_mask[0] |= any(present.values())
        np.testing.assert_array_equal(fused.mask[b], expected_mask)
        for i in np.flatnonzero(expected_mask):
            h = dense(params[fusion.target], np.float64(target.x[b, i])) if present[fusion.target] else np.zeros(6)
            for name in sorted(set(tokens) - {fusion.target}):
                if present[name]:
                    condition = tokens[name].x[b][tokens[name].mask[b]].mean(axis=0)
                    change = dense(params[f"{name}_film"], condition)
                    h = (1 + change[:6]) * h + change[6:]
            np.testing.assert_allclose(fused.x[b, i], relu(h), atol=1e-4, rtol=1e-4)


def test_an_unknown_target_of_film():
    with pytest.raises(ValueError, match=r"FiLM.target is 'video'; it must be one of the modalities \['image', 'text'\]"):
        FiLM("video").init(jax.random.key(0), tokens_of(2))


@pytest.mark.parametrize(
    "fusion",
    [Concat(6), WeightedSum(6), Product(6), FiLM("text", 6), GMU(6), Gated(6)],
    ids=lambda fusion: type(fusion).__name__,
)
def test_finite_at_zero(fusion):
    check_finite(fusion)
