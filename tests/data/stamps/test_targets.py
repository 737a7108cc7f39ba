"""The targets of the Stamps task, compared with the index and the clips of the real pack."""

import dataclasses
import io
from collections import Counter, defaultdict

import numpy as np
import pytest

from mmjax.data.stamps.dataset import Stamps
from mmjax.data.stamps.rows import tag_names, tags_of

pytest.importorskip("tokenizers")
soundfile = pytest.importorskip("soundfile")

TASK = Stamps(image_size=12, speech_languages=("nl", "fr"), seconds=0.5)
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def dataset(in_memory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmjax.data.stamps.dataset.standardized", lambda column, *_: column)
        return TASK.load()


def test_label_is_the_folder(dataset, pack, records):
    """The nine folders with 40 stamps or more; each of their stamps is in a split, and no other stamp."""
    count = Counter(record["folder"] for record in pack.index)
    large = sorted(folder for folder, n in count.items() if n >= 40)
    assert list(dataset.classes["label"]) == large and len(large) == 9
    ids = {i for split in SPLITS for i in dataset.metadata[split]["id"].tolist()}
    assert ids == {record["id"] for record in pack.index if record["folder"] in large}
    assert dataset.dropped["stamps in folders with fewer than 40"] == len(pack.index) - len(ids)
    for split in SPLITS:
        label = dataset.splits[split].targets["label"].tolist()
        assert [large[k] for k in label] == [records[i]["folder"] for i in dataset.metadata[split]["id"]]
        assert set(label) == set(range(9))


def test_language_of_the_clip(dataset):
    """-1 without a clip; the classes are sorted."""
    assert dataset.classes["language"] == ("fr", "nl") and TASK.speech_languages == ("nl", "fr")
    for split in SPLITS:
        number, language = dataset.splits[split].targets["language"], dataset.metadata[split]["language"].tolist()
        assert number.dtype == np.int32 and number.tolist() == [{"fr": 0, "nl": 1, "": -1}[code] for code in language]
        np.testing.assert_array_equal(number >= 0, dataset.splits[split].pointer["audio"] >= 0)


def test_tags_by_hand():
    """"cartoon" counts wherever it is on the path; a folder with 19 stamps is no tag, and a file's name is none."""
    paths = ["animals/cartoon/a"] * 10 + ["food/fruit/cartoon/cartoon"] * 10 + ["plants/b"] * 19
    records = [{"id": path} for path in paths]
    assert tag_names(records) == ("cartoon",)
    records += [{"id": "plants/cartoon"}]
    assert tag_names(records) == ("cartoon", "plants")
    chosen = [records[0], records[10], records[20], records[-1]]
    assert tags_of(chosen, ("cartoon", "plants")).tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]


def test_tags_are_the_folders_of_the_path(dataset):
    names = dataset.classes["tags"]
    assert len(names) == 28 and set(dataset.classes["label"]) < set(names) and {"cartoon", "mammals", "uppercase"} < set(names)
    stamps = defaultdict(set)
    for split in SPLITS:
        tags = dataset.splits[split].targets["tags"]
        assert tags.dtype == np.int32 and tags.shape == (len(dataset.splits[split]), 28)
        for row, name in zip(tags, dataset.metadata[split]["id"].tolist()):
            folders = name.split("/")[:-1]
            assert [names[k] for k in np.flatnonzero(row)] == sorted(set(folders) & set(names))
            stamps[name] |= set(np.flatnonzero(row).tolist())
    counts = Counter(names[k] for tags in stamps.values() for k in tags)
    assert min(counts.values()) >= 20 and counts["cartoon"] == 118 and counts["symbols"] == 249


def test_duration_of_the_whole_clip(dataset, pack):
    """From the decoded clip, before truncation; NaN without one. Every count of samples is of 16 kHz."""
    number = {record["id"]: i for i, record in enumerate(pack.index)}
    for split in SPLITS:
        duration, metadata = dataset.splits[split].targets["duration"], dataset.metadata[split]
        np.testing.assert_array_equal(np.isnan(duration), metadata["language"] == "")
        spoken = np.flatnonzero(~np.isnan(duration))
        for row in spoken[:: len(spoken) // 8]:
            clip = pack.speech_bytes(number[str(metadata["id"][row])], str(metadata["language"][row]))
            samples, rate = soundfile.read(io.BytesIO(clip))
            np.testing.assert_allclose(duration[row], len(samples) / rate, rtol=1e-6)
        assert duration.dtype == np.float32 and np.nanmax(duration) > 2 > TASK.seconds
    assert "duration" not in dataset.classes


def test_targets_do_not_depend_on_the_fold(dataset, no_media):
    of_row = [
        {
            (i, language): (label, tuple(tags))
            for split in ("train", "test")
            for i, language, label, tags in zip(
                data.metadata[split]["id"].tolist(),
                data.metadata[split]["language"].tolist(),
                data.splits[split].targets["label"].tolist(),
                data.splits[split].targets["tags"].tolist(),
            )
        }
        for data in (dataset, dataclasses.replace(TASK, fold=3).load())
    ]
    shared = of_row[0].keys() & of_row[1].keys()
    assert len(shared) > 200 and all(of_row[0][row] == of_row[1][row] for row in shared)
