"""Verdicts from intervals by hand: where they lie, directions, margins, several comparisons, and costs."""

import math
from dataclasses import dataclass, field

import pytest
from scipy.stats import norm, t

from mmjax.claims.claim import Better, Cheaper, Claim, ClaimError, Equal, Near
from mmjax.claims.judge import judge
from mmjax.evaluate.statistics import Difference
from mmjax.evaluate.statistics.variance import Variance

DEGREES = 10.0
T = t.ppf(0.975, DEGREES)  # 2.228


def difference(mean: float, error: float = 0.01, up: bool = True) -> Difference:
    """A t interval around the mean. The verdict is not used but for "identical"."""
    found = Variance(error**2, 0.0, 0.0, DEGREES, math.inf)
    return Difference(mean, mean - T * error, mean + T * error, 0.5, "inconclusive", up, found)


IDENTICAL = Difference(0.0, 0.0, 0.0, 1.0, "identical")


@dataclass
class FakeResults:
    """Differences by rival, and rows of a table; records what was asked."""

    differences: dict = field(default_factory=dict)
    rows: tuple = ()
    asked: list = field(default_factory=list)

    def compare(self, a, b, metric=None, task=None, subset=None):
        self.asked.append((a, b, metric, task, subset))
        return self.differences[b]

    def table(self, task=None):
        return list(self.rows)


def claim(*expectations):
    return Claim("some", "a claim", "a source", "data", "the opposite", "python experiments/x.py", 1.0, "", "", expectations)


def verdict(expectation, results=None, costs=None):
    return judge(claim(expectation), results or FakeResults(), costs or {}).verdict


@pytest.mark.parametrize(
    ("mean", "up", "by", "expected"),
    [
        (0.03, True, 0.0, "reproduced"),  # [.008, .052]
        (0.02, True, 0.0, "inconclusive"),  # [-.002, .042]
        (-0.03, True, 0.0, "contradicted"),
        (-0.03, False, 0.0, "reproduced"),  # an error that falls
        (0.03, False, 0.0, "contradicted"),
        (0.03, True, 0.02, "inconclusive"),  # the interval contains .02
        (0.045, True, 0.02, "reproduced"),
        (-0.005, True, 0.02, "contradicted"),  # at most .017
        (0.0, True, -0.03, "reproduced"),  # at least -.022
        (-0.01, True, -0.03, "inconclusive"),
        (0.01, False, -0.03, "inconclusive"),  # the same of an error
        (0.06, False, -0.03, "contradicted"),  # worse by .038 at least
        (math.nan, True, 0.0, "inconclusive"),
    ],
)
def test_better(mean, up, by, expected):
    results = FakeResults({"b": difference(mean, up=up)})
    assert verdict(Better("a", "m", ("b",), by=by), results) == expected
    assert results.asked == [("a", "b", "m", None, None)]


@pytest.mark.parametrize(
    ("mean", "within", "expected"),
    [(0.0, 0.03, "reproduced"), (0.01, 0.03, "inconclusive"), (0.06, 0.03, "contradicted"), (-0.06, 0.03, "contradicted"),
     (0.0, 0.02, "inconclusive")],
)  # fmt: skip
@pytest.mark.parametrize("up", [True, False])
def test_equal(mean, within, expected, up):
    assert verdict(Equal("a", "m", ("b",), within), FakeResults({"b": difference(mean, up=up)})) == expected


def test_identical_predictions_are_equal_and_not_better():
    results = FakeResults({"b": IDENTICAL})
    assert verdict(Equal("a", "m", ("b",), 0.01), results) == "reproduced"
    assert verdict(Better("a", "m", ("b",), by=-0.01), results) == "reproduced"
    assert verdict(Better("a", "m", ("b",)), results) == "inconclusive"
    assert verdict(Better("a", "m", ("b",), by=0.02), results) == "contradicted"
    assert judge(claim(Better("a", "m", ("b",))), results, {}).rulings[0].found == "identical predictions"


def score(mean: float | None, half: float = 0.01):
    low, high = (None, None) if mean is None else (mean - half, mean + half)
    return FakeResults(rows=({"cell": "a", "m": mean, "m_low": low, "m_high": high},))


