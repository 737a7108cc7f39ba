"""Numbers as text: three decimals for bounded metrics, significant digits for ranks and errors, dashes for null."""

import math

import pytest

from mmjax.report.numbers import interval, number, rough, span

RANK, CORRELATION = (1.0, None), (-1.0, 1.0)


@pytest.mark.parametrize(
    ("value", "bounds", "text"),
    [
        (0.8604, (0.0, 1.0), "0.860"),
        (1.0, (0.0, 1.0), "1.000"),
        (-0.25, CORRELATION, "-0.250"),
        (12.34, RANK, "12.3"),
        (123.4, RANK, "123"),
        (1234.5, RANK, "1,234"),
        (3.0, RANK, "3"),
        (2.5, RANK, "2.50"),
        (0.00123, (0.0, None), "0.00123"),
        (0.0, (0.0, None), "0"),
        (None, RANK, "–"),
        (math.nan, RANK, "–"),
        (-0.0001, CORRELATION, "0.000"),
    ],
)
def test_digits_by_metric(value, bounds, text):
    assert number(value, bounds) == text


def test_intervals_share_the_digits_of_their_largest_number():
    assert interval({"mean": 0.861, "low": 0.82, "high": 0.9}) == "0.861 [0.820, 0.900]"
    assert interval({"mean": 9.5, "low": 8.25, "high": 11.0}, RANK) == "9.5 [8.2, 11.0]"
    assert interval({"mean": 3, "low": 2, "high": 4}, RANK) == "3 [2, 4]"
    assert interval({"mean": 0.012, "low": -0.02, "high": 0.045}, signed=True) == "+0.012 [-0.020, +0.045]"


def test_an_interval_without_width_or_ends_is_one_number():
    assert interval({"mean": 0.294, "low": 0.294, "high": 0.294}) == "0.294"
    assert interval({"mean": 0.294, "low": None, "high": None}) == "0.294"
    assert interval({"mean": None, "low": None, "high": None}) == "–"


def test_ranges():
    assert span([0.045, 0.038, 0.041]) == "0.038 to 0.045"
    assert span([0.0421, 0.0419]) == "0.042"
    assert rough([1873]) == "1,900" and rough([1801]) == "1,900"  # rounded up: fewer would not be enough
    assert rough([901, 12]) == "12 to 910"
    assert rough([10**9]) == "more than a million"
    assert rough([5000, 2 * 10**6]) == "5,000 to more than a million"
