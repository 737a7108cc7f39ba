"""Items of arrays: z-scores and tokens of the training split, videos, new inputs, media of the report."""

import io
import json

import jax
import numpy as np
from PIL import Image

from mmjax.data import from_arrays
from mmjax.data.custom import Texts, Videos
from mmjax.data.dataset import stack
from mmjax.data.text import Words
from mmjax.describe import as_json, from_json
from tests.data.custom.arrays import IMAGES, RNG_WAVES, SERIES, SPLIT, VECTORS, N, everything, gif


def test_z_scores_are_those_of_the_training_split():
    shifted = VECTORS.copy()
    shifted[6:] += 1000  # validation and test must not matter
    column = from_arrays({"vector": shifted}, split=SPLIT).load().columns["vector"]
    scaled = np.asarray(column.preprocess(np.stack([column.read(row) for row in range(6)])))
    mean, deviation = VECTORS[:6].mean(axis=0), VECTORS[:6].std(axis=0)
    np.testing.assert_allclose(scaled, (VECTORS[:6] - mean) / deviation, rtol=1e-4, atol=1e-5)


def test_tokens_are_those_of_the_training_split():
    texts = ["red car"] * 6 + ["blue car"] * 4
    dataset = from_arrays({"text": texts}, split=SPLIT, kinds={"text": Texts(Words())}).load()
    assert dataset.sizes["text"] == {"vocabulary": 4, "length": 2}  # padding, unknown, red, car
    blue, red = (dataset.columns["text"].parse(text).x.tolist() for text in ("blue car", "red car"))
    assert blue[0] == 1 and blue[1] == red[1] > 1 and red[0] > 1


def test_video_z_scores_ignore_padding():
    videos = [np.full((1 + row % 3, 4, 4, 3), 10 * row, np.uint8) for row in range(N)]
    column = from_arrays({"video": videos}, split=SPLIT, kinds={"video": Videos(frames=4, size=4)}).load().columns["video"]
    frames = np.repeat(np.arange(6) * 10 / 255, [1 + row % 3 for row in range(6)])
    items = stack([column.read(row) for row in range(6)])
    scaled = jax.jit(column.preprocess)(items)
    np.testing.assert_allclose(scaled.x[5, 0, 0, 0, :3], (50 / 255 - frames.mean()) / frames.std(), rtol=1e-4)
    assert np.abs(scaled.x[5, 0, 0, 0, 3]) < 1e-4  # alpha is constant


def test_frames_are_evenly_spaced():
    video = np.arange(9, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    item = everything_video(video)
    assert item.x[:, 0, 0, 0].tolist() == [0, 4, 8] and int(item.length) == 3
    assert everything_video(gif(3)).x[:, 0, 0, 0].tolist() == [0, 80, 160]


def everything_video(video):
    from mmjax.data.custom.video import VideoInput

    return VideoInput(3, 2)(video)


def test_parse_reads_new_inputs_as_the_items():
    dataset = everything().load()
    raw = {"image": IMAGES[2], "audio": (RNG_WAVES[2], 8000), "series": SERIES[2], "vector": VECTORS[2],
           "video": IMAGES[2:5], "text": "word2 and more"}  # fmt: skip
    for name, value in raw.items():
        number = dataset.splits["train"].pointer[name][2]
        jax.tree.map(np.testing.assert_array_equal, dataset.columns[name].parse(value), dataset.columns[name].read(number))
        parse = from_json(json.loads(json.dumps(as_json(dataset.columns[name].parse))))
        assert parse == dataset.columns[name].parse


def test_media_for_the_report():
    dataset = everything().load()
    shown = dataset.media(1)  # test row 1 is row 9
    assert Image.open(io.BytesIO(shown["image"])).size == (5, 6)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(shown["image"]))), IMAGES[9])
    import soundfile

    wave, rate = soundfile.read(io.BytesIO(shown["sound"]))
    assert rate == 16000 and abs(len(wave) - 2 * len(RNG_WAVES[9])) < 2500  # an MP3 is padded to whole frames of 1152
    assert shown["caption"] == "word0 and more"
    only = from_arrays({"series": SERIES}, split=SPLIT).load().media(0)
    assert Image.open(io.BytesIO(only["image"])).size[1] == 16  # a band of 8 pixels for each of 2 channels


def test_a_large_column_is_read_again_when_it_is_needed(monkeypatch):
    monkeypatch.setattr("mmjax.data.custom.reading.MAX_BYTES", 10)
    dataset = from_arrays({"image": IMAGES}, split=SPLIT).load()
    small = from_arrays({"image": IMAGES}, split=SPLIT)
    monkeypatch.setattr("mmjax.data.custom.reading.MAX_BYTES", 10**9)
    np.testing.assert_array_equal(dataset.columns["image"].read(4), small.load().columns["image"].read(4))
    assert dataset.fingerprint == small.load().fingerprint


def test_original_items_for_published_models():
    column = everything().load().columns["image"]
    np.testing.assert_array_equal(column.original(3), IMAGES[3])
    assert len(column.fingerprint) == 64
