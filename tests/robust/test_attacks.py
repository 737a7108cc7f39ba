"""Attacks against optima that are known: of linear losses, of a parabola; budgets, absence, padding, independence, refusals."""

from math import inf

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.data.dataset import Column
from mmjax.data.scale import Scaled
from mmjax.robust.apgd import APGD, checkpoints, halved
from mmjax.robust.attacks import FGSM, PGD, InTurn, best_of
from mmjax.robust.budgets import L2, SNR, Linf, original_units
from mmjax.robust.square import Square
from mmjax.types import Attack, Padded
from tests.robust.targets import LENGTHS, batch_of, curved, linear, mixed

KEY = jax.random.key(3)
BUDGETS = {"image": Linf(0.1, 0.0, 1.0), "wave": SNR(20.0), "vector": L2(0.5)}
NOTHING = {"image": Linf(0.0), "wave": SNR(inf), "vector": L2(0.0)}
ATTACKS = {
    "fgsm": FGSM(BUDGETS),
    "pgd": PGD(BUDGETS, steps=3, restarts=2),
    "apgd": APGD(BUDGETS, steps=6),
    "square": Square(BUDGETS, queries=40),
    "in turn": InTurn((FGSM({"vector": BUDGETS["vector"]}), Square({"image": L2(0.5, 0.0, 1.0)}, queries=20))),
}
each = pytest.mark.parametrize("name", ATTACKS)


def run(attack, values, batch):
    """The attacked batch, compiled."""
    return jax.jit(lambda batch: attack(values, batch, KEY))(batch)


@pytest.fixture(scope="module")
def attacked():
    """name -> (batch, attacked batch, compiled attack); each attack is compiled once."""
    done = {}

    def of(name):
        if name not in done:
            compiled = jax.jit(lambda batch: ATTACKS[name](curved, batch, KEY))
            done[name] = compiled(mixed()), compiled
        return mixed(), *done[name]

    return of


def change_of(before, after, name):
    """The change of a modality in its valid entries, 0 elsewhere, [b ...] in float64."""
    old, new = before.inputs[name], after.inputs[name]
    if isinstance(old, Padded):
        old, new = (np.where(np.asarray(x.mask), np.asarray(x.x, np.float64), 0) for x in (old, new))
    change = np.asarray(new, np.float64) - np.asarray(old, np.float64)
    live = np.asarray(before.present[name] & (before.weight > 0))
    return np.where(live.reshape(-1, *[1] * (change.ndim - 1)), change, 0)


@each
def test_the_loss_rises_within_the_budgets(name, attacked):
    before, after, _ = attacked(name)
    rise = np.asarray(curved(after) - curved(before))
    assert isinstance(ATTACKS[name], Attack)
    assert (rise[:3] > 0.05).all(), rise
    image, wave, vector = (change_of(before, after, m) for m in ("image", "wave", "vector"))
    if name == "in turn":
        assert (np.linalg.norm(image.reshape(4, -1), axis=1) <= 0.5 * (1 + 1e-5)).all()
    else:
        assert np.abs(image).max() <= 0.1 * (1 + 1e-5)
        power = np.nansum(np.asarray(before.inputs["wave"].x)[:2] ** 2, axis=1)  # padding is NaN
        decibels = 10 * np.log10(power / (wave[:2] ** 2).sum(axis=1))
        assert (decibels >= 20 - 1e-4).all() and (decibels < 21).all()
    pixels = np.asarray(after.inputs["image"])[[0, 2]]
    assert pixels.min() >= -1e-6 and pixels.max() <= 1 + 1e-6
    assert (np.linalg.norm(vector, axis=1) <= 0.5 * (1 + 1e-5)).all()


