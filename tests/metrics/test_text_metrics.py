"""Properties that every text metric has, and the algorithms behind them against brute force."""

import itertools
import math
from dataclasses import replace
from functools import cache

import jax
import numpy as np
import pytest

from mmjax.evaluate.statistics import estimates
from mmjax.metrics.bleu import bleu
from mmjax.metrics.edits import common_subsequence, edits
from mmjax.metrics.porter import stem
from mmjax.metrics.ter import translation_edits
from mmjax.metrics.text import TEXT_METRICS, normalized, text_outcomes, unit_scores
from mmjax.metrics.text_normal import whisper_basic
from mmjax.metrics.texts import check_texts

HYPOTHESES = [
    "a man riding a brown horse on the beach", "Two dogs run, and play in the snow.", "the cat", "",
    "a red bus is parked in front of a building", "kůň běží po pláži", "people people people are walking", "one two three four",
]  # fmt: skip
REFERENCES = [
    ["A man rides a horse on a beach.", "a man riding a brown horse along the beach"], ["two dogs are playing in the snow"],
    ["the cat sat on the mat", "a cat"], ["a bowl of soup"], ["in front of a building a red bus is parked", "a bus"],
    ["hnědý kůň běží po pláži"], ["people walking"], ["one two three four", "five"],
]  # fmt: skip
WEIGHT = np.float32([2, 1, 0, 1, 2, 0, 1, 1])  # sums to the number of units: the repeated units have the same shapes
RATES = ("wer", "cer", "ter", "wer_lower", "cer_lower")


@jax.jit
def evaluated(outcomes, weight):
    """{name: (value, gradient with respect to the weights)}."""
    return {name: jax.value_and_grad(text.metric.value, argnums=1)(outcomes, weight) for name, text in TEXT_METRICS.items()}


@pytest.fixture(scope="module")
def outcomes():
    return text_outcomes(TEXT_METRICS.values(), HYPOTHESES, REFERENCES)


def test_a_weight_is_a_number_of_repetitions(outcomes):
    repeated = np.repeat(np.arange(8), WEIGHT.astype(int))
    weighted = evaluated(outcomes, WEIGHT)
    expected = evaluated({name: x[repeated] for name, x in outcomes.items()}, np.ones(8, np.float32))
    for name in TEXT_METRICS:
        np.testing.assert_allclose(weighted[name][0], expected[name][0], rtol=1e-6, err_msg=name)


def test_a_unit_of_weight_0_changes_nothing(outcomes):
    garbage = {}
    for name, x in outcomes.items():
        without = WEIGHT.reshape(8, *(1,) * (x.ndim - 1)) == 0
        garbage[name] = np.where(without, np.nan if x.dtype.kind == "f" else 77, x).astype(x.dtype)
    before, after = evaluated(outcomes, WEIGHT), evaluated(garbage, WEIGHT)
    for name in TEXT_METRICS:
        assert before[name][0] == after[name][0], name
        np.testing.assert_array_equal(before[name][1][WEIGHT > 0], after[name][1][WEIGHT > 0], err_msg=name)


def test_the_gradient_is_the_influence_of_a_unit(outcomes):
    """Against a finite difference in the weight of the first unit."""
    shift = np.float32([0.02, 0, 0, 0, 0, 0, 0, 0])
    middle, above, below = (evaluated(outcomes, WEIGHT + sign * shift) for sign in (0, 1, -1))
    for name in TEXT_METRICS:
        value, gradient = middle[name]
        assert np.isfinite(gradient).all() and math.isfinite(value), name
        np.testing.assert_allclose(gradient[0], (above[name][0] - below[name][0]) / 0.04, rtol=1e-3, atol=1e-4, err_msg=name)


def test_values_are_within_their_bounds_and_undefined_without_weight(outcomes):
    found, without = evaluated(outcomes, WEIGHT), evaluated(outcomes, np.zeros(8, np.float32))
    for name, text in TEXT_METRICS.items():
        low, high = text.metric.bounds
        assert low < found[name][0] < (math.inf if high is None else high), name
        assert text.metric.higher_is_better == (name not in RATES)
        assert np.isnan(without[name][0]), name


@pytest.mark.parametrize(
    ("hypotheses", "references", "expected"),
    [
        # every word is deleted
        ([""] * 8, [of_unit[:1] for of_unit in REFERENCES], {name: float(name in RATES) for name in TEXT_METRICS}),
        ([""] * 8, [[""]] * 8, dict.fromkeys(TEXT_METRICS, 0.0) | dict.fromkeys(RATES, math.nan)),
        (HYPOTHESES, [[""]] * 8, dict.fromkeys(TEXT_METRICS, 0.0) | dict.fromkeys(RATES, math.nan)),
    ],
)
def test_empty_texts(hypotheses, references, expected):
    matching = np.mean([hypothesis in of_unit for hypothesis, of_unit in zip(hypotheses, references)])
    expected = expected | {"exact_match": matching, "exact_match_lower": matching}
    found = evaluated(text_outcomes(TEXT_METRICS.values(), hypotheses, references), np.ones(8, np.float32))
    for name, value in expected.items():
        np.testing.assert_allclose(found[name][0], value, err_msg=name)
        assert math.isnan(value) or np.isfinite(found[name][1]).all(), name


