"""Planted near-duplicates of each kind are found among different items, thresholds follow from them, and groups join them."""

import numpy as np
import pytest

from mmjax.data.build.audio_match import audio_pairs, correlation, spectrogram
from mmjax.data.build.duplicates import Duplicates, agreement_of_groups, find_duplicates, leak_free_groups, recall_warnings
from mmjax.data.build.feature_match import Features, feature_matcher
from mmjax.data.build.image_match import image_pairs, look
from mmjax.data.build.nearest import Pairs, best_pairs, nearest, unit
from mmjax.data.build.planted import pitch_shifted, planted_images, planted_sounds, planted_texts
from mmjax.data.build.text_match import jaccard, normalized, shingled, shingles, spelling, text_pairs, weights
from mmjax.data.build.tune import Tuned, tune
from mmjax.data.decode import DataError
from mmjax.data.stamps.pack import StampsPack
from tests.data.build.files import RATE, drawing, encoded, item, melody, sound

N = 12


def share_found(pairs: Pairs, original: int) -> tuple[float, float]:
    """(score with the own original, the best score with another item) of the only query."""
    own = pairs.score[pairs.pairs[:, 1] == original]
    other = pairs.score[pairs.pairs[:, 1] != original]
    return float(own.max(initial=0)), float(other.max(initial=0))


@pytest.mark.parametrize("kind", ["recompressed", "cropped", "mirrored"])
def test_altered_images_are_nearest_to_their_originals(kind):
    keys = [look(drawing(k)) for k in range(N)]
    for k in range(4):
        copy = planted_images(drawing(k), np.random.default_rng(k))[kind]
        own, other = share_found(image_pairs([look(copy)], keys), k)
        assert own > 0.97 > 0.9 > other


def test_a_crop_of_which_only_the_copy_is_in_the_set():
    """The smaller image may be the key as well as the query."""
    whole = drawing(1, 96)
    part = look(np.ascontiguousarray(whole[:80, 10:90]))
    assert image_pairs([look(whole)], [part]).score[0] > 0.97 and image_pairs([part], [look(whole)]).score[0] > 0.97


def test_transparent_images_are_compared_over_white():
    shape = np.zeros((48, 48, 4), np.uint8)
    shape[10:30, 8:40] = (200, 30, 30, 255)
    white = np.full((48, 48, 3), 255, np.uint8)
    white[10:30, 8:40] = (200, 30, 30)
    assert image_pairs([look(shape)], [look(white)]).score[0] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", ["gain", "offset", "re-encoded", "pitch-shifted"])
def test_altered_recordings_are_nearest_to_their_originals(kind):
    keys = [spectrogram(melody(k)) for k in range(N)]
    for k in range(4):
        copy = planted_sounds(melody(k), np.random.default_rng(k))[kind]
        own, other = share_found(audio_pairs([spectrogram(copy)], keys), k)
        assert own > 0.8 and own > other + 0.15


def test_gain_does_not_change_a_spectrogram_and_silence_before_is_removed():
    plain = spectrogram(melody(0))
    np.testing.assert_allclose(spectrogram(melody(0) * np.float32(0.25)), plain, atol=1e-3)
    assert correlation(plain, plain) == pytest.approx(1, abs=1e-5)
    late = spectrogram(np.concatenate([np.zeros(1600, np.float32), melody(0)]))
    assert abs(len(late) - len(plain)) <= 4 and correlation(late, plain) > 0.97


@pytest.mark.parametrize("semitones", [-2.0, 1.0, 2.0])
def test_pitch_shifting_multiplies_frequencies_and_keeps_the_duration(semitones):
    t = np.arange(RATE) / RATE
    shifted = pitch_shifted((0.3 * np.sin(2 * np.pi * 440 * t)).astype(np.float32), semitones)
    assert shifted.shape == (RATE,)
    peak = np.abs(np.fft.rfft(shifted[1000:7000] * np.hanning(6000))).argmax() * RATE / 6000
    assert peak == pytest.approx(440 * 2 ** (semitones / 12), rel=0.01)


SENTENCES = [
    "A small frog sits on a green leaf near the pond.", "Two old trucks wait in front of the station.",
    "The baker sells fresh bread every morning.", "A violin lies beside an open window.",
    "Three children play football in the rain.", "The moon rises over a quiet harbour.",
]  # fmt: skip


