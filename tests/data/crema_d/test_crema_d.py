"""CREMA-D as OGM-GE prepares it: folds of whole actors, the published lists, and one line for every damage."""

import numpy as np
import pytest

from mmjax.data.check import check_dataset
from mmjax.data.crema_d.dataset import EMOTIONS, FRAMES, VARIABLE, CremaD
from mmjax.data.decode import DataError
from tests.data.crema_d.tiny import ACTORS, clips, write_clips

SMALL = {"image_size": 8, "seconds": 0.2}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("crema_d"))


def test_no_actor_is_in_two_splits_and_every_clip_is_tested_once(root, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(root))
    tested = []
    data = CremaD(**SMALL)
    for fold in range(data.folds):
        found = data.at_fold(fold).load()
        actors = [set(found.metadata[split]["actor"].tolist()) for split in ("train", "validation", "test")]
        assert sum(map(len, actors)) == len(set().union(*actors)) == len(ACTORS)
        tested += found.metadata["test"]["id"].tolist()
    check_dataset(found)
    assert sorted(tested) == sorted(clips())
    row, classes = 4, found.classes["emotion"]
    assert classes == tuple(EMOTIONS.values())
    clip = found.metadata["test"]["id"][row]
    assert EMOTIONS[clip.split("_")[2]] == classes[found.splits["test"].targets["emotion"][row]]
    assert (found.metadata["test"]["sentence"][row], found.metadata["test"]["level"][row]) == ("IEO", "XX")


def test_the_picture_is_the_middle_one(root):
    data = CremaD(root, **SMALL).load()
    clip = data.metadata["train"]["id"][0]
    image = data.columns["image"].read(int(data.splits["train"].pointer["image"][0]))
    np.testing.assert_allclose(image[..., 0], 3 * clips().index(clip) + 40, atol=2)  # JPEG


def test_the_published_lists_have_the_same_actors_in_both_parts(root):
    data = CremaD(root, by_actor=False, **SMALL).load()
    check_dataset(data)
    listed = [clip for number, clip in enumerate(clips()) if number % 7 == 3]
    assert data.metadata["test"]["id"].tolist() == listed
    assert len(data.splits["train"]) + len(data.splits["validation"]) == len(clips()) - len(listed)
    with pytest.raises(DataError, match="so there are no folds for cross-validation"):
        CremaD(root, by_actor=False).at_fold(1).folds  # noqa: B018


CLIP = f"{ACTORS[0]}_IEO_NEU_XX"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "train.csv",
            "1001_IEO_HAP,HAP\n",
            "train.csv: line 1 is '1001_IEO_HAP,HAP'; it must be ACTOR_SENTENCE_EMOTION_LEVEL,EMOTION",
        ),
        ("train.csv", f"{CLIP},NEU\n{CLIP},HAP\n", "train.csv: line 2 is .* with an emotion of NEU, HAP, SAD, FEA, DIS, ANG"),
        ("test.csv", "", "test.csv is empty; it must have ACTOR_SENTENCE_EMOTION_LEVEL,EMOTION in each line"),
        (f"AudioWAV/{CLIP}.wav", None, f"train.csv: line 1: there is no .*{CLIP}.wav; the folder is not complete"),
        (f"AudioWAV/{CLIP}.wav", "RIFF", f"{CLIP}.wav"),
    ],
)
def test_a_damaged_folder_gives_one_line(name, content, message, tmp_path):
    file = write_clips(tmp_path) / name
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        CremaD(tmp_path, **SMALL).load()
    assert "\n" not in str(caught.value)


def test_a_clip_without_pictures_and_a_missing_folder_give_one_line(tmp_path, monkeypatch):
    for file in (write_clips(tmp_path) / FRAMES / CLIP).glob("*"):
        file.unlink()
    with pytest.raises(DataError, match=rf"train.csv: line 1: there is no .*{CLIP}/\*.jpg"):
        CremaD(tmp_path).load()
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(DataError, match=f"no CREMA-D: no folder was named.*{VARIABLE}.*OGM-GE_CVPR2022"):
        CremaD().load()
