"""Text metrics against values derived by hand from their definitions."""

import math

import jax
import numpy as np
import pytest

from mmjax.metrics.text import TEXT_METRICS, text_outcomes
from mmjax.metrics.text_english import whisper_english
from mmjax.metrics.text_normal import caption_words, lower_without_punctuation, whisper_basic, words_13a, words_intl

CAT = ("the cat sat on the mat", ["the cat is on the mat", "there is a cat on the mat"])


EMPTY = text_outcomes(TEXT_METRICS.values(), [""] * 2, [["a"]] * 2)


@jax.jit
def evaluated(outcomes, weight):
    """All metrics, in one program."""
    return {name: text.metric.value(outcomes, weight) for name, text in TEXT_METRICS.items()}


def score(name, *units):
    """The metric of one or two units (hypothesis, references)."""
    hypotheses, references = ([unit[k] for unit in units] for k in (0, 1))
    found = TEXT_METRICS[name].statistics(hypotheses, references)
    padded = {key: np.concatenate([x, EMPTY[key][len(x) :]]).astype(EMPTY[key].dtype) for key, x in found.items()}
    return float(evaluated(EMPTY | padded, np.float32(np.arange(2) < len(units)))[name])


CASES = [
    # 5 of 6 words match, 3 of 5 pairs, 1 of 4 triples and 0 of 3 quadruples: counted as 1 / 2 of a match (1 / (2 * 3))
    ("bleu1", [CAT], 5 / 6),
    ("bleu2", [CAT], (5 / 6 * 3 / 5) ** (1 / 2)),
    ("bleu3", [CAT], (5 / 6 * 3 / 5 * 1 / 4) ** (1 / 3)),
    ("bleu4", [CAT], (5 / 6 * 3 / 5 * 1 / 4 * 1 / 6) ** (1 / 4)),
    ("bleu2", [("the cat", ["the cat sat on"])], math.exp(1 - 4 / 2)),  # too short
    ("bleu2", [("the cat", ["the cat sat on", "the cat sat"])], math.exp(1 - 3 / 2)),  # the closest length counts
    ("bleu1", [("a a a a", ["a b c d"])], 1 / 4),  # a match counts as often as in the reference
    ("bleu1", [("a b", ["a b"]), ("a b", ["c d"])], 2 / 4),
    ("bleu3", [("a b", ["a b"])], 0.0),  # no triples
    # characters: precision 1, 1; recall 2/3, 1/2; mean recall 7/12; 5 * 7/12 / (4 + 7/12). Words: one of one each, no match
    ("chrf", [("ab", ["abc"])], 7 / 11),
    ("chrf", [("ab", ["xy", "abc"])], 7 / 11),
    ("chrf++", [("ab", ["abc"])], 14 / 33),  # precision 2/3, recall 7/18
    ("ter", [("b c a", ["a b c"])], 1 / 3),  # one move
    ("ter", [("b c a", ["a b c", "a b c d e"])], 1 / 4),  # fewest edits, mean length
    ("ter", [("A b x", ["a B c"]), ("a", ["a b"])], 2 / 5),  # one is replaced, one is added; case does not count
    ("rouge_l", [("police kill the gunman", ["police killed the gunman"])], 3 / 4),  # Lin's example
    ("rouge_l_stem", [("police kill the gunman", ["police killed the gunman"])], 1.0),
    ("rouge_l", [("Kill, gunman!", ["police kill the gunman"])], 2 * 1 * (1 / 2) / (1 + 1 / 2)),
    # precision 1 by the first reference, recall 1/2 by the second one
    ("rouge_l_coco", [("a b", ["a c b d e", "b x"])], 2.44 * 0.5 / (0.5 + 1.44)),
    # "fast" matches, the stems "dog" and "run" match; all three in two chunks
    ("meteor_exact_stem", [("dogs run fast", ["fast dog runs"])], 1 - 0.5 * (2 / 3) ** 3),
    ("meteor_exact_stem", [("a b x y", ["c", "a b"])], (1 - 0.5 / 8) * 0.5 / (0.9 * 0.5 + 0.1)),  # one chunk of two
    # every idf is log 2. First unit: words and pairs match; second: one of two words; no longer n-grams
    ("cider", [("a b", ["a b"]), ("c x", ["c d"])], 10 * (2 / 4 + 0.5 / 4) / 2),
    ("cider_d", [("a b", ["a b"]), ("c x", ["c d"])], 10 * (2 / 4 + 0.5 / 4) / 2),
    ("cider", [("a a a", ["a b"]), ("", ["c"])], 10 * 2**-0.5 / 4 / 2),
    ("cider_d", [("a a a", ["a b"]), ("", ["c"])], 10 * 2**-0.5 / 3 * math.exp(-1 / 72) / 4 / 2),  # clipped, one pair longer
    ("cider", [("dogs", ["dog"]), ("", ["c"])], 10 / 4 / 2),  # stems
    ("cider_d", [("dogs", ["dog"]), ("", ["c"])], 0.0),
    ("cider_d", [("a", ["a b"]), ("a", ["a c"])], 0.0),  # "a" is everywhere: its idf is 0
    ("cider_d", [("a b", ["a b", "c d"]), ("", ["e"])], 10 * 2 / 4 / 2 / 2),  # the mean over references
    ("cider_d", [("a", ["a"]), ("a", [""])], 0.0),  # a unit without a reference is no document
    ("wer", [("a x c", ["a b c d"]), ("b a", ["a"])], 3 / 5),
    ("wer", [("a b", ["c d", "a b e"])], 1 / 3),  # the reference with the lowest rate
    ("wer", [("a", [""]), ("a b", ["a c"])], 2 / 2),
    ("wer_lower", [("Well-known, isn't IT?", ["wellknown isnt it"])], 0.0),
    ("cer", [("axc d", ["abc"])], 3 / 3),
    ("cer", [(" ab ", ["a b"])], 1 / 3),  # the space within
    ("exact_match", [("a", ["b", "a "]), ("A", ["a"])], 1 / 2),
    ("exact_match_lower", [("a", ["b", "a "]), ("A.", ["a"])], 1.0),
]


