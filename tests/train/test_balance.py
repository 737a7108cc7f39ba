"""Balances against numbers derived by hand on toy objectives, and on a real model under every plan."""

from dataclasses import replace
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.model import Multimodal
from mmjax.shards import SHARD
from mmjax.train.balance import OGMGE, GradNorm, blend_weights, ogm_ge
from mmjax.train.parallel import pmapped, single
from mmjax.train.seeds import init_seeds
from mmjax.train.step import make_step
from mmjax.types import Aux, Batch, Gradient, Tokens

CLASSES = 3
KEY = jax.random.key(0)


def test_they_are_gradients():
    assert isinstance(OGMGE(), Gradient) and isinstance(GradNorm(("a",)), Gradient)


# OGM-GE: two classes, target 0, so that logits (log p, log(1 - p)) give the probability p.


def scored(probabilities, present=None, weight=None):
    """Outputs and a batch in which modality u gives the target of example i the probability probabilities[u][i]."""
    p = {name: jnp.array(values) for name, values in probabilities.items()}
    outputs = {f"{name}.label": jnp.log(jnp.stack([value, 1 - value], axis=1)) for name, value in p.items()}
    size = len(next(iter(p.values())))
    present = {name: jnp.array((present or {}).get(name, [True] * size)) for name in p}
    weight = jnp.ones(size) if weight is None else jnp.array(weight)
    return outputs, Batch({}, present, {"label": jnp.zeros(size, jnp.int32)}, weight)


def test_coefficients_by_hand():
    # Means .7 and .35: the ratio is 2 for a and 1/2 for b. k_a = 1 - tanh(.5 * 2).
    k = OGMGE(alpha=0.5).coefficients(*scored({"a": [0.8, 0.6], "b": [0.2, 0.5]}))
    chex.assert_trees_all_close(k, {"a": jnp.float32(1 - np.tanh(1.0)), "b": jnp.float32(1.0)}, rtol=1e-5)
    # Three: .8 against (.4 + .2) / 2 = .3, .4 against .5, .2 against .6.
    k = OGMGE(alpha=0.3).coefficients(*scored({"a": [0.8], "b": [0.4], "c": [0.2]}))
    np.testing.assert_allclose([k["a"], k["b"], k["c"]], [1 - np.tanh(0.3 * 0.8 / 0.3), 1, 1], rtol=1e-5)


def test_coefficients_are_weighted_means_over_present_examples():
    # a: (2 * .9 + 1 * .6) / 3 = .8, the second example being absent and the last one padding; b: (2 * .3 + .1 + .5) / 4 = .3.
    probabilities = {"a": [0.9, 0.1, 0.6, 0.1], "b": [0.3, 0.1, 0.5, 0.9]}
    given = scored(probabilities, {"a": [True, False, True, True]}, [2.0, 1.0, 1.0, 0.0])
    k = OGMGE(alpha=0.3).coefficients(*given)
    np.testing.assert_allclose([k["a"], k["b"]], [1 - np.tanh(0.3 * 0.8 / 0.3), 1], rtol=1e-5)
    k = OGMGE().coefficients(*scored({"a": [0.9], "b": [0.1]}, {"b": [False]}))  # no rival
    assert k == {"a": 1, "b": 1}
    # c is in no example: b is the only other of a. .6 / .3 = 2.
    k = OGMGE(alpha=0.5).coefficients(*scored({"a": [0.6], "b": [0.3], "c": [0.9]}, {"c": [False]}))
    np.testing.assert_allclose([k["a"], k["b"], k["c"]], [1 - np.tanh(1.0), 1, 1], rtol=1e-5)


def modulated(balance, key, size=3):
    """A step where a is twice as confident as b; the gradient of each parameter is 1, 2, ..., size."""
    outputs, batch = scored({"a": [0.8, 0.6], "b": [0.2, 0.5]})
    slope = jnp.arange(1.0, size + 1)
    params = {name: {"w": jnp.ones(size)} for name in ("encoders_a", "encoders_b", "fusion")}

    def objective(params, batch, key, train=True):
        losses = {name: (slope * branch["w"]).sum() for name, branch in params.items()}
        return losses, Aux(outputs, {"batch_stats": {}}, losses, {})

    value, gradient, aux, state = balance(objective, params, balance.init(params), batch, key)
    assert state == () and aux.stats == {"batch_stats": {}}
    np.testing.assert_allclose(value, 3 * slope.sum(), rtol=1e-6)
    return {name: np.asarray(branch["w"]) for name, branch in gradient.items()}, np.asarray(slope)


