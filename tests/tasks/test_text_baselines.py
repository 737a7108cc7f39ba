"""Baselines of generation from texts, by hand."""

import dataclasses

import numpy as np

from mmjax.data import from_arrays
from mmjax.data.custom import Captions, Texts
from mmjax.data.text import BPE
from mmjax.tasks.text_baselines import nearest_text, text_baselines

KNOWN = ["der rote Hund", "ein blaues Haus", "zwei Katzen"]
ASKED = ["Häuser, blaue", "Rotes?", "die Katze", "xyz"]  # other forms of words of 1, 0 and 2; the last shares nothing


def test_the_nearest_text_shares_parts_of_words():
    assert nearest_text(KNOWN, ASKED).tolist() == [1, 0, 2, 0]
    assert nearest_text([" ", ""], ASKED[:2]).tolist() == [0, 0]


def test_rare_parts_count_more():
    """Three texts of four have "alpha", so the only one with "gamma" is nearer to a text with both."""
    assert nearest_text(["alpha", "alpha", "alpha", "gamma"], ["gamma alpha"]).tolist() == [3]


def test_a_source_text_has_a_baseline_and_a_missing_one_the_most_common_text():
    source = np.array([*KNOWN, "der rote Hund", "zwei Katzen", ASKED[2], "", ASKED[0]], dtype=object)
    english = ["a red dog", "a blue house", "two cats", "a red dog", "two cats", "the cat", "no source", "blue houses"]
    split = ["train"] * 3 + ["train", "validation", "test", "test", "test"]
    data = from_arrays(
        {"text": source, "other": np.arange(8.0)[:, None]},
        {"english": english},
        split=split,
        kinds={"text": Texts(BPE(50)), "english": Captions(BPE(50))},
    ).load()
    found = text_baselines(data, "english", ("text", "other"))
    assert found["most_common"].tolist() == ["a red dog"] * 3
    assert found["nearest_text"].tolist() == ["two cats", "a red dog", "a blue house"]
    assert sorted(found) == ["most_common", "nearest_other", "nearest_text"]
    waves = dataclasses.replace(data.columns["other"], read=lambda item: np.zeros(3, np.int16))  # neither numbers nor text
    columns = {**data.columns, "other": waves}
    assert sorted(text_baselines(dataclasses.replace(data, columns=columns), "english", ("other",))) == ["most_common"]
