"""Schedules at points derived by hand, and optimisers against their equations."""

import json
from dataclasses import dataclass, field, replace
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tyro

from mmjax.describe import as_json
from mmjax.train.optim import SGD, Adam, AdamW, Constant, Cosine, Linear, Lion, Muon, Steps

OPTIMISERS = (SGD(), Adam(), AdamW(), Lion(), Muon())


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # lr 2 over 100 steps, at steps 0, 5, 10, 55, 100
        (Constant(), [2, 2, 2, 2, 2]),
        (Cosine(warmup=0.1), [0, 1, 2, 1, 0]),  # 55 is half of the way from 10 to 100: cosine 0
        (Cosine(warmup=0.1, end=0.5), [0, 1, 2, 1.5, 1]),
        (Cosine(warmup=0.0), [2, 1 + np.cos(np.pi * 0.05), 1 + np.cos(np.pi * 0.1), 1 + np.cos(np.pi * 0.55), 0]),
        (Linear(warmup=0.1), [0, 1, 2, 1, 0]),
        (Linear(warmup=0.0, end=0.1), [2, 1.91, 1.82, 1.01, 0.2]),  # 2 - 1.8 * step / 100
        (Steps(at=(0.1, 0.55), factor=0.1), [2, 2, 0.2, 0.02, 0.02]),
    ],
)
def test_schedules_by_hand(schedule, expected):
    rate = schedule(2.0, 100)
    np.testing.assert_allclose([rate(step) for step in (0, 5, 10, 55, 100)], expected, rtol=1e-5, atol=1e-6)
    jitted = jax.jit(jax.vmap(rate))(jnp.array([0, 5, 10, 55, 100])) if not isinstance(schedule, Constant) else expected
    np.testing.assert_allclose(jitted, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 7, 30, 77, 300])
