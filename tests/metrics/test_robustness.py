"""Relative and effective robustness against MultiBench's code (eval_scripts/robustness.py), rewritten here."""

import numpy as np
import pytest

from mmjax.metrics.robustness import (
    accumulated_change,
    effective_robustness,
    min_max_normalized,
    relative_robustness,
    trapezoids,
)

CURVE, LATE = np.array([0.8, 0.7, 0.65, 0.4]), np.array([0.75, 0.6, 0.5, 0.45])


def test_relative_robustness_is_the_loop_of_multibench():
    total = 0.0
    for k in range(3):
        total += (CURVE[k] + CURVE[k + 1]) * 0.1 / 2
    assert relative_robustness(CURVE) == pytest.approx(total)
    assert trapezoids(4) @ CURVE == pytest.approx(total)
    np.testing.assert_allclose(relative_robustness(np.stack([CURVE, LATE]))[0], total)


def test_effective_robustness_is_the_sum_of_multibench():
    """Its code moves late fusion to the start of the method, 0.8, 0.65, 0.55, 0.5, and adds up what the method has more."""
    moved = [late + (CURVE[0] - LATE[0]) for late in LATE]
    total = 0.0
    for value, expected in zip(CURVE, moved):
        total += value - expected
    assert effective_robustness(CURVE, LATE) == pytest.approx(total) == pytest.approx(0 + 0.05 + 0.1 - 0.1)
    assert accumulated_change(CURVE) == pytest.approx(-0.1 - 0.15 - 0.4)


def test_methods_are_scaled_to_0_and_1():
    np.testing.assert_allclose(min_max_normalized(np.array([1.0, 3, 2])), [0, 1, 0.5])
    np.testing.assert_allclose(min_max_normalized(np.array([1.0, 3, 2]), higher_is_better=False), [1, 0, 0.5])
    assert np.isnan(min_max_normalized(np.ones(2))).all()