@each
def test_absent_weightless_and_padded_values_keep_their_bits(name, attacked):
    before, after, _ = attacked(name)
    bits = lambda x: np.asarray(x).view(np.uint32)
    for modality in before.inputs:
        old, new = before.inputs[modality], after.inputs[modality]
        dead = ~np.asarray(before.present[modality]) | (np.asarray(before.weight) == 0)
        if isinstance(old, Padded):
            np.testing.assert_array_equal(new.length, LENGTHS)
            np.testing.assert_array_equal(bits(new.x)[~np.asarray(old.mask)], bits(old.x)[~np.asarray(old.mask)])
            old, new = old.x, new.x
        assert dead.any()
        np.testing.assert_array_equal(bits(new)[dead], bits(old)[dead])
    for part in ("present", "targets", "weight"):
        chex.assert_trees_all_equal(getattr(after, part), getattr(before, part))


@each
def test_examples_are_independent(name, attacked):
    before, after, compiled = attacked(name)
    moved = lambda x: x + jnp.arange(4.0).reshape(4, *[1] * (x.ndim - 1)) / 10 if x.dtype == jnp.float32 else x
    others = compiled(before.replace(inputs=jax.tree.map(moved, before.inputs)))  # all but the first example
    first = lambda batch: jax.tree.map(lambda leaf: leaf[0], batch)
    chex.assert_trees_all_equal(first(others), first(after))
    assert not np.array_equal(others.inputs["vector"][2], after.inputs["vector"][2])


def test_an_example_alone_is_attacked_as_in_a_batch():
    """Also at the same random numbers, which depend on the place in the batch: those of the first example."""
    attack = PGD({"vector": BUDGETS["vector"]}, steps=2)
    compiled = jax.jit(lambda batch: attack(curved, batch, KEY))
    alone, whole = compiled(jax.tree.map(lambda leaf: leaf[:1], mixed())), compiled(mixed())
    chex.assert_trees_all_close(alone, jax.tree.map(lambda leaf: leaf[:1], whole), rtol=1e-5, atol=1e-6)


def test_without_budget_or_steps_the_batch_is_returned_as_it_is():
    batch = mixed()
    kinds = (FGSM, PGD, APGD, Square)
    attacks = [kind(NOTHING) for kind in kinds] + [kind(BUDGETS, 0) for kind in kinds[1:]] + [FGSM({}), InTurn(())]
    assert all(attack(curved, batch, KEY) is batch for attack in attacks)


# Linear losses: the best changes are eps sign(w) in linf, with value eps ||w||_1, and r w / ||w|| in l2, with value r ||w||.

W = jnp.array([3.0, -1.0, 0.5, -2.0, 0.25, 1.0])
X = jnp.array([[0.5] * 6, [0.1, 0.9, 0.2, 0.3, 0.4, 0.6]])


@pytest.mark.parametrize("attack", [FGSM, PGD, APGD, lambda budgets: Square(budgets, queries=250)])
@pytest.mark.parametrize("budget, gain", [(Linf(0.05), 0.05 * 7.75), (L2(0.2), 0.2 * float(jnp.linalg.norm(W)))])
def test_optimum_of_a_linear_loss(attack, budget, gain):
    batch = batch_of(x=X)
    attack = attack({"x": budget})
    after = run(attack, linear(W), batch)
    share = np.asarray(linear(W)(after) - linear(W)(batch)) / gain
    # In l2, random search and steps from a random start come close; everything else is exact.
    needed = {Square: 0.75, PGD: 0.95}.get(type(attack), 1 - 1e-4) if isinstance(budget, L2) else 1 - 1e-4
    assert (share <= 1 + 1e-4).all() and (share >= needed).all(), share


def test_a_range_binds_where_the_budget_does_not():
    batch = batch_of(x=X)
    after = run(FGSM({"x": Linf(0.3, 0.0, 1.0)}), linear(W), batch)
    np.testing.assert_allclose(after.inputs["x"], np.clip(np.asarray(X) + 0.3 * np.sign(np.asarray(W)), 0, 1), atol=1e-6)
    outside = batch_of(x=jnp.array([[1.5, -0.5]]))  # is not moved back, nor further out
    after = run(FGSM({"x": Linf(0.3, 0.0, 1.0)}), linear(jnp.array([1.0, -1.0])), outside)
    np.testing.assert_array_equal(after.inputs["x"], outside.inputs["x"])
    after = run(FGSM({"x": Linf(0.3, 0.0, 1.0)}), linear(jnp.array([-1.0, 1.0])), outside)
    np.testing.assert_allclose(after.inputs["x"], [[1.2, -0.2]], atol=1e-6)