@pytest.mark.parametrize(
    ("mean", "expected"),
    [(0.80, "reproduced"), (0.785, "inconclusive"), (0.76, "contradicted"), (0.84, "contradicted"), (None, "inconclusive")],
)
def test_near(mean, expected):
    """Intervals of +- .01 and a number of .8 +- .02."""
    assert verdict(Near("a", "m", 0.8, 0.02), score(mean, half=0.0099)) == expected


def test_numbers_are_corrected_for_how_many_there_are():
    """.8305 +- .01 is .0105 above .82: z = 1.96 x 1.05 and p = .040 contradict one number, but not two."""
    one, results = Near("a", "m", 0.8, 0.02), score(0.8305)
    assert verdict(one, results) == "contradicted"
    assert judge(claim(one, one), results, {}).verdict == "inconclusive"


def test_the_detectable_difference_from_a_number():
    """(z_.975 + z_.8) / z_.975 times the side of the interval that points to the number."""
    rows = ({"cell": "a", "m": 0.81, "m_low": 0.79, "m_high": 0.90},)
    (ruling,) = judge(claim(Near("a", "m", 0.8, 0.02)), FakeResults(rows=rows), {}).rulings
    assert ruling.detectable == pytest.approx(0.02 * (norm.ppf(0.975) + norm.ppf(0.8)) / norm.ppf(0.975))
    (ruling,) = judge(claim(Near("a", "m", 0.82, 0.02)), FakeResults(rows=rows), {}).rulings
    assert ruling.detectable == pytest.approx(0.09 * (norm.ppf(0.975) + norm.ppf(0.8)) / norm.ppf(0.975))
    assert judge(claim(Near("a", "m", 0.8, 0.02)), score(None), {}).rulings[0].detectable is None


def test_all_comparisons_must_hold_and_contradictions_are_corrected_for_their_number():
    """One of three rivals is better: p = 2 P(T > 2.5) = .031 contradicts one comparison, but not three (.094)."""
    good, bad = difference(0.05), difference(-0.025)
    both = lambda *rivals: Better("a", "m", tuple(rivals))
    results = FakeResults({"x": good, "y": good, "bad": bad, "worst": difference(-0.05), "open": difference(0.01)})
    assert verdict(both("x", "y"), results) == "reproduced"
    assert verdict(both("x", "open"), results) == "inconclusive"
    assert verdict(both("bad"), results) == "contradicted"
    assert verdict(both("x", "y", "bad"), results) == "inconclusive"
    assert verdict(both("x", "y", "worst"), results) == "contradicted"  # p = .0005
    found = judge(claim(both("x"), Better("a", "m", (), ("worst",), "task", "image")), results, {})
    assert found.verdict == "contradicted"
    assert [ruling.verdict for ruling in found.rulings] == ["reproduced", "contradicted"]
    assert found.rulings[1].compared == "a - worst, m with image" and found.rulings[1].found == "-0.050 [-0.072, -0.028]"
    assert results.asked[-1] == ("a", "worst", "m", "task", "image")


def test_the_detectable_difference():
    """(t_.975 + t_.8) error."""
    (ruling,) = judge(claim(Better("a", "m", ("b",))), FakeResults({"b": difference(0.01)}), {}).rulings
    assert ruling.detectable == pytest.approx((T + t.ppf(0.8, DEGREES)) * 0.01)


def test_costs():
    costs = {"a": {"flops": 30.0, "parameters": 5.0}, "b": {"flops": 100.0, "parameters": 5.0}}
    assert verdict(Cheaper("a", "flops", ("b",), 0.3), costs=costs) == "reproduced"
    assert verdict(Cheaper("a", "flops", ("b",), 0.29), costs=costs) == "contradicted"
    assert verdict(Cheaper("a", "parameters", ("b",)), costs=costs) == "reproduced"
    (ruling,) = judge(claim(Cheaper("a", "flops", ("b",), 0.5)), FakeResults(), costs).rulings
    assert ruling.found == "0.3 of them (30 and 100; at most 0.5 expected)" and ruling.detectable is None


def test_a_name_that_the_run_does_not_have():
    with pytest.raises(ClaimError, match="claim some: gone"):
        verdict(Better("a", "m", (), ("gone",)))