def test_intervals(outcomes):
    metrics = {name: text.metric for name, text in TEXT_METRICS.items()}
    found = estimates(metrics, {name: x[None] for name, x in outcomes.items()}, np.ones(8), np.arange(8))
    for name, estimate in found.items():
        assert estimate.low < estimate.mean < estimate.high, name


def test_scores_of_units(outcomes):
    """Their mean is the metric if it is a mean; otherwise each is the metric of one unit."""
    found = {name: np.asarray(unit_scores(TEXT_METRICS[name].metric, outcomes)) for name in ("cider_d", "wer")}
    np.testing.assert_allclose(found["cider_d"], outcomes["cider_d"], rtol=1e-6)
    np.testing.assert_allclose(found["wer"], outcomes["word_errors"].sum(axis=1) / outcomes["words"], rtol=1e-6)


def test_shared_statistics_run_once_and_have_names_of_their_own():
    calls = []
    counted = lambda function: lambda *texts: calls.append(function) or function(*texts)
    shared = {text.statistics: counted(text.statistics) for text in TEXT_METRICS.values()}
    metrics = [replace(text, statistics=shared[text.statistics]) for text in TEXT_METRICS.values()]
    found = text_outcomes(metrics, ["a"], [["a"]])
    assert len(calls) == len(set(calls)) == len(shared)
    assert len(found) == sum(len(function(["a"], [["a"]])) for function in shared)
    wer = TEXT_METRICS["wer"]
    assert normalized("x", whisper_basic, wer) == normalized("x", whisper_basic, wer) != normalized("x", str.lower, wer)


def test_no_units():
    for name, array in text_outcomes(TEXT_METRICS.values(), [], []).items():
        assert len(array) == 0, name


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        (["a"], [], "1 hypotheses and 0 lists of references"),
        (["a"], ["a cat"], r"references\[0\] must be a list of one or more strings, not 'a cat'"),
        (["a", "b"], [["a"], []], r"references\[1\] must be a list of one or more strings, not \[\]"),
    ],
)
def test_bad_texts(hypotheses, references, message):
    for function in {text.statistics for text in TEXT_METRICS.values()}:
        with pytest.raises(ValueError, match=message):
            function(hypotheses, references)


def test_what_is_no_text():
    with pytest.raises(ValueError, match=r"hypotheses\[1\] must be a string, not int"):
        check_texts(["a", 5], [["a"], ["b"]])
    with pytest.raises(ValueError, match=r"references\[0\] must be a list of one or more strings, not \[None\]"):
        check_texts(["a"], [[None]])


def test_bad_order():
    with pytest.raises(ValueError, match=r"the order of BLEU must be in 1\.\.4, not 5"):
        bleu(5)


def by_recursion(a, b):
    """(edit distance, length of the longest common subsequence) of two words, from their definitions."""

    @cache
    def distance(i, j):
        if not i or not j:
            return i + j
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    @cache
    def common(i, j):
        if not i or not j:
            return 0
        return common(i - 1, j - 1) + 1 if a[i - 1] == b[j - 1] else max(common(i - 1, j), common(i, j - 1))

    return distance(len(a), len(b)), common(len(a), len(b))


def test_edits_and_subsequences_equal_their_recursions():
    random = np.random.default_rng(0)
    for length in (3, 8, 70):  # longer than a machine word, too
        for _ in range(60 if length < 70 else 3):
            a, b = ("".join(random.choice(list("abc"), random.integers(0, length + 1))) for _ in range(2))
            expected, common = by_recursion(a, b)
            substitutions, deletions, insertions = edits(a, b)
            assert substitutions + deletions + insertions == expected, (a, b)
            assert deletions - insertions == len(a) - len(b)
            assert common_subsequence(a, b) == common


def test_translation_edits_use_moves_and_never_exceed_the_edit_distance():
    for a in itertools.permutations("abcd"):
        assert translation_edits(list(a), list("abcd")) <= sum(edits("abcd", "".join(a)))
    assert translation_edits(list("defabc"), list("abcdef")) == 1
    long = [str(k) for k in range(60)]
    assert translation_edits(long[52:] + long[:52], long) == 8 + 8  # 52 places are too far: 8 words are deleted, 8 are inserted
    assert translation_edits(long[45:55] + long[:45] + long[55:], long) == 1


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("caresses", "caress"), ("ponies", "poni"), ("cats", "cat"), ("feed", "feed"), ("agreed", "agre"),
        ("plastered", "plaster"), ("motoring", "motor"), ("sing", "sing"), ("conflated", "conflat"), ("hopping", "hop"),
        ("falling", "fall"), ("filing", "file"), ("happy", "happi"), ("relational", "relat"), ("digitizer", "digit"),
        ("vietnamization", "vietnam"), ("hopefulness", "hope"), ("formaliti", "formal"), ("electrical", "electr"),
        ("adoption", "adopt"), ("replacement", "replac"), ("probate", "probat"), ("rate", "rate"), ("cease", "ceas"),
        ("controll", "control"), ("roll", "roll"),
        ("dies", "die"), ("died", "die"), ("enjoy", "enjoy"), ("fly", "fli"), ("skies", "sky"), ("Is", "is"),  # NLTK's
    ],
)  # fmt: skip
def test_stems_of_the_paper(word, expected):
    """The examples of Porter (1980), each after all steps, and the extensions of NLTK."""
    assert stem(word) == expected
