"""Raw inputs become the items that the data set itself would read."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mmjax.data.decode import DataError
from mmjax.data.inputs import ImageInput, SeriesInput, SoundInput, TextInput, VectorInput, image_array, sound_array
from mmjax.data.mosi.dataset import ZScores


def test_sounds_as_floats_and_integers():
    wave = np.array([0.5, -1.0, 0.25, 0.0])
    item = SoundInput(rate=8000, samples=3)((wave, 8000))
    assert item.x.tolist() == [16384, -32767, 8192] and item.x.dtype == np.int16 and item.length == 3
    as_integers = SoundInput(8000, 3)((np.int16([16384, -32767, 8192, 5]), 8000))
    np.testing.assert_array_equal(as_integers.x, item.x)
    assert len(sound_array((np.zeros(800), 16000), 8000)) == 400


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ((np.array([1.5, 0.0]), 8000), r"samples outside \[-1, 1\]"),
        ((np.array([np.nan]), 8000), r"samples outside \[-1, 1\]"),
        ((np.zeros(0), 8000), "has no samples"),
        ((np.zeros(3, np.int32), 8000), "are int32; they must be floats"),
        ((np.array(["a"]), 8000), "they must be floats"),
        ((np.zeros(3), 0), "rate of a recording is 0"),
        ((np.zeros(3), float("nan")), "rate of a recording is nan"),
        ((np.zeros(3), "a"), "rate of a recording is 'a'"),
        (np.zeros(3), "must be a path, bytes of a sound file, or"),
        ("no.wav", "no.wav: No such file"),
    ],
)
def test_wrong_sounds_are_named(raw, message):
    with pytest.raises(DataError, match=message):
        sound_array(raw, 8000)


def test_grey_images_of_16_bits_are_scaled():
    grey = np.uint16([[0, 10_000], [65_535, 30_000]])
    found = image_array(Image.fromarray(grey))
    assert found[..., 0].tolist() == [[0, 39], [255, 117]]
    assert image_array(np.uint8([[3, 4]])).tolist() == [[[3] * 3, [4] * 3]]
    for mode in ("I", "F"):
        with pytest.raises(DataError, match=f"has Pillow's mode {mode}, whose range is not known"):
            ImageInput(4)(Image.new(mode, (2, 2)))


def test_series_vectors_and_texts():
    item = SeriesInput(4, 2)([[1, 2], [3, 4], [5, 6]])
    assert item.x.tolist() == [[1, 2], [3, 4], [5, 6], [0, 0]] and item.length == 3
    assert SeriesInput(2, 2)(np.ones((5, 2))).length == 2
    for parse, raw in ((SeriesInput(4, 2), [1, 2]), (SeriesInput(4, 2), [[1]]), (VectorInput(2), 3), (VectorInput(2), "ab")):
        with pytest.raises(DataError, match=r"a (series|vector) "):
            parse(raw)
    with pytest.raises(DataError, match="a text is bytes; it must be a str"):
        TextInput(SimpleNamespace(encode=None), 3)(b"a")


def test_features_of_mosi_are_checked_before_they_are_scaled():
    scores = ZScores(np.array([1.0, 2.0]), np.array([2.0, 4.0]))
    assert scores([3.0, 10.0]).tolist() == [1, 2]
    for raw in (3.0, [3.0], [[3.0, 10.0]]):
        with pytest.raises(DataError, match="a vector "):
            scores(raw)