def test_only_the_dominant_encoder_is_slowed():
    gradient, slope = modulated(OGMGE(alpha=0.5, noise=0.0), KEY)
    expected = {"encoders_a": (1 - np.tanh(1.0)) * slope, "encoders_b": slope, "fusion": slope}
    chex.assert_trees_all_close(gradient, expected, rtol=1e-5)


def test_only_convolutions_are_slowed_in_the_authors_code():
    """These encoders have vectors alone."""
    assert ogm_ge(0.3, "emotion") == OGMGE(0.3, target="emotion", dimensions=4)
    gradient, slope = modulated(ogm_ge(0.5), KEY)
    chex.assert_trees_all_equal(gradient, dict.fromkeys(gradient, slope))
    kernel = {"w": jnp.ones((1, 1, 2, 2))}
    changed = ogm_ge(0.5, noise=0.0).modulate(kernel, jnp.float32(0.5), KEY)
    np.testing.assert_array_equal(changed["w"], np.full((1, 1, 2, 2), 0.5))


def test_noise_has_the_deviation_of_the_gradient_and_comes_from_the_key():
    size = 10_000
    gradient, slope = modulated(OGMGE(alpha=0.5, noise=0.5), KEY, size)
    for name, k in (("encoders_a", 1 - np.tanh(1.0)), ("encoders_b", 1.0)):
        extra = (gradient[name] - k * slope) / (0.5 * slope.std())
        # n draws of N(0, 1): the mean has deviation 1 / sqrt(n) = .01, the deviation about 1 / sqrt(2 n) = .007; within five.
        assert abs(extra.mean()) < 0.05 and abs(extra.std() - 1) < 0.035
    np.testing.assert_array_equal(gradient["fusion"], slope)
    again, _ = modulated(OGMGE(alpha=0.5, noise=0.5), KEY, size)
    other, _ = modulated(OGMGE(alpha=0.5, noise=0.5), jax.random.key(1), size)
    chex.assert_trees_all_equal(gradient, again)
    assert (gradient["encoders_a"] != other["encoders_a"]).mean() > 0.9
    correlation = np.corrcoef(gradient["encoders_a"] - (1 - np.tanh(1.0)) * slope, gradient["encoders_b"] - slope)[0, 1]
    assert abs(correlation) < 0.05


def test_ogm_ge_names_the_outputs_it_needs():
    outputs, batch = scored({"a": [0.8]})
    with pytest.raises(ValueError, match=r"OGMGE compares the outputs 'modality.label' .*\['a.label'\]: give unimodal_heads="):
        OGMGE().coefficients(outputs, batch)


# GradNorm: loss a = 3 x + 4 y has gradient norm 5, loss b = x has norm 1; the parameters of heads do not count.


def objective(params, batch, key, train=True):
    x, y = params["encoders_m"]["w"]
    losses = {"a": 3 * x + 4 * y + 0 * params["heads"]["w"], "b": x + 0 * params["heads"]["w"]}
    return losses, Aux({}, {}, losses, {})