def test_texts():
    keys = [shingled(text) for text in SENTENCES]
    for k, text in enumerate(SENTENCES):
        copies = planted_texts(text, np.random.default_rng(k))
        scores = {kind: share_found(text_pairs([shingled(copy)], keys), k) for kind, copy in copies.items()}
        assert scores["other case"][0] == scores["reordered"][0] == 1
        assert scores["misspelt"][0] > 0.7 and scores["paraphrased"][0] > 0.5
        assert max(other for _, other in scores.values()) < 0.3


def test_weighted_jaccard_by_hand():
    sets = [frozenset("ab"), frozenset("ac")]
    weight = weights(sets)  # a: log(1 + 2/2), b and c: log(1 + 2/1)
    assert jaccard(*sets, weight) == pytest.approx(np.log(2) / (np.log(2) + 2 * np.log(3)))
    assert normalized("Élan, l'été!") == "elan l ete" and shingles("!?") == {"!?"}


@pytest.mark.parametrize(("one", "other"), [
    ("👍", "👎"), ("?", "!!!"), ("❤\ufe0f", "☀\ufe0f"),  # the last ones have a mark, but no letter
    ("दिन", "दान"), ("कल", "क्ल"), ("ข่าว", "ขาว"), ("かき", "かぎ"), ("மன", "மனு"),
])  # fmt: skip
def test_texts_that_differ_in_signs_or_marks_of_letters_are_different(one, other):
    assert normalized(one) != normalized(other)
    assert len(shingles(one) & shingles(other)) < len(shingles(one) | shingles(other))


@pytest.mark.parametrize(("text", "plain"), [
    ("Élan — l'ÉTÉ", "elan l ete"), ("שָׁלוֹם, كَتَبَ", "שלום كتب"), ("❤\ufe0fyou  ❤\ufe0f!", "you"), ("snake_case", "snake case"),
    (" ?! ", "?!"), ("हिन्दी।", "हिन्दी"), ("", ""),
])  # fmt: skip
def test_accents_and_punctuation_are_ignored(text, plain):
    assert normalized(text) == plain


def test_words_with_marks_are_compared_as_others():
    """One wrong consonant, which is no single letter between marks, and a planted copy without punctuation."""
    text = "हरी किताब, मेज पर है"
    assert spelling(normalized(text), normalized(text.replace("ब", "प"))) == pytest.approx(1 - 1 / 19)
    assert normalized(planted_texts(text, np.random.default_rng(0))["other case"]) == normalized(text)


def test_one_typing_error_in_a_short_name_is_found_but_not_another_number():
    assert spelling("green frog", "green frgo") == pytest.approx(0.8)  # two of ten letters are replaced
    assert spelling("kitten", "sitting") == 0 and spelling("a", "b") == 0  # 3 of 7 letters: below 0.7
    assert spelling("card 4", "card 5") == spelling("signal flag a", "signal flag b") == 0 and spelling("", "") == 0
    keys = [shingled(text) for text in ("harmon trumpet", "card 41 of hearts", "card 42 of hearts")]
    found = text_pairs([shingled("harmon trumqet")], keys)
    assert found.pairs.tolist() == [[0, 0]] and found.score[0] == pytest.approx(1 - 1 / 14)
    assert text_pairs(keys).score.max(initial=0) < 0.8


def test_nearest_by_hand():
    # Query 0 has the variants x and y; y is key 1. Key 0 has a variant that is query 1.
    x, y, z = np.eye(3, dtype=np.float32)
    queries, keys = np.stack([[x, y], [z, z]]), np.stack([[-x, z], [y, -z]])
    found = nearest(queries, keys, 1, 0.5)
    assert list(zip(*(column.tolist() for column in found))) == [(0, 1, 1), (1, 0, -2)]
    assert len(nearest(queries[:1], queries[:1], 3, 0.5, np.arange(1)).query) == 0  # an item is not its own duplicate
    np.testing.assert_array_equal(unit(np.array([[3.0, 4.0], [0.0, 0.0]])), np.float32([[0.6, 0.8], [0, 0]]))


def test_best_pairs_are_unique():
    pairs = best_pairs(np.array([2, 1, 1]), np.array([1, 2, 0]), np.array([0.5, 0.7, 0.1]), same=True)
    assert pairs.pairs.tolist() == [[0, 1], [1, 2]] and pairs.score.tolist() == [0.1, 0.7]
    assert pairs.above(0.5).tolist() == [[1, 2]]