def test_budgets_in_the_units_of_pixels():
    """z = (pixel - mean) / deviation: 0.1 of a pixel's range is 0.1 / deviation in the model's input."""
    mean, deviation = np.array([0.5, 0.2], np.float32), np.array([0.25, 0.5], np.float32)
    pixels = np.array([[[0.5, 0.95], [0.0, 0.5]]], np.float32)
    batch = batch_of(x=(pixels - mean) / deviation)
    column = Column(1, int, Scaled(lambda x: x, mean, deviation))
    for budget, expected in (
        (Linf(0.1, 0.0, 1.0), [[[0.6, 1.0], [0.1, 0.4]]]),
        # w / deviation = (4, 2, 4, -2): norm sqrt(40); the second pixel stays in range.
        (L2(0.1, 0.0, 1.0), pixels + 0.1 * np.array([[4.0, 2.0], [4.0, -2.0]]) / np.sqrt(40)),
    ):
        after = run(FGSM({"x": original_units(budget, column)}), linear(jnp.array([1.0, 1.0, 1.0, -1.0])), batch)
        np.testing.assert_allclose(np.asarray(after.inputs["x"]) * deviation + mean, expected, atol=1e-6)
    with pytest.raises(ValueError, match="the column is not z-scored"):
        original_units(L2(0.1), Column(1, int, lambda x: x))


def test_tiny_gradients_have_a_direction():
    """A saturated loss has gradients of 1e-30, whose squares underflow."""
    after = run(FGSM({"x": L2(5.0)}), linear(jnp.array([3e-30, 4e-30])), batch_of(x=jnp.zeros((1, 2))))
    np.testing.assert_allclose(after.inputs["x"], [[3.0, 4.0]], rtol=1e-5)


# APGD.


def test_checkpoints_of_the_paper():
    # Shares 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99: each distance is 0.03 less than the one before, at least 0.06.
    assert checkpoints(100) == (22, 41, 57, 70, 80, 87, 93, 99)
    assert checkpoints(10) == (3, 5, 6, 7, 8, 9)  # rounded up, without repetitions


def test_step_sizes_are_halved_by_the_two_conditions():
    def state(improved, loss, last):
        tree = ({"x": jnp.zeros((4, 2))}, {"x": jnp.zeros((4, 2))})
        best = jax.tree.map(jnp.ones_like, tree)
        return {"here": tree, "before": tree[0], "loss": jnp.zeros(4), "best": (best, jnp.array(loss)),
                "size": jnp.array([2.0, 2.0, 2.0, 1.0]), "improved": jnp.array(improved),
                "last": (jnp.full(4, 2.0), jnp.array(last))}  # fmt: skip

    # Of 4 steps: 2 improved, fewer than 3; 3 and a new best; 3, but neither the best nor the size has changed; the size has.
    found = halved(state([2, 3, 3, 3], [5.0, 5.0, 5.0, 5.0], [4.0, 4.0, 5.0, 5.0]), jnp.int32(4))
    np.testing.assert_array_equal(found["size"], [1.0, 2.0, 1.0, 1.0])
    np.testing.assert_array_equal(found["here"][0]["x"][:, 0], [1, 0, 1, 0])  # restarts from the best point
    np.testing.assert_array_equal(found["loss"], [5, 0, 5, 0])
    np.testing.assert_array_equal(found["improved"], [0, 0, 0, 0])
    between = halved(state([0, 0, 0, 0], [5.0] * 4, [5.0] * 4), jnp.int32(0))  # not at a checkpoint
    np.testing.assert_array_equal(between["size"], [2.0, 2.0, 2.0, 1.0])