def test_two_steps_of_gradnorm_by_hand():
    balance, batch = GradNorm(("a", "b"), alpha=1.0, lr=0.1), scored({"a": [0.5]})[1]
    params = {"encoders_m": {"w": jnp.array([1.0, 1.0])}, "heads": {"w": jnp.array(1.0)}}
    value, gradient, _, state = balance(objective, params, balance.init(params), batch, KEY)
    np.testing.assert_allclose(value, 7 + 1)
    np.testing.assert_allclose(gradient["encoders_m"]["w"], [4, 4])
    # Norms 5 and 1, the target of both is their mean 3: w = (1 - .1 * 5, 1 + .1 * 1) = (.5, 1.1), scaled to the sum 2: / .8.
    np.testing.assert_allclose([state["weights"]["a"], state["weights"]["b"]], [0.625, 1.375], rtol=1e-6)
    assert state["first"] == {"a": 7, "b": 1}

    params["encoders_m"]["w"] = jnp.array([1.0, 0.0])
    value, gradient, _, state = balance(objective, params, state, batch, KEY)
    np.testing.assert_allclose(value, 0.625 * 3 + 1.375 * 1)
    np.testing.assert_allclose(gradient["encoders_m"]["w"], [0.625 * 3 + 1.375, 0.625 * 4])
    # Losses 3 and 1 of 7 and 1: shares 3/7 and 1, mean 5/7, r = (.6, 1.4). Norms 3.125 and 1.375, mean 2.25, targets 1.35
    # and 3.15: w = (.625 - .1 * 5, 1.375 + .1 * 1) = (.125, 1.475), again / .8.
    np.testing.assert_allclose([state["weights"]["a"], state["weights"]["b"]], [0.15625, 1.84375], rtol=1e-6)
    assert state["first"] == {"a": 7, "b": 1}
    # Again with alpha = 0: the target is 2.25 for both; the weight of a would be .625 - .9 * 5 < 0 and stays at 1e-3.
    harsh = replace(balance, alpha=0.0, lr=0.9)
    w = harsh.reweigh({"a": 0.625, "b": 1.375}, {"a": jnp.float32(5), "b": jnp.float32(1)}, {"a": 3 / 7, "b": 1.0})
    np.testing.assert_allclose([w["a"], w["b"]], [0.002 / 2.276, 4.55 / 2.276], rtol=1e-5)


def test_gradnorm_follows_the_gradient_of_its_own_objective():
    weights, norms, left = (jnp.array(v) for v in ([0.7, 1.1, 1.2], [2.0, 0.5, 1.0], [0.9, 0.4, 0.6]))
    target = (weights * norms).mean() * (left / left.mean()) ** 0.5
    slope = jax.grad(lambda w: jnp.abs(w * norms - target).sum())(weights)
    expected = weights - 0.05 * slope
    named = [dict(zip("abc", values)) for values in (weights, norms, left)]
    new = GradNorm(("a", "b", "c"), alpha=0.5, lr=0.05).reweigh(*named)
    np.testing.assert_allclose(jnp.stack(list(new.values())), expected * 3 / expected.sum(), rtol=1e-6)


def test_gradnorm_names_what_does_not_fit():
    params = {"encoders_m": {"w": jnp.ones(2)}, "heads": {"w": jnp.array(1.0)}}
    with pytest.raises(ValueError, match=r"GradNorm.shared is \('fusion',\), but the parameters .*\['encoders_m', 'heads'\]"):
        GradNorm(("a", "b"), shared=("fusion",)).init(params)
    balance = GradNorm(("a", "c"))
    with pytest.raises(ValueError, match=r"GradNorm.losses is \('a', 'c'\), but the losses are \['a', 'b'\]"):
        balance(objective, params, balance.init(params), scored({"a": [0.5]})[1], KEY)


# On a model: all plans give the same training, which updates the state of the balance.


def losses(outputs, batch):
    """The fused loss, and those of the modalities that are present."""
    values = {name: optax.softmax_cross_entropy_with_integer_labels(x, batch.targets["label"]) for name, x in outputs.items()}
    present = {name: batch.present[name.split(".")[0]] if "." in name else True for name in values}
    return {name: jnp.where(present[name], value, 0) for name, value in values.items()}


class Linear(nn.Module):
    """The smallest encoder."""

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Tokens:
        return Tokens(nn.Dense(2)(x)[:, None], jnp.ones((len(x), 1), bool))


def two_seeds() -> Batch:
    """Leaves [2 8 ...]."""
    random = np.random.default_rng(0)
    inputs = {name: jnp.asarray(random.normal(size=(2, 8, 3)), jnp.float32) for name in ("image", "text")}
    present = {name: jnp.asarray(random.random((2, 8)) < 0.7) for name in inputs}
    weight = jnp.asarray(random.integers(0, 3, (2, 8)), jnp.float32)
    return Batch(inputs, present, {"label": jnp.asarray(random.integers(0, CLASSES, (2, 8)))}, weight)


