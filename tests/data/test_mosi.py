"""The loader of CMU-MOSI: on a tiny copy of the published layout, and on the real files if they are present."""

import os
from pathlib import Path

import numpy as np
import pytest

from mmjax.data import feed
from mmjax.data.decode import DataError
from mmjax.data.mosi.dataset import Mosi, ZScores
from mmjax.data.mosi.files import FILES, VARIABLE, WIDTHS
from mmjax.data.splits import CrossValidated, check_splits

LENGTHS = {"a_b": 3, "c": 11, "d": 2, "e": 1, "f": 4}  # utterances per video; "c" and "e" are the test split
TEST = ("c", "e")


def write(folder: Path) -> Path:
    """A copy of the layout; as published, the transcripts are sorted by id as strings (c_1, c_10, c_11, c_2, ...)."""
    rng = np.random.default_rng(0)
    ids = sorted(f"{video}_{k}" for video, length in LENGTHS.items() for k in range(1, length + 1))
    videos = [name.rsplit("_", 1)[0] for name in ids]
    label = rng.integers(0, 2, len(ids))
    number = {video: 90 - k for k, video in enumerate(LENGTHS)}
    rows = [f'"{i}","WORDS OF {i}","{number[v]}","{y}"' for i, v, y in zip(ids, videos, label)]
    (folder / "transcripts.csv").write_text("\n".join(rows) + "\n")
    for part in ("train", "test"):
        index = [k for k, video in enumerate(videos) if (video in TEST) == (part == "test")]
        index = rng.permutation(index)
        (folder / f"index_{part}.csv").write_text("".join(f"{k}\n" for k in index))
        for name, width in WIDTHS.items():
            # The first feature is the number of the transcript, the second is constant.
            noise = rng.normal(size=(len(index), width - 2))
            x = np.concatenate([index[:, None], np.full((len(index), 1), 7.0), noise], axis=1)
            lines = [",".join(f'"{value}"' for value in [*row, label[k]]) for row, k in zip(x.tolist(), index)]
            (folder / f"{name}_{part}.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path)


@pytest.fixture(scope="module")
def published():
    """The real data in both forms, from the folder that MMJAX_MOSI names or a copy beside the checkout."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data" / "mosi"
    root = Path(os.environ.get(VARIABLE) or beside)
    if not (root / "transcripts.csv").is_file():
        pytest.skip(f"CMU-MOSI is not part of this project: set {VARIABLE} to its folder to run this test")
    return {context: Mosi(root, context=context).load() for context in (False, True)}


def test_utterances_in_order_with_their_features(folder):
    data = Mosi(folder, folds=3).load()
    metadata = data.metadata["test"]
    assert metadata["id"].tolist() == [f"c_{k}" for k in range(1, 12)] + ["e_1"]  # c_10 after c_9, not after c_1
    assert metadata["text"].tolist() == [f"WORDS OF {i}" for i in metadata["id"]]
    assert metadata["group"].tolist() == [89] * 11 + [87]
    assert metadata["group"].dtype == np.int64
    lines = [line.split(",") for line in (folder / "transcripts.csv").read_text().splitlines()]
    transcript = {line[0].strip('"'): (k, int(line[3].strip('"'))) for k, line in enumerate(lines)}
    seen = []
    for part, rows in data.splits.items():
        ids = data.metadata[part]["id"].tolist()
        seen += ids
        assert rows.targets["label"].tolist() == [transcript[i][1] for i in ids]
        assert rows.weight.tolist() == [1.0] * len(ids)
        numbers = np.array([transcript[i][0] for i in data.metadata["train"]["id"]], float)
        for name, column in data.columns.items():
            x = np.stack([column.read(int(k)) for k in rows.pointer[name]])
            assert x.shape == (len(ids), WIDTHS[name]) and x.dtype == np.float32
            expected = (np.array([transcript[i][0] for i in ids]) - numbers.mean()) / numbers.std()
            np.testing.assert_allclose(x[:, 0], expected, rtol=1e-5)
            assert not x[:, 1].any()  # a feature that is constant in training is centred, not divided by zero
    assert sorted(seen) == sorted(transcript)
    assert data.media(2) == {"id": "c_3", "caption": "WORDS OF c_3", "language": "", "image": None, "sound": None}


def test_validation_is_cut_from_the_training_videos_by_video(folder):
    cut = {}
    for fold in range(3):
        data = Mosi(folder, folds=3, fold=fold).load()
        videos = {split: set(columns["group"].tolist()) for split, columns in data.metadata.items()}
        assert check_splits(data)
        assert videos["test"] == {89, 87}
        assert videos["train"] | videos["validation"] == {90, 88, 86}
        assert not videos["train"] & videos["validation"]
        cut[fold] = videos["validation"]
    assert set.union(*cut.values()) == {90, 88, 86} and sum(map(len, cut.values())) == 3


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_both_forms_have_the_same_utterances_in_the_same_order(folder, part):
    single, videos = (Mosi(folder, context=context, folds=3).load() for context in (False, True))
    for key, values in single.metadata[part].items():
        assert values.tolist() == videos.metadata[part][key].tolist(), key
    rows, label = videos.splits[part], videos.splits[part].targets["label"]
    assert label.shape == (len(rows), 11)
    assert label[label >= 0].tolist() == single.splits[part].targets["label"].tolist()
    assert rows.weight.tolist() == (label >= 0).sum(axis=1).tolist()
    for name in WIDTHS:
        flat = np.stack([single.columns[name].read(int(k)) for k in single.splits[part].pointer[name]])
        steps = [videos.columns[name].read(int(k)) for k in rows.pointer[name]]
        np.testing.assert_array_equal(np.concatenate([s.x[: s.length] for s in steps]), flat)
        assert all(not s.x[s.length :].any() and s.x.shape == (11, WIDTHS[name]) for s in steps)
        np.testing.assert_array_equal([s.length for s in steps], rows.weight)


def test_it_feeds_batches(folder):
    data = Mosi(folder, context=True, folds=3).load()
    batch = feed.DeviceFeed(feed.load_columns(data), data.splits["test"])(np.array([1, 0, -1]))
    assert batch.inputs["text"].length.tolist()[:2] == [1, 11]
    assert batch.weight.tolist() == [1, 11, 0]
    assert batch.present["audio"].tolist() == [True, True, False]


def test_fingerprint_covers_the_files_and_every_choice(folder):
    choices = [{}, {"context": True}, {"fold": 1}, {"split_seed": 1}]
    prints = [Mosi(folder, **{"folds": 3, **choice}).load().fingerprint for choice in choices]
    assert len(set(prints)) == len(prints)
    assert Mosi(folder, folds=3).load().fingerprint == prints[0]
    file = folder / "audio_test.csv"
    file.write_text(file.read_text().replace("7.0", "7.5", 1))
    assert Mosi(folder, folds=3).load().fingerprint != prints[0]


def edit(folder, name, row, change):
    """Changes the values of one row, numbered from 1, without quotes."""
    lines = (folder / name).read_text().splitlines()
    values = [value.strip('"') for value in lines[row - 1].split(",")]
    lines[row - 1] = ",".join(f'"{value}"' for value in change(values))
    (folder / name).write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("name", "row", "change", "message"),
    [
        ("text_train.csv", 3, lambda v: ["nan", *v[1:]], r"text_train.csv: row 3 has the value 'nan'.*finite"),
        ("audio_test.csv", 2, lambda v: [v[0], "x", *v[2:]], r"audio_test.csv: row 2 has the value 'x'"),
        ("video_train.csv", 1, lambda v: v[1:], r"video_train.csv: row 1 has 100 values; .*100 features and the label"),
        ("audio_train.csv", 4, lambda v: [*v[:-1], "2"], r"audio_train.csv: row 4 has the label '2'; .*1 .*or 0"),
        ("text_test.csv", 1, lambda v: [*v[:-1], str(1 - int(v[-1]))], r"text_test.csv: row 1 has the label .* in trans"),
        ("transcripts.csv", 5, lambda v: v[:3], r"transcripts.csv: row 5 has 3 values"),
        ("transcripts.csv", 1, lambda v: ["a_b", *v[1:]], r"transcripts.csv: row 1 has the id 'a_b'"),
        ("transcripts.csv", 1, lambda v: [*v[:2], "8x", v[3]], r"transcripts.csv: row 1 has '8x' for the number"),
        ("transcripts.csv", 1, lambda v: [*v[:2], "12", v[3]], r"transcripts.csv: row 1, a_b_1, has the video number 12"),
        ("transcripts.csv", 2, lambda v: ["a_b_1", *v[1:]], r"an id occurs twice"),
        ("transcripts.csv", 15, lambda v: [v[0], v[1], "90", v[3]], r"has the video number 90"),
        ("index_train.csv", 2, lambda v: ["99"], r"index_train.csv: row 2 is '99'; .*0 to 20"),
        ("index_test.csv", 2, lambda v: ["0"], r"index_test.csv: row .* of transcripts.csv is in neither"),
    ],
)
def test_damage_is_reported_with_file_and_row(folder, name, row, change, message):
    edit(folder, name, row, change)
    with pytest.raises(DataError, match=message):
        Mosi(folder, folds=3).load()


def test_missing_rows(folder):
    file = folder / "video_test.csv"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(DataError, match=r"video_test.csv: the file has 11 rows; it should have 12, as index_test.csv"):
        Mosi(folder, folds=3).load()
    file.write_text("")
    with pytest.raises(DataError, match=r"video_test.csv: the file is empty"):
        Mosi(folder, folds=3).load()


def test_a_video_in_both_splits(folder):
    train, test = ((folder / f"index_{part}.csv").read_text().split() for part in ("train", "test"))
    at = test.index(next(k for k in test if int(k) < 14))  # an utterance of "c" goes to the training split
    (folder / "index_train.csv").write_text("\n".join([*train, test.pop(at)]))
    (folder / "index_test.csv").write_text("\n".join(test))
    with pytest.raises(DataError, match="video 89 is in the training split too; a video belongs to one split"):
        Mosi(folder, folds=3).load()


def test_the_error_without_data_says_where_to_get_them(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    for root, message in ((None, "no folder was named"), (tmp_path, f"{tmp_path} has no transcripts.csv")):
        with pytest.raises(DataError, match=message) as error:
            Mosi(root).load()
        for word in ("--data.root", VARIABLE, "Poria et al., ACL 2017", "Zadeh", *FILES):
            assert word in str(error.value)
    monkeypatch.setenv(VARIABLE, str(write(tmp_path)))
    assert len(Mosi(folds=3).load().splits["test"]) == 12


@pytest.mark.parametrize("fields", [{"folds": 1}, {"fold": 5}, {"fold": -1}, {"fold": 7}])
def test_bad_folds_are_refused(fields):
    with pytest.raises(DataError, match=r"Mosi.fold is -?\d of \d folds"):
        Mosi(**fields)


def test_the_official_test_split_has_no_cross_validation(folder):
    assert not isinstance(Mosi(folder), CrossValidated)


def test_more_folds_than_videos(folder):
    with pytest.raises(DataError, match=r"folds is 100000; it must lie in \[2, 3\]"):
        Mosi(folder, folds=100_000).load()


def test_z_scores_are_fitted_on_the_training_rows():
    x = np.array([[1.0, 5], [3, 5], [100, 6]])  # the first two are training rows: mean 2 and deviation 1; feature 2 is constant
    np.testing.assert_array_equal(ZScores.of(x[:2]).scaled(x), [[-1, 0], [1, 0], [98, 1]])


def test_the_published_counts(published):
    data = published[False]
    assert {split: len(set(columns["group"].tolist())) for split, columns in data.metadata.items()} == {
        "train": 50, "validation": 12, "test": 31
    }
    assert len(data.splits["test"]) == 752
    assert len(data.splits["train"]) + len(data.splits["validation"]) == 1447
    assert round(float((data.splits["test"].targets["label"] == 1).mean()), 3) == 0.621
    assert published[True].splits["test"].targets["label"].shape == (31, 63)
    for part in data.splits:
        assert data.metadata[part]["id"].tolist() == published[True].metadata[part]["id"].tolist()


def linear_model(published, modalities, fitted_on, scored_on):
    """Accuracy in % of a logistic regression, C = .01, on features z-scored over the videos that it is fitted on."""
    linear, preprocessing = pytest.importorskip("sklearn.linear_model"), pytest.importorskip("sklearn.preprocessing")
    data = published[False]

    def arrays(parts):
        x = [[data.columns[m].read(int(k)) for p in parts for k in data.splits[p].pointer[m]] for m in modalities]
        return np.concatenate(x, axis=1).astype(float), np.concatenate([data.splits[p].targets["label"] for p in parts])

    x, y = arrays(fitted_on)
    scale = preprocessing.StandardScaler().fit(x)
    model = linear.LogisticRegression(C=0.01, max_iter=2000).fit(scale.transform(x), y)
    test_x, test_y = arrays([scored_on])
    return round(100 * model.score(scale.transform(test_x), test_y), 1)


@pytest.mark.parametrize(("modalities", "percent"), [(("text",), 75.7), (("audio", "text", "video"), 76.7)])
def test_logistic_regression_gives_the_known_accuracy(published, modalities, percent):
    """Fitted on all 62 training videos: 75.7 % from words and 76.7 % from all three, as computed without mmjax."""
    assert linear_model(published, modalities, ["train", "validation"], "test") == percent


@pytest.mark.parametrize(("modality", "least"), [("text", 95), ("video", 85)])
def test_validation_scores_do_not_predict_test_scores(published, modality, least):
    """The features of words and face were trained on the labels of all training videos, which include validation."""
    accuracy = {part: linear_model(published, [modality], ["train"], part) for part in ("validation", "test")}
    assert accuracy["validation"] > least > accuracy["test"] + 15