def test_apgd_converges_where_fixed_steps_oscillate():
    """The optimum of a parabola is inside the budget: steps of a quarter of it jump over it."""
    parabola = lambda batch: -jnp.square(batch.inputs["x"] - 0.3).sum(axis=1)
    batch = batch_of(x=jnp.zeros((1, 1)))
    fixed = run(PGD({"x": Linf(1.0)}, steps=40, random_start=False), parabola, batch)
    adaptive = run(APGD({"x": Linf(1.0)}, steps=40, random_start=False), parabola, batch)
    assert abs(float(fixed.inputs["x"][0, 0]) - 0.3) > 0.04
    assert abs(float(adaptive.inputs["x"][0, 0]) - 0.3) < 0.01


def test_apgd_returns_its_best_point():
    """The loss falls after the first step, whatever the step: the best point is the start."""
    cliff = lambda batch: jnp.where(batch.inputs["x"][:, 0] == 0.2, 1.0, 0.0) + 1e-3 * batch.inputs["x"][:, 0]
    batch = batch_of(x=jnp.full((1, 1), 0.2))
    after = run(APGD({"x": Linf(0.5)}, steps=5, random_start=False), cliff, batch)
    np.testing.assert_allclose(after.inputs["x"], 0.2)


def test_each_example_keeps_the_best_of_all_starts():
    drawn = lambda key: jax.random.uniform(key, (5,))
    runs = np.stack([drawn(jax.random.fold_in(KEY, number)) for number in range(4)])
    best = best_of(4, lambda key: ({"x": drawn(key)}, drawn(key)), {"x": jnp.zeros(5)}, KEY)
    np.testing.assert_allclose(best["x"], runs.max(axis=0))
    nan = best_of(2, lambda key: ({"x": drawn(key)}, drawn(key) * jnp.nan), {"x": jnp.zeros(5)}, KEY)
    np.testing.assert_array_equal(nan["x"], 0)  # what cannot be compared is not used


# Square.


def test_square_needs_no_gradient():
    """The loss is computed on the host, where nothing can be differentiated."""
    shape = jax.ShapeDtypeStruct((2,), jnp.float32)
    on_host = lambda x: (np.asarray(x) @ np.asarray(W)).astype(np.float32)
    black_box = lambda batch: jax.pure_callback(on_host, shape, batch.inputs["x"])
    with pytest.raises(ValueError, match="Pure callbacks do not support JVP"):
        FGSM({"x": Linf(0.05)})(black_box, batch_of(x=X), KEY)
    attack = Square({"x": Linf(0.05)}, queries=30)
    chex.assert_trees_all_close(run(attack, black_box, batch_of(x=X)), run(attack, linear(W), batch_of(x=X)), rtol=1e-6)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Linf(-0.1), "Linf.epsilon is -0.1; it must be at least 0 and finite"),
        (lambda: L2(inf), "L2.epsilon is inf; it must be at least 0 and finite"),
        (lambda: L2(0.1, 1.0, 0.0), "L2.low is 1.0 and L2.high is 0.0; low must be below high"),
        (lambda: Linf(0.1, deviation=(1.0, 0.0)), r"Linf.deviation is \(1.0, 0.0\); it must be above 0"),
        (lambda: SNR(float("nan")), "SNR.decibels is nan; it must be a number or infinity"),
        (lambda: PGD({}, steps=-1), "PGD.steps is -1; it must be at least 0"),
        (lambda: PGD({}, step_size=0.0), "PGD.step_size is 0.0; it must be above 0"),
        (lambda: PGD({}, random_start=False, restarts=2), "PGD.restarts is 2, but without random_start all starts are equal"),
        (lambda: APGD({}, restarts=0), "APGD.restarts is 0; it must be at least 1"),
        (lambda: Square({}, share=0.0), "Square.share is 0.0; it must be above 0 and at most 1"),
        (lambda: FGSM({"sound": L2(0.1)}), "budgets.sound: there is no modality 'sound'; .* are image, vector, wave"),
        (lambda: FGSM({"wave": 0.1}), "budgets.wave is 0.1, but this attack takes Linf, L2, SNR or Embeddings"),
        (lambda: FGSM({"image": Linf((0.1, 0.1, 0.1))}), "budgets.image: Linf.epsilon has 3 entries, but .* input has 2"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()(curved, mixed(), KEY)
    assert "\n" not in str(error.value)
