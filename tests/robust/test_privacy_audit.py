"""The one-run audit against closed forms and simulated mechanisms, and on DP-SGD: right, and without its noise."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.decode import DataError
from mmjax.data.order import Poisson
from mmjax.robust.privacy import DPSGD, Flat
from mmjax.robust.privacy.accounting import PLD, calibrated_noise
from mmjax.robust.privacy.audit import audit, p_value
from mmjax.robust.privacy.canaries import Canaries
from mmjax.types import Aux, Batch


def test_all_guesses_right():
    """100 right guesses have probability q^100 under epsilon, q = 1 / (1 + e^-epsilon): .05 at epsilon = 3.49."""
    included = np.arange(100) % 2 == 0
    found = audit(included.astype(float), included, 100, delta=0.0)
    q = 0.05**0.01
    np.testing.assert_allclose(found.epsilon, np.log(q / (1 - q)), atol=2e-3)
    assert (found.correct, found.guesses, found.canaries) == (100, 100, 100)
    assert audit(-included.astype(float), included, 100, 0.0).epsilon == 0


def test_abstains_between():
    """The two highest scores are guessed as included, the two lowest as not."""
    found = audit(np.array([5.0, 4, 3, 2, 1, 0]), np.array([1, 0, 1, 1, 0, 0]), 4, 0.0)
    assert found.correct == 3
    for guesses in (0, 3, 8):
        with pytest.raises(ValueError, match=f"guesses is {guesses}"):
            audit(np.zeros(6), np.zeros(6), guesses, 0.0)


def test_p_value_is_that_of_the_theorem():
    """By its definition with binomial tails, f(v) = P[W >= v]."""
    m, r, v, epsilon, delta = 60, 40, 33, 1.0, 1e-3
    f = lambda k: stats.binom.sf(k - 1, r, np.e / (1 + np.e))
    by_hand = f(v) + 2 * m * delta * max((f(v - i) - f(v)) / i for i in range(1, m + 1))
    np.testing.assert_allclose(p_value(m, r, v, epsilon, delta), by_hand, rtol=1e-9)


def test_covers_randomised_response():
    """Each bit is told rightly with probability e^1.5 / (1 + e^1.5): about 5 % of the bounds exceed it."""
    random = np.random.default_rng(0)
    q = 1 / (1 + np.exp(-1.5))
    bounds = []
    for _ in range(100):
        included = random.random(80) < 0.5
        told = included ^ (random.random(80) > q)
        bounds.append(audit(told + 1e-3 * random.random(80), included, 40, 0.0).epsilon)
    exceeding = np.sum(np.array(bounds) > 1.5)
    assert exceeding <= 100 * 0.05 + 3 * np.sqrt(100 * 0.05 * 0.95)
    assert np.mean(bounds) > 0.3  # and it is not vacuous


CANARIES, SEEDS, STEPS, EPSILON, DELTA = 100, 8, 10, 2.0, 1e-5


def audits_of(noise):
    """One audit per seed of ten steps of DP-SGD on canaries whose gradients are orthogonal: the strongest canaries there are.

    Example i has the loss -params[i]; the score of a canary is its parameter after training.
    """
    gradient = DPSGD(Flat(1.0), noise_multiplier=noise, expected=50.0, microbatch=128)
    included = np.random.default_rng(0).random((SEEDS, CANARIES)) < 0.5
    sampling = Poisson()
    width = sampling.width(CANARIES, CANARIES // 2, STEPS)

    def objective(params, batch, key, train=True):
        values = {"loss": -batch.inputs["x"] @ params["w"]}
        return values, Aux({}, {}, {}, values)

    def step(params, given):
        rows, member, key = given
        x = jnp.eye(CANARIES)[rows]
        batch = Batch({"x": x}, {"x": rows >= 0}, {}, jnp.where(rows >= 0, member[rows], 0.0))
        _, slope, _, _ = gradient(objective, params, (), batch, key)
        return jax.tree.map(lambda p, g: p - g, params, slope), None

    def train(seed, rows, member):
        keys = jax.random.split(jax.random.key(seed), STEPS)
        given = rows, jnp.broadcast_to(member, (STEPS, CANARIES)), keys
        return jax.lax.scan(step, {"w": jnp.zeros(CANARIES)}, given)[0]["w"]

    rows = np.array([[sampling.draw(s, t, CANARIES, CANARIES // 2, width) for t in range(STEPS)] for s in range(SEEDS)])
    scores = np.asarray(jax.jit(jax.vmap(train))(jnp.arange(SEEDS), rows, included.astype(np.float32)))
    return [audit(scores[s], included[s], 80, DELTA, 1 - 0.05 / SEEDS) for s in range(SEEDS)]


def test_dpsgd_never_exceeds_its_epsilon():
    noise = calibrated_noise(PLD(), EPSILON, CANARIES, CANARIES // 2, STEPS, DELTA, Poisson())
    found = audits_of(noise)
    assert all(one.epsilon <= EPSILON for one in found)
    assert np.mean([one.correct for one in found]) > 40 + 2 * np.sqrt(20)  # the scores tell something: chance is 40 of 80


def test_dpsgd_without_its_noise_is_found_out():
    """Epsilon 2 is claimed, but the noise is missing: the audit refutes it."""
    assert min(one.epsilon for one in audits_of(0.0)) > EPSILON


# The data set with canaries.

N = 40
ROWS = Rows({"x": np.arange(N, dtype=np.int32)}, {"label": (np.arange(N) % 3).astype(np.int32)}, np.ones(N, np.float32))
SPLITS = ("train", "validation", "test")
DATA = Dataset(
    columns={"x": Column(N, np.eye(N, dtype=np.float32).__getitem__, identity)},
    splits=dict.fromkeys(SPLITS, ROWS),
    metadata={split: {"id": np.array([f"{split} {i}" for i in range(N)])} for split in SPLITS},
    fingerprint="f",
    classes={"label": tuple("xyz")},
)


@dataclass(frozen=True)
class Given:
    data: Any = DATA

    def load(self):
        return self.data


def test_canaries_are_wrong_and_half_of_them_are_kept():
    wrapped = Canaries(Given(), 30)
    chosen, label, included = wrapped.drawn(DATA)
    found = wrapped.load()
    assert len(set(chosen.tolist())) == 30 and (label != ROWS.targets["label"][chosen]).all() and set(label) == {0, 1, 2}
    kept = found.splits["train"].pointer["x"]
    assert set(kept) == set(range(N)) - set(chosen[~included]) and 5 < included.sum() < 25
    of_row = dict(zip(kept.tolist(), found.splits["train"].targets["label"].tolist()))
    assert all(of_row[row] == new for row, new, member in zip(chosen, label, included) if member)
    assert all(of_row[row] == row % 3 for row in set(of_row) - set(chosen.tolist()))
    assert len(found.metadata["train"]["id"]) == len(kept) and found.fingerprint != DATA.fingerprint
    assert found.splits["test"] is ROWS
    other = replace(wrapped, seed=1).drawn(DATA)
    assert not np.array_equal(other[0], chosen) or not np.array_equal(other[2], included)


def test_canaries_that_do_not_fit():
    with pytest.raises(DataError, match=r"Canaries\.count is 41"):
        Canaries(Given(), 41).load()
    with pytest.raises(DataError, match=r"Canaries\.target is 'colour'"):
        Canaries(Given(), 4, "colour").load()