def test_thresholds_by_hand():
    # Copies 0 and 1 are of item 0, copy 2 of item 1. Sorted scores: .9 right, .8 right, .7 wrong, .6 right.
    # Found copies 1, 2, 2, 3 and copies with an error 0, 0, 1, 1: precision 1, 1, 2/3, 3/4; recall 1/3, 2/3, 2/3, 1.
    pairs = Pairs(np.array([[0, 0], [1, 0], [1, 2], [2, 1]]), np.array([0.9, 0.8, 0.7, 0.6]))
    original, kinds, same = np.array([0, 0, 1]), ["x", "y", "x"], np.arange(3)
    # F with beta 1/2: 1.25 P R / (P / 4 + R): .714, .909, .667, .789 -> between .8 and .7
    strict = tune(pairs, original, kinds, same, 0.5)
    assert (strict.threshold, strict.recall, strict.precision) == (0.75, {"x": 0.5, "y": 1.0}, 1.0)
    # F with beta 2: 5 P R / (4 P + R): .385, .714, .667, .938 -> below .6
    loose = tune(pairs, original, kinds, same, 2.0)
    assert (loose.threshold, loose.recall, loose.precision) == (pytest.approx(0.6, abs=1e-5), {"x": 1.0, "y": 1.0}, 0.75)
    known = tune(pairs, original, kinds, np.array([0, 1, 0]), 0.5)  # items 0 and 2 are known duplicates
    assert (known.threshold, known.precision) == (pytest.approx(0.6, abs=1e-5), 1.0)
    # A copy that is joined to a known duplicate of its original is found: copy 1 by item 2 alone.
    other = tune(Pairs(np.array([[0, 0], [1, 2], [2, 1]]), np.array([0.9, 0.7, 0.6])), original, kinds, np.array([0, 1, 0]))
    assert other.recall == {"x": 1.0, "y": 1.0} and other.precision == 1.0
    nothing = tune(Pairs(np.zeros((0, 2), np.int64), np.zeros(0)), original, kinds, same)
    assert (nothing.threshold, nothing.recall, nothing.copies) == (1.0, {"x": 0.0, "y": 0.0}, 2)


def test_a_copy_counts_as_one_error_and_undeclared_copies_explain_some_by_hand():
    # Each of 4 copies has its original at .9 and .8, .8, .8; copy 0 resembles two other items at .9, copy 1 another at .8.
    score = np.array([0.9, 0.8, 0.8, 0.8, 0.9, 0.9, 0.8])
    pairs = Pairs(np.array([[0, 0], [1, 1], [2, 2], [3, 3], [0, 4], [0, 5], [1, 6]]), score)
    tuned = tune(pairs, np.arange(4), ["x"] * 4, np.arange(7))
    # Found copies 1, 4 and copies with an error 1, 2; recall 1/4, 1. Errors / recall is 4, 2: a share of 2 errors of 4 copies.
    assert tuned.recall == {"x": 1.0} and tuned.precision == pytest.approx(4 / 6)
    assert tuned.precision_at_most == 1 and tuned.undeclared == pytest.approx(0.5)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_undeclared_copies_do_not_raise_the_threshold(share):
    """Planted copies have the scores 1, .94 and .9 (sd .03), different items at most .8. A share of the items has two copies in
    the set that no column declares, with scores as the third kind. If each match with these were an error, the threshold would
    rise to .91, which finds a third of the third kind."""
    rng, n = np.random.default_rng(0), 300
    columns = []
    for row in range(n):
        undeclared = rng.normal(0.9, 0.03, 2 if rng.random() < share else 0)
        others = np.concatenate([undeclared, np.minimum(0.8, 0.4 + 0.05 * rng.gumbel(size=3))])
        for kind, own in enumerate((1.0, *rng.normal((0.94, 0.9), 0.03))):
            columns.append((3 * row + kind, row, own))
            columns += [(3 * row + kind, n + 5 * row + k, score - 0.01 * kind) for k, score in enumerate(others)]
    copy, key, score = (np.array(column) for column in zip(*columns))
    pairs = Pairs(np.stack([copy, key], axis=1).astype(np.int64), score)
    tuned = tune(pairs, np.repeat(np.arange(n), 3), ["exact", "altered", "more"] * n, np.arange(6 * n))
    assert 0.6 < tuned.threshold < 0.82 and min(tuned.recall.values()) > 0.99
    assert tuned.undeclared == pytest.approx(share, abs=0.05) and tuned.precision_at_most > 0.96
    assert tuned.precision == pytest.approx(1 / (1 + share), abs=0.03)


