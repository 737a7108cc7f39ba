"""Scores of short answers, by hand; `tests/parity/test_answers.py` compares with lmms-eval."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.metrics.answers import (
    ANSWER_METRICS,
    anls,
    chosen_letter,
    exact_yes_no,
    first_letter,
    gqa_match,
    relaxed_match,
    textvqa_accuracy,
    textvqa_normal,
    vqa_accuracy,
    vqa_normal,
    yes_no,
)
from mmjax.metrics.text import text_outcomes


@pytest.mark.parametrize(("text", "normal"), [
    ("The Two dogs", "2 dogs"), ("dont", "don't"), ("A  frog,\n", "frog"), ("red/blue", "red blue"), ("red / blue", "red blue"),
    ("1,000 people!", "1000 people"), ("wouldnt've", "wouldn't've"), ("10.5.", "10.5"), ("none", "0"), ("", ""),
])  # fmt: skip
def test_the_normal_form_of_vqa(text, normal):
    assert " ".join(vqa_normal(text).split()) == normal


def test_the_normal_form_of_textvqa():
    assert textvqa_normal("Where? McDonald's, a lot") == "where mcdonald 's lot"


def test_vqa_accuracy_is_the_mean_over_nine_of_ten_people():
    people = ["red"] * 2 + ["blue"] * 8
    # Without one of the two, one other gave this answer: 1 / 3. Without another person, two did: 2 / 3.
    assert vqa_accuracy("Red.", people) == pytest.approx((2 * 1 / 3 + 8 * 2 / 3) / 10)
    assert vqa_accuracy("the blue", people) == 1 and vqa_accuracy("green", people) == 0
    assert textvqa_accuracy("blue?", people) == 1


def test_anls_by_hand():
    assert anls("Hello  World", ["hello world"]) == pytest.approx(1)
    assert anls("abcd", ["abce", "zzzz"]) == pytest.approx(0.75)
    assert anls("ab", ["cd"]) == 0 and anls("abxx", ["abyy"]) == 0.5 and anls("abxxx", ["abyyy"]) == 0


def test_relaxed_numbers():
    assert relaxed_match("105", ["100"]) == 1 and relaxed_match("106", ["100"]) == 0 and relaxed_match("12%", ["0.12"]) == 1
    assert relaxed_match("Yes", ["yes"]) == 1 and relaxed_match("0", ["0"]) == 1 and relaxed_match("0.001", ["0"]) == 0
    assert relaxed_match("3", ["9", "3"]) == 1


def test_letters_and_matches():
    assert gqa_match("On the left!", ["on the left"]) == 1 and gqa_match("the left", ["left"]) == 0
    assert first_letter("b", ["B"]) == 1 and first_letter("B. A frog", ["b"]) == 1 and first_letter("b. a frog", ["B"]) == 0
    options = ["a green frog", "two red cars", "bananas"]
    assert chosen_letter("The answer is (B).", options) == "B" and chosen_letter("C", options) == "C"
    assert chosen_letter("First (A), no, (C)", options) == "C"
    assert chosen_letter("I see two red cars on the road", options) == "B"
    assert chosen_letter("two red cars", options) is None and chosen_letter("", options) is None


def test_yes_and_no():
    given = ["Yes.", "no", "y", "nope", "Yes, it is", "maybe", "It is, yes", ""]
    assert [yes_no(text) for text in given] == ["yes", "no", "yes", "no", "yes", "other", "other", "other"]
    assert [exact_yes_no(text) for text in ("Yes ", "NO", "yes.", "")] == ["yes", "no", "other", "other"]
    names = [name for name in ANSWER_METRICS if name.startswith("pope")]
    given, right = ["yes", "no", "Yes", "no", "yes.", "yes"], [["yes"], ["no"], ["no"], ["yes"], ["yes"], ["yes"]]
    outcomes = text_outcomes([ANSWER_METRICS[name] for name in [*names, "mme"]], given, right)
    value = lambda name: float(jax.jit(ANSWER_METRICS[name].metric.value)(outcomes, jnp.ones(6)))
    # Yes: 0, 2, 5, of which 0 and 5 are right. Yes is right: 0, 3, 4, 5, of which 4 has neither word.
    expected = {"pope": 3 / 6, "pope_precision": 2 / 3, "pope_recall": 2 / 3, "pope_f1": 2 / 3, "pope_yes_rate": 3 / 6}
    assert {name: pytest.approx(value(name)) for name in names} == expected
    assert value("mme") == pytest.approx(4 / 6)


@pytest.mark.parametrize("name", ANSWER_METRICS)
def test_values_are_within_their_bounds_and_undefined_or_0_without_weight(name):
    metric = ANSWER_METRICS[name]
    outcomes = metric.statistics(["yes", "3", ""], [["yes", "no"], ["4"], ["no"]])
    low, high = metric.metric.bounds
    assert low <= metric.metric.value(outcomes, jnp.ones(3)) <= high
    nothing = float(metric.metric.value(outcomes, jnp.zeros(3)))
    assert np.isnan(nothing) or nothing == 0
    with pytest.raises(ValueError, match="2 hypotheses"):
        metric.statistics(["a", "b"], [["a"]])