@pytest.mark.parametrize("balance", [OGMGE(alpha=0.3), GradNorm(("label", "image.label", "text.label"))])
def test_single_and_pmap_give_the_same(balance):
    batch, names = two_seeds(), ("image", "text")
    alone = {name: {"label": Classifier(CLASSES)} for name in names}
    model = Multimodal({name: Linear() for name in names}, Concat(width=4), {"label": Classifier(CLASSES)}, alone)
    tx = optax.sgd(0.1)
    step = make_step(model, losses, tx, gradient=balance)
    state = init_seeds(model, tx, [0, 1], jax.tree.map(lambda leaf: leaf[0], batch), balance)
    two_steps = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), batch)
    results = []
    for plan in (single(), pmapped()):
        placed, metrics = plan.train(step)(plan.place(jax.tree.map(jnp.copy, state)), {}, two_steps)
        fetched = plan.fetch(placed)
        kept = {name: metrics[name] for name in metrics if name != "update_norm"}
        results.append((fetched.params, fetched.gradient_state, kept))
    chex.assert_trees_all_close(*results, rtol=1e-4, atol=1e-5)
    chex.assert_tree_all_finite(results[0])
    params, balanced, metrics = results[0]
    several = {f"loss/{name}" for name in ("label", "image.label", "text.label")}
    assert set(metrics) == {"loss", "gradient_norm", "finite"} | several
    if isinstance(balance, OGMGE):
        np.testing.assert_allclose(metrics["loss"], sum(metrics[name] for name in several), rtol=1e-5)
    for name in ("encoders_image", "encoders_text"):
        moved = jax.tree.map(lambda new, old: jnp.abs(new - old).max(), params[name], state.params[name])
        assert max(jax.tree.leaves(moved)) > 1e-4
    if isinstance(balance, GradNorm):
        weights = jnp.stack(list(balanced["weights"].values()))
        chex.assert_shape(weights, (3, 2))  # losses, seeds
        np.testing.assert_allclose(weights.sum(axis=0), [3, 3], rtol=1e-5)
        assert (jnp.abs(weights - 1) > 1e-4).any()


def test_ogm_ge_adds_the_same_noise_on_every_shard():
    gradient = {"w": jnp.arange(6.0)}
    run = lambda key: OGMGE().modulate(gradient, jnp.float32(0.5), key)
    parts = jax.pmap(run, axis_name=SHARD)(jnp.stack([KEY] * 4))
    chex.assert_trees_all_close(parts["w"], jnp.stack([run(KEY)["w"]] * 4), rtol=1e-6)


# Gradient-Blending.


def test_blend_weights_by_hand():
    # image: G = 2.1 - 1.5 = .6, gap .1 -> .5, O = .4: .6 / .16 = 3.75.   text: G = .6, gap 0 -> .9: .6 / .81 = 20 / 27.
    # both:  G = .3, gap 0 -> 1.5: .3 / 2.25 = 2 / 15.                   sound: the validation loss rose: 0.
    train = {"image.label": (2.0, 1.0), "text.label": (2.0, 0.5), "label": (2.0, 0.2), "sound.label": (2.0, 1.0)}
    validation = {"image.label": (2.1, 1.5), "text.label": (2.0, 1.4), "label": (2.0, 1.7), "sound.label": (2.0, 2.2)}
    worth = {"image.label": 3.75, "text.label": 20 / 27, "label": 2 / 15, "sound.label": 0.0}
    weights = blend_weights(train, validation)
    assert weights == pytest.approx({name: value / sum(worth.values()) for name, value in worth.items()})
    assert sum(weights.values()) == pytest.approx(1)
    assert all(type(weight) is float for weight in weights.values())


def test_blend_weights_at_the_edges():
    same = blend_weights({"a": (2.0, 1.0), "b": (2.0, 1.0)}, {"a": (2.0, 1.0), "b": (2.0, 1.5)})
    assert same["a"] == pytest.approx(1) and same["b"] < 1e-9  # a did not overfit at all
    with pytest.raises(ValueError, match=r"train has the losses \['a'\], but validation \['b'\]"):
        blend_weights({"a": (1.0, 0.5)}, {"b": (1.0, 0.5)})
    with pytest.raises(ValueError, match="no validation loss fell"):
        blend_weights({"a": (1.0, 0.5)}, {"a": (1.0, 1.5)})