def test_groups_join_duplicates_of_every_modality():
    """0 and 1 share a mirrored image, 1 and 2 a shifted recording, 2 and 3 words, 4 and 5 a speaker; the rest is alone."""
    images, waves = [drawing(k) for k in range(N)], [melody(k) for k in range(N)]
    texts = [f"{word} item {word * 2} of all" for word in "ant bee cat dog eel fox gnu hen ibis jay kiwi lynx".split()]
    images[1] = np.ascontiguousarray(images[0][:, ::-1])
    waves[2] = np.concatenate([np.zeros(999, np.float32), 0.5 * waves[1]])
    texts[3] = texts[2].upper()
    items = [
        item(str(k), {"speaker": "s" if k in (4, 5) else ""}, image=encoded(images[k]), audio=sound(waves[k]), text=texts[k])
        for k in range(N)
    ]
    found = [find_duplicates(items, name, copies=6) for name in ("image", "audio", "text")]
    assert [one.near.tolist() for one in found] == [[[0, 1]], [[1, 2]], [[2, 3]]]
    assert found[2].equal == 1 and found[0].tuned.recall["mirrored"] == 1
    groups = leak_free_groups(items, found, ["speaker"])
    np.testing.assert_array_equal(groups, [0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7])


def test_low_recall_is_a_warning_unless_another_search_found_them():
    def one(features="", **recall):
        return Duplicates("photo", "image", np.zeros((0, 2), np.int64), 0, Tuned(0.9, recall, 1.0, 1.0, 0.0, 100), features)

    assert recall_warnings([one(cropped=0.49, mirrored=0.5)]) == [
        "Near-duplicates may leak: of planted copies of photo that were cropped, the search found 49%."
    ]
    assert recall_warnings([one(cropped=0.49, mirrored=0.5), one("lite", cropped=0.5, mirrored=0.1)]) == []


def test_features_find_paraphrases_but_not_other_numbers():
    """Features that count the words of two topics; a planted paraphrase keeps the topic's word."""
    topics = ("frog", "toad"), ("truck", "lorry"), ("card",)

    def of(text):
        return np.array([sum(word in text for word in topic) for topic in topics], float)

    matcher = feature_matcher("text", Features("topics", of))
    texts = ["a green frog", "some toad by the pond", "two trucks", "a lorry", "card 4", "card 5"]
    found = matcher.among([matcher.describe(text) for text in texts], 0.9, np.arange(6))
    assert found.above(0.9).tolist() == [[0, 1], [2, 3]] and found.score.max() == pytest.approx(1)
    copies = [matcher.describe(planted_texts(texts[2], np.random.default_rng(0))["paraphrased"])]
    assert matcher.pairs(copies, [matcher.describe(text) for text in texts]).above(0.9).tolist() == [[0, 2], [0, 3]]
    items = [item(str(k), text=text) for k, text in enumerate(texts)]
    by_features = find_duplicates(items, "text", copies=6, matcher=matcher, features="topics")
    assert by_features.name == "text, topics" and [0, 1] in by_features.near.tolist()
    assert [4, 5] not in by_features.near.tolist()
    with pytest.raises(DataError, match="features of 'audio' are not supported; the kinds are image, text"):
        feature_matcher("audio", Features("", of))


def test_agreement_of_groups_is_that_of_scikit_learn():
    from sklearn.metrics import adjusted_rand_score

    a, b = np.random.default_rng(0).integers(0, 5, (2, 40))
    assert agreement_of_groups(a, b)["adjusted_rand"] == pytest.approx(adjusted_rand_score(b, a))
    # {0,1} {2} {3} against {0,1,2} {3}: one of one pair is right, one of three is found
    by_hand = agreement_of_groups(np.array([0, 0, 1, 2]), np.array([0, 0, 0, 1]))
    assert by_hand["precision"] == 1 and by_hand["recall"] == pytest.approx(1 / 3)


def test_groups_of_stamps_are_recovered_from_raw_files():
    """The pack's groups of its 73 household drawings were made from all languages and by eye; see data/stamps/README.md."""
    pack = StampsPack()
    rows = [row for row, record in enumerate(pack.index) if record["folder"] == "household"]
    records = [pack.index[row] for row in rows]
    items = [
        item(record["id"], image=pack.image_bytes(row), text=record["texts"]["en"], audio=pack.speech_bytes(row, "fr"))
        for row, record in zip(rows, records)
        if "fr" in record["speech"]
    ]
    known = np.array([record["group"] for record in records if "fr" in record["speech"]])
    pack.close()
    groups = leak_free_groups(items, [find_duplicates(items, name, copies=10) for name in ("image", "audio", "text")])
    agreement = agreement_of_groups(groups, known)
    assert len(items) > 60 and agreement["precision"] > 0.7 and agreement["recall"] > 0.8