def test_the_default_schedule_of_adamw_is_warm_up_and_cosine_decay(steps):
    warmup = min(max(steps // 10, 1), steps - 1)
    expected = optax.warmup_cosine_decay_schedule(0.0, 0.3, warmup, steps)
    rate = AdamW().schedule(0.3, steps)
    for step in range(0, steps + 1, max(steps // 10, 1)):
        np.testing.assert_allclose(rate(step), expected(step), rtol=1e-6, atol=1e-8)


def updates(optimiser, params, gradients, steps=10):
    """Parameters after each gradient."""
    tx = optimiser(steps)

    @jax.jit
    def run(params):
        state, path = tx.init(params), []
        for gradient in gradients:
            update, state = tx.update(gradient, state, params)
            params = optax.apply_updates(params, update)
            path.append(params)
        return path

    return run(params)


def test_sgd_by_hand():
    # w = 1, gradients 0.5 and 0.5, lr 0.1, momentum 0.9: v = 0.5, then 0.9 * 0.5 + 0.5 = 0.95
    one, half = jnp.ones(1), [jnp.full(1, 0.5)] * 2
    np.testing.assert_allclose(updates(SGD(0.1), one, half), [[0.95], [0.855]], rtol=1e-6)
    # Nesterov: g + momentum * v, so 0.5 + 0.45 and 0.5 + 0.855
    np.testing.assert_allclose(updates(SGD(0.1, nesterov=True), one, half), [[0.905], [0.7695]], rtol=1e-6)
    # without momentum, with decay 0.2: g + 0.2 w = 0.7, then w = 0.93 and 0.5 + 0.186
    np.testing.assert_allclose(updates(SGD(0.1, momentum=0.0, decay=0.2), one, half), [[0.93], [0.8614]], rtol=1e-6)
    # a gradient of length 5 is shortened to 1: (3, 4) / 5
    clipped = updates(SGD(1.0, momentum=0.0), jnp.zeros(2), [jnp.array([3.0, 4.0])])
    np.testing.assert_allclose(clipped, [[-0.6, -0.8]], rtol=1e-6)


def test_lion_by_hand():
    # Constant lr 0.1, no decay. m = 0: sign(0.1 g) = sign g. Then m = 0.01 g, g' = -g / 20: 0.9 * 0.01 g - 0.1 * g / 20 > 0.
    lion = Lion(0.1, decay=0.0, schedule=Constant())
    path = updates(lion, jnp.zeros(2), [jnp.array([0.5, -0.2]), jnp.array([-0.025, 0.01])])
    np.testing.assert_allclose(path, [[-0.1, 0.1], [-0.2, 0.2]], rtol=1e-5)


def test_muon_orthogonalises_matrices_and_trains_the_rest_by_adam():
    params = {"kernel": jnp.zeros((4, 4)), "bias": jnp.zeros(4), "conv": jnp.zeros((2, 2, 1, 1))}
    gradient = jax.tree.map(lambda x: jax.random.normal(jax.random.key(x.ndim), x.shape), params)
    (after,) = updates(Muon(0.1, decay=0.0, schedule=Constant()), params, [gradient])
    # Five Newton-Schulz steps bring the singular values near 1 (0.7 to 1.2), and the scale is lr * 0.2 * sqrt(4) = 0.04.
    singular = np.linalg.svd(np.asarray(after["kernel"]), compute_uv=False) / 0.04
    assert ((singular > 0.5) & (singular < 1.3)).all()
    assert (np.asarray(after["kernel"] * gradient["kernel"]).sum()) < 0  # downhill
    adam, length = optax.nadamw(0.1, weight_decay=0.0), optax.tree.norm(gradient)
    rest = {name: gradient[name] / length for name in ("bias", "conv")}  # 25 random numbers are longer than 1
    expected = jax.jit(lambda rest: adam.update(rest, adam.init(rest), rest)[0])(rest)
    chex.assert_trees_all_close({name: after[name] for name in rest}, expected, rtol=1e-4)


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=lambda o: type(o).__name__)
def test_every_optimiser_descends_under_vmap_and_clips(optimiser):
    """Two seeds under vmap equal each other; a gradient 1000 times as long gives the same updates."""
    tx = replace(optimiser, lr=0.05)(40)
    start = {"w": jnp.full((3, 3), 2.0), "b": jnp.full(3, -1.0)}
    loss = lambda p, scale: scale * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(p))

    @jax.jit
    def train(params, scale):
        def step(carry, _):
            params, state = carry
            update, state = tx.update(jax.grad(loss)(params, scale), state, params)
            return (optax.apply_updates(params, update), state), loss(params, 1.0)

        return jax.lax.scan(step, (params, tx.init(params)), None, length=40)[1]

    one, long = (jax.vmap(train, (0, None))(jax.tree.map(lambda x: jnp.stack([x, x]), start), s) for s in (10.0, 1e4))
    assert one[0, -1] < one[0, 0] * 0.9
    np.testing.assert_array_equal(one[0], one[1])
    np.testing.assert_allclose(one[:, :5], long[:, :5], rtol=1e-2)


@pytest.mark.parametrize(
    ("optimiser", "message"),
    [
        (Adam(lr=0.0), r"Adam\.lr is 0\.0; it must be finite and above 0"),
        (SGD(lr=-1.0), r"SGD\.lr is -1\.0"),
        (SGD(momentum=1.0), r"SGD\.momentum is 1\.0; it must be at least 0 and below 1"),
        (AdamW(decay=-0.1), r"AdamW\.decay is -0\.1"),
        (Lion(clip=0.0), r"Lion\.clip is 0\.0"),
        (Muon(lr=float("nan")), r"Muon\.lr is nan"),
        (Adam(clip=float("inf")), r"Adam\.clip is inf; it must be finite and above 0; a large value"),
        (AdamW(decay=float("inf")), r"AdamW\.decay is inf"),
        (SGD(momentum=float("nan")), r"SGD\.momentum is nan"),
        (AdamW(schedule=Cosine(warmup=1.0)), r"schedule\.warmup is 1\.0"),
        (AdamW(schedule=Linear(end=float("inf"))), r"schedule\.end is inf; it must be finite and at least 0"),
        (Adam(schedule=Steps(at=(0.5, 2.0))), r"schedule\.at is \(0\.5, 2\.0\)"),
        (Adam(schedule=Steps(factor=-0.1)), r"schedule\.factor is -0\.1"),
    ],
)
def test_fields_out_of_range_are_named(optimiser, message):
    with pytest.raises(ValueError, match=message):
        optimiser(10)


@dataclass(frozen=True)
class Line:
    optim: Any = field(default_factory=AdamW)


def test_values_hash_are_json_and_take_flags():
    for optimiser in OPTIMISERS:
        assert hash(optimiser) == hash(replace(optimiser)) and optimiser == replace(optimiser)
        assert json.loads(json.dumps(as_json(optimiser)))["schedule"]["class"].split(":")[1] in ("Constant", "Cosine")
    parse = lambda optim, *flags: tyro.cli(Line, default=Line(optim), args=list(flags)).optim
    assert parse(AdamW(), "--optim.lr", "3e-4") == AdamW(3e-4)
    assert parse(AdamW(), "--optim.schedule.warmup", "0.2") == AdamW(schedule=Cosine(0.2))
    assert parse(SGD(schedule=Steps()), "--optim.schedule.at", "0.1", "0.2") == SGD(schedule=Steps((0.1, 0.2)))
