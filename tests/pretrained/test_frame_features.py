"""A video is encoded frame by frame: each frame as an image, with the number of frames kept, cached, and for new files too."""

import json
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

import mmjax
from mmjax.data import from_arrays
from mmjax.data.custom import Images, Videos
from mmjax.data.dataset import stack
from mmjax.data.decode import DataError
from mmjax.data.scale import Unchanged
from mmjax.describe import as_json, from_json
from mmjax.encoders import Features
from mmjax.experiment import Experiment
from mmjax.fusion import Append
from mmjax.heads import Classifier
from mmjax.nn import masked_mean
from mmjax.pretrained import cached_features, load_encoder
from mmjax.pretrained.cached_features import CachedFeatures
from mmjax.tasks import Classify
from tests.data.custom.arrays import SPLIT, N, gif
from tests.pretrained.tiny import bert_folder, image_folder

RANDOM = np.random.default_rng(0)
VIDEOS = [RANDOM.integers(0, 256, (1 + row % 5, 40, 36, 4)).astype(np.uint8) for row in range(N)]  # 1 to 5 frames
KINDS = {"video": Videos(frames=3, size=4)}
DATA = from_arrays({"video": [*VIDEOS[:5], None, *VIDEOS[6:]]}, {"label": ["b", "a"] * 5}, split=SPLIT, kinds=KINDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(image_folder(tmp_path_factory.mktemp("weights") / "images"))


@pytest.fixture(scope="module")
def features(folder, tmp_path_factory):
    """(data, the loaded data, the number of computations); the cache is empty at first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        computed, compute = [], cached_features._computed
        patch.setattr(cached_features, "_computed", lambda *given: (computed.append(given[0]), compute(*given))[1])
        data = CachedFeatures(DATA, (("video", folder),), normalize=Unchanged())
        yield data, data.load(), computed


def over_white(frame: np.ndarray) -> np.ndarray:
    alpha = frame[..., 3:] / 255
    return np.round(alpha * frame[..., :3] + (1 - alpha) * 255).astype(np.uint8)


def test_the_features_of_a_frame_are_those_of_an_image(features, folder):
    _, loaded, _ = features
    column, weights = loaded.columns["video"], load_encoder(folder)
    kept = {1: [0], 2: [0, 1], 3: [0, 1, 2], 4: [0, 2, 3], 5: [0, 2, 4]}  # evenly spaced; 1.5 is rounded to 2
    preprocessing = replace(weights.preprocessing, size=(32, 32), crop=None)  # whole images
    encode = jax.jit(lambda images: masked_mean(weights.module.apply(weights.variables, images)))
    items = stack([column.read(number) for number in range(column.count)])
    videos = [video for row, video in enumerate(VIDEOS) if row != 5]
    assert items.x.shape == (N - 1, 3, 6) and items.length.tolist() == [min(3, len(video)) for video in videos]
    assert loaded.sizes["video"]["width"] == 6
    for video, x, length in zip(videos[:5], items.x, items.length, strict=False):
        images = [over_white(video[at]) for at in kept[len(video)]]
        expected = encode(preprocessing.batch(images + images[:1] * (3 - len(images))))
        np.testing.assert_allclose(x[:length], expected[:length], rtol=1e-4, atol=1e-5)
        assert not x[length:].any()
    missing = np.concatenate([loaded.splits[name].pointer["video"] for name in ("train", "validation", "test")]) < 0
    assert missing.tolist() == [row == 5 for row in range(N)]


def test_images_and_their_videos_of_one_frame_agree(features, folder):
    data, loaded, _ = features
    images = from_arrays({"video": [video[0] for video in VIDEOS]}, split=SPLIT, kinds={"video": Images(4)})
    column = replace(data, data=images).load().columns["video"]
    np.testing.assert_allclose(column.read(0), loaded.columns["video"].read(0).x[0], rtol=1e-4, atol=1e-5)


def test_features_are_computed_once_and_z_scores_ignore_padding(features):
    data, loaded, computed = features
    before = len(computed)
    scaled = replace(data, normalize=CachedFeatures().normalize).load()
    assert len(computed) == before and scaled.fingerprint != loaded.fingerprint
    column = scaled.columns["video"]
    train = np.unique(scaled.splits["train"].pointer["video"])
    items = column.preprocess(stack([column.read(int(number)) for number in train[train >= 0]]))
    np.testing.assert_allclose(np.asarray(items.x)[np.asarray(items.mask)].mean(axis=0), 0, atol=5e-3)
    more = from_arrays({"video": VIDEOS}, split=SPLIT, kinds={"video": Videos(frames=4, size=4)})
    assert replace(data, data=more).load().columns["video"].read(4).length == 4 and len(computed) == before + 1


def test_what_cannot_encode_a_video(features, tmp_path):
    data, _, _ = features
    with pytest.raises(DataError, match=r"weights: 'video' has videos, which need an image encoder; .*bert is another"):
        replace(data, weights=(("video", str(bert_folder(tmp_path / "bert"))),)).load()
    with pytest.raises(DataError, match=r"tokens: 'video' has videos, which have one vector per frame; leave it out"):
        replace(data, tokens=("video",)).load()


def given(tmp_path) -> list:
    """A GIF of three grey frames as a file, as bytes, and as an array."""
    (tmp_path / "new.gif").write_bytes(gif(3))
    grey = np.array([0, 80, 160], np.uint8)
    return [tmp_path / "new.gif", gif(3), np.broadcast_to(grey[:, None, None, None], (3, 4, 4, 3))]


def test_new_videos_are_read_as_those_of_the_data(features, tmp_path):
    """By the reader that a trained model is saved with."""
    _, loaded, _ = features
    column = loaded.columns["video"]
    parse = from_json(json.loads(json.dumps(as_json(column.parse))))
    for number in (0, 1, 4):  # of 1, 2 and 5 frames
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), parse(VIDEOS[number]), column.read(number))
    file, data, array = map(parse, given(tmp_path))
    assert array.length == 3
    jax.tree.map(np.testing.assert_array_equal, file, array)
    jax.tree.map(np.testing.assert_array_equal, data, array)
    with pytest.raises(DataError, match=r"a video is uint8\[4, 4, 3\]; it must be uint8 \[t h w 3\]"):
        parse(np.zeros((4, 4, 3), np.uint8))


@pytest.mark.slow
def test_a_trained_model_answers_a_new_video(features, tmp_path):
    """The items of the test split get the answers of the run."""
    data, _, _ = features
    experiment = Experiment(
        data=replace(data, normalize=CachedFeatures().normalize),
        encoders={"video": Features(width=8)},
        fusion=Append(),
        heads={"label": Classifier(classes=2)},
        tasks={"label": Classify("label")},
        steps=2,
        batch=4,
        evaluate_every=2,
    )
    results = mmjax.run({"frames": experiment}, seeds=1, out=tmp_path / "run")
    found = mmjax.load_run(tmp_path / "run")["frames"].predict({"video": [*VIDEOS[8:], *given(tmp_path)]})
    probability = found["label"]["probability"]
    with np.load(results.run.folder / "cells" / "frames" / "all" / "outcomes.npz") as arrays:
        predicted, largest = (arrays[f"label/video/{name}"][0] for name in ("predicted", "probability"))
    np.testing.assert_array_equal(probability[:2].argmax(axis=1), predicted)
    np.testing.assert_allclose(probability[:2].max(axis=1), largest, rtol=1e-4)
    np.testing.assert_allclose(probability[2:], probability[[4, 4, 4]], rtol=1e-4)
