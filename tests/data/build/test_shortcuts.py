"""A planted shortcut is found and said; without one, nothing is said."""

import numpy as np
import pytest

from mmjax.data.build.features import image_content, metadata_table, size_table
from mmjax.data.build.shortcuts import combined, shortcuts, warnings
from tests.data.build.files import drawing, encoded, item, melody, sound

N = 48
GROUPS = np.arange(N) // 2


def texts(k: int, label: str, rng: np.random.Generator) -> str:
    words = rng.permutation(["red", "old", "small", "round", "heavy", "green"])[:4]
    return f"{' '.join(words)} {'zebra' if label == 'a' else 'piano'}"


@pytest.fixture(scope="module")
def honest():
    """The label follows from a word of five letters; length and metadata know nothing."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(["a", "b"] * (N // 2))
    return [item(str(k), {"label": y, "speaker": "st"[k % 2]}, text=texts(k, y, rng)) for k, y in enumerate(labels)]


def test_no_shortcut(honest):
    found = {one.name: one for one in shortcuts(honest, "label", GROUPS)}
    assert found["text"].accuracy > 0.9 and found["text"].beats_majority and not found["text length"].beats_majority
    assert found["text"].majority == 0.5 and warnings(list(found.values())) == []


def test_a_set_solved_by_text_length(honest):
    more = {"a": " and so on", "b": ""}
    longer = [item(own.id, own.columns, text=own.parts["text"].text() + more[own.columns["label"]]) for own in honest]
    sentences = warnings(shortcuts(longer, "label", GROUPS))
    assert len(sentences) == 1
    assert sentences[0].startswith("A shortcut solves this set: text length alone reaches an accuracy of")


def test_a_set_solved_by_a_column(honest):
    told = [item(own.id, own.columns | {"site": own.columns["label"] * 2}, text=own.parts["text"].text()) for own in honest]
    assert "metadata alone" in warnings(shortcuts(told, "label", GROUPS))[0]
    assert warnings(shortcuts(told, "label", GROUPS, ignored=["site"])) == []


def test_combined_probabilities_skip_absent_modalities(honest):
    half = [own if k % 3 else item(own.id, own.columns, image=encoded(drawing(k))) for k, own in enumerate(honest)]
    probes = shortcuts(half, "label", GROUPS)
    together = combined(probes)
    text = next(one for one in probes if one.name == "text")
    assert text.n == N - N // 3 and np.isnan(text.probabilities[0]).all()
    np.testing.assert_allclose(together.sum(axis=1), 1)
    np.testing.assert_allclose(together[1], text.probabilities[1])


def test_sizes_and_metadata():
    image, audio = encoded(drawing(0, 40)), sound(melody(0)[:4000])
    first = item("0", {"site": "x", "age": "3"}, image=image, text="two words")
    items = [first, item("1", {"site": "x", "age": ""}, audio=audio)]
    np.testing.assert_array_equal(size_table(items, ("image", "audio")), [[-1, -1, -1, len(image), 40, 40],
                                                                          [len(audio), 0.5, 8000, -1, -1, -1]])  # fmt: skip
    np.testing.assert_array_equal(size_table(items, ("text",)), [[9, 2], [-1, -1]])
    table, names = metadata_table(items, ())
    assert names == ["audio is present", "image is present", "text is present", "age"]
    np.testing.assert_array_equal(table, [[0, 1, 1, 3], [1, 0, 0, -1]])
    white = item("w", image=encoded(np.full((24, 24, 3), 255, np.uint8))).parts["image"]
    np.testing.assert_array_equal(image_content(white), np.ones(432))


def test_numbers_that_trees_cannot_hold_are_values_of_indicators():
    """Infinite, or above the largest number of float32, about 3.4e38."""
    values = {"level": ["-inf", "2"], "serial": ["1" * 40, "7"], "age": ["3.4e38", ""]}
    items = [item(str(k), {name: own[k % 2] for name, own in values.items()}, text="x") for k in range(10)]
    table, names = metadata_table(items, ())
    assert names == ["age", "level = -inf", "level = 2", f"serial = {'1' * 40}", "serial = 7"]
    assert np.isfinite(table.astype(np.float32)).all()