@pytest.mark.parametrize(("name", "units", "expected"), CASES, ids=[f"{k}-{case[0]}" for k, case in enumerate(CASES)])
def test_by_hand(name, units, expected):
    np.testing.assert_allclose(score(name, *units), expected, rtol=2e-6, atol=1e-7)


def test_every_metric_has_a_case():
    assert {case[0] for case in CASES} >= TEXT_METRICS.keys() - {"cer_lower"}


def test_kinds_of_errors():
    outcomes = TEXT_METRICS["wer"].statistics(["a x c", "b a"], [["a b c d"], ["a"]])
    assert outcomes["word_errors"].tolist() == [[1, 1, 0], [0, 0, 1]]  # substitutions, deletions, insertions
    assert outcomes["words"].tolist() == [4, 1]


@pytest.mark.parametrize("name", ["wer", "cer", "ter"])
def test_rates_without_a_reference_word_are_undefined(name):
    assert math.isnan(score(name, ("a", [""])))


def test_accents_and_other_scripts():
    """A code point is a character: a combining accent is one, too. White space does not count for chrF."""
    assert score("cer", ("kun", ["kůň"])) == pytest.approx(2 / 3)
    assert score("cer", ("ku\u030an\u030c", ["kun"])) == pytest.approx(2 / 3)
    for name in ("chrf", "chrf++", "bleu4", "rouge_l_coco", "meteor_exact_stem"):
        expected = 1 - 0.5 / 3**3 if name == "meteor_exact_stem" else 1  # three words in one chunk
        assert score(name, ("Příliš žluťoučký 日本 🐎", ["Příliš žluťoučký 日本 🐎"])) == pytest.approx(expected), name
    assert score("chrf", ("日 本", ["日本"])) == 1
    assert math.isfinite(score("chrf", ("\ud800", ["\ud800a"])))  # a broken surrogate pair


@pytest.mark.parametrize(
    ("split", "text", "expected"),
    [
        (words_13a, 'Hello, "World" (3,5)! 10-20 km.\n', 'Hello , " World " ( 3,5 ) ! 10 - 20 km .'),
        (words_13a, "&quot;don't&quot; well-\nknown A&amp;B", '" don\'t " wellknown A & B'),
        (words_intl, "“Ahoj!” 3,5 €", "“ Ahoj ! ” 3,5 €"),
        (caption_words, "The dog's black-and-white; it isn’t ours.", "the dog 's black-and-white it is n't ours"),
        (caption_words, "a man 's hat , do n't 3.5", "a man 's hat do n't 3.5"),
    ],
)
def test_words(split, text, expected):
    assert split(text) == expected.split()


@pytest.mark.parametrize(
    ("normalizer", "text", "expected"),
    [
        (lower_without_punctuation, " Well-known,  isn't it? $5", "wellknown isnt it $5"),
        (whisper_basic, "[Music] Well-known (laughs), isn't Kůň? ", "well known isn t kůň"),
        (whisper_english, "[Music] Uh, Mr. Brown's twenty-two cafés (laughs) can't.", "mister brown is 22 cafes can not"),
        (whisper_english, "Two thousand five hundred dollars and seven cents, one oh one, 3,000.", "$2500.07 101 3000"),
        (whisper_english, "the nineteen sixties, twenty first, five per cent and two and a half", "the 1960s 21st 5% and 2.5"),
    ],
)
def test_normalizers(normalizer, text, expected):
    assert normalizer(text) == expected
