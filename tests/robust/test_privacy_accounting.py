"""Accountants against published tables and closed forms; calibration; the guarantee counts overflow."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from mmjax.data.order import Poisson
from mmjax.robust.privacy.accounting import (
    PLD,
    RDP,
    Accountant,
    ClassicRDP,
    calibrate,
    calibrated_noise,
    guarantee,
)

N, BATCH = 60_000, 256


@pytest.mark.parametrize(("noise", "epochs", "published"), [(1.12, 60, 2.92), (0.6, 30, 9.74), (1.2, 10, 1.20)])
def test_tensorflow_privacy(noise, epochs, published):
    """Its table for MNIST at delta 1e-5, within 0.3 %: it does not give the number of steps per epoch or the orders alpha."""
    found = ClassicRDP().epsilon(noise, BATCH / N, epochs * N // BATCH, 1e-5)
    np.testing.assert_allclose(found, published, rtol=3e-3)


def test_accountants_are_ordered():
    """The better conversion gives less, and the privacy loss distribution less still."""
    classic, rdp, pld = (accountant.epsilon(1.2, BATCH / N, 2343, 1e-5) for accountant in (ClassicRDP(), RDP(), PLD()))
    assert 0.7 < pld < rdp < classic < 1.21
    assert all(isinstance(accountant, Accountant) for accountant in (PLD(), RDP(), ClassicRDP()))


def test_gaussian_mechanism_in_closed_form():
    """Rate 1, k steps: a Gaussian mechanism of noise z / sqrt(k), whose delta is known (Balle and Wang, 2018, theorem 8)."""
    noise, steps, delta = 4.0, 9, 1e-4
    mu = math.sqrt(steps) / noise
    of = lambda e: stats.norm.cdf(mu / 2 - e / mu) - math.exp(e) * stats.norm.cdf(-mu / 2 - e / mu) - delta
    exact = optimize.brentq(of, 0, 20)
    np.testing.assert_allclose(PLD().epsilon(noise, 1.0, steps, delta), exact, rtol=1e-3)
    assert RDP().epsilon(noise, 1.0, steps, delta) > exact


@pytest.mark.parametrize(("accountant", "epsilon"), [(PLD(), 3.0), (ClassicRDP(), 0.5)])
def test_calibrated_noise_reaches_the_target(accountant, epsilon):
    settings = 500, 50, 40, 1e-4, Poisson()
    noise = calibrated_noise(accountant, epsilon, *settings)
    found = guarantee(accountant, noise, *settings)
    assert epsilon * 0.99 < found.epsilon <= epsilon and found.delta == 1e-4
    assert guarantee(accountant, noise * 0.99, *settings).epsilon > epsilon


def test_unreachable_targets():
    with pytest.raises(ValueError, match=r"DPSGD\.epsilon is 1e-09; no noise multiplier"):
        calibrate(ClassicRDP(), 1e-9, 0.1, 10, 1e-5)


def test_guarantee_names_everything():
    found = guarantee(RDP(), 2.0, 500, 50, 40, 1e-4, Poisson())
    assert found.accountant.startswith("RDP, dp-accounting ") and "Canonne" in found.conversion
    assert found.neighbours == "add or remove one training row"
    assert found.sampling == "Poisson, 50 of 500 rows expected, overflow below 1e-12"
    for word in ("seeds", "looking at results", "losses", "validation and test"):
        assert word in found.not_covered
    nothing = guarantee(RDP(), 0.0, 500, 50, 40, 1e-4, Poisson())
    assert nothing.epsilon is None and nothing.covers.startswith("nothing")


def test_overflow_is_a_thousandth_of_delta():
    """(1 + e^8) 1e-8 is 3e-5, above 1e-3 of delta 1e-4; the largest allowed one is 1e-7 / (1 + e^8) = 3.4e-11."""
    with pytest.raises(ValueError, match=r"sampling\.overflow is 1e-08; .* at most 3\.4e-11"):
        calibrated_noise(RDP(), 8.0, 500, 50, 40, 1e-4, Poisson(1e-8))
    exact = RDP().epsilon(2.0, 0.1, 40, 1e-4 * 0.999)
    assert guarantee(RDP(), 2.0, 500, 50, 40, 1e-4, Poisson()).epsilon == exact
