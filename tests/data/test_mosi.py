"""The loader of CMU-MOSI's features: on a tiny copy of the published layout, and on the real files where they stand."""

import os
from pathlib import Path

import numpy as np
import pytest

from mmjax.data import feed
from mmjax.data.decode import DataError
from mmjax.data.mosi import FILES, VARIABLE, WIDTHS, Mosi, standardised

LENGTHS = {"a_b": 3, "c": 11, "d": 2, "e": 1, "f": 4}  # utterances of each video; "c" and "e" are the test split
TEST = ("c", "e")


def write(folder: Path) -> Path:
    """A copy of the layout: transcripts in the order of the ids as strings (c_1, c_10, c_11, c_2, ...), as published."""
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
            # The first two features say which row this is: the transcript's number, and a constant within the training split.
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
    """The real data, of the folder that MMJAX_MOSI names, else of the copy beside the checkout; in both forms."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data" / "mosi"
    root = Path(os.environ.get(VARIABLE) or beside)
    if not (root / "transcripts.csv").is_file():
        pytest.skip(f"CMU-MOSI's features are not ours to ship: set {VARIABLE} to their folder to run this")
    return {context: Mosi(root, context=context).load() for context in (False, True)}


def test_utterances_in_order_with_their_features(folder):
    data = Mosi(folder, folds=3).load()
    about = data.about["test"]
    assert about["id"].tolist() == [f"c_{k}" for k in range(1, 12)] + ["e_1"]  # c_10 after c_9, and not after c_1
    assert about["text"].tolist() == [f"WORDS OF {i}" for i in about["id"]]
    assert about["group"].tolist() == [89] * 11 + [87]
    assert about["group"].dtype == np.int64
    lines = [line.split(",") for line in (folder / "transcripts.csv").read_text().splitlines()]
    transcript = {line[0].strip('"'): (k, int(line[3].strip('"'))) for k, line in enumerate(lines)}
    seen = []
    for part, rows in data.splits.items():
        ids = data.about[part]["id"].tolist()
        seen += ids
        assert rows.targets["label"].tolist() == [transcript[i][1] for i in ids]
        assert rows.weight.tolist() == [1.0] * len(ids)
        numbers = np.array([transcript[i][0] for i in data.about["train"]["id"]], float)
        for name, column in data.columns.items():
            x = np.stack([column.read(int(k)) for k in rows.pointer[name]])
            assert x.shape == (len(ids), WIDTHS[name]) and x.dtype == np.float32
            expected = (np.array([transcript[i][0] for i in ids]) - numbers.mean()) / numbers.std()
            np.testing.assert_allclose(x[:, 0], expected, rtol=1e-5)
            assert not x[:, 1].any()  # what never varies in training is centred, and not divided by zero
    assert sorted(seen) == sorted(transcript)
    assert data.media(2) == {"id": "c_3", "caption": "WORDS OF c_3", "language": "", "image": None, "sound": None}


def test_validation_is_cut_from_the_training_videos_by_video(folder):
    cut = {}
    for fold in range(3):
        data = Mosi(folder, folds=3, fold=fold).load()
        videos = {part: set(about["group"].tolist()) for part, about in data.about.items()}
        assert videos["test"] == {89, 87}
        assert videos["train"] | videos["validation"] == {90, 88, 86}
        assert not videos["train"] & videos["validation"]
        cut[fold] = videos["validation"]
    assert set.union(*cut.values()) == {90, 88, 86} and sum(map(len, cut.values())) == 3


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_both_forms_have_the_same_utterances_in_the_same_order(folder, part):
    alone, videos = (Mosi(folder, context=context, folds=3).load() for context in (False, True))
    for key, values in alone.about[part].items():
        assert values.tolist() == videos.about[part][key].tolist(), key
    rows, label = videos.splits[part], videos.splits[part].targets["label"]
    assert label.shape == (len(rows), 11)
    assert label[label >= 0].tolist() == alone.splits[part].targets["label"].tolist()
    assert rows.weight.tolist() == (label >= 0).sum(axis=1).tolist()
    for name in WIDTHS:
        flat = np.stack([alone.columns[name].read(int(k)) for k in alone.splits[part].pointer[name]])
        steps = [videos.columns[name].read(int(k)) for k in rows.pointer[name]]
        np.testing.assert_array_equal(np.concatenate([s.x[: s.length] for s in steps]), flat)
        assert all(not s.x[s.length :].any() and s.x.shape == (11, WIDTHS[name]) for s in steps)
        np.testing.assert_array_equal([s.length for s in steps], rows.weight)


def test_it_feeds_batches(folder):
    data = Mosi(folder, context=True, folds=3).load()
    batch = feed.from_device(feed.fill(data), data.splits["test"])(np.array([1, 0, -1]))
    assert batch.inputs["text"].length.tolist()[:2] == [1, 11]
    assert batch.weight.tolist() == [1, 11, 0]
    assert batch.present["audio"].tolist() == [True, True, False]


def test_fingerprint_is_of_the_files_and_of_every_choice(folder):
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
def test_damage_is_named_with_file_and_row(folder, name, row, change, message):
    edit(folder, name, row, change)
    with pytest.raises(DataError, match=message):
        Mosi(folder, folds=3).load()


def test_rows_that_are_missing(folder):
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
    with pytest.raises(DataError, match="video 89 is in the training split too"):
        Mosi(folder, folds=3).load()


def test_without_the_data_one_error_says_where_to_get_them(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    for root, told in ((None, "no folder was named"), (tmp_path, f"{tmp_path} lacks transcripts.csv")):
        with pytest.raises(DataError, match=told) as error:
            Mosi(root).load()
        for word in ("--data.root", VARIABLE, "Poria et al., ACL 2017", "Zadeh", *FILES):
            assert word in str(error.value)
    monkeypatch.setenv(VARIABLE, str(write(tmp_path)))
    assert len(Mosi(folds=3).load().splits["test"]) == 12


@pytest.mark.parametrize("fields", [{"folds": 1}, {"fold": 5}, {"fold": -1}])
def test_folds_that_cannot_be(fields):
    with pytest.raises(DataError, match=r"Mosi.fold is -?\d of \d folds"):
        Mosi(**fields)


def test_z_scores_are_of_the_training_rows():
    x = np.array([[1.0, 5], [3, 5], [100, 6]])  # mean 2 and deviation 1 of the first two; the second feature never varies there
    np.testing.assert_array_equal(standardised(x, np.array([0, 1])), [[-1, 0], [1, 0], [98, 1]])


def test_the_published_counts(published):
    data = published[False]
    assert {part: len(set(about["group"].tolist())) for part, about in data.about.items()} == {
        "train": 50, "validation": 12, "test": 31
    }
    assert len(data.splits["test"]) == 752
    assert len(data.splits["train"]) + len(data.splits["validation"]) == 1447
    assert round(float((data.splits["test"].targets["label"] == 1).mean()), 3) == 0.621
    assert published[True].splits["test"].targets["label"].shape == (31, 63)
    for part in data.splits:
        assert data.about[part]["id"].tolist() == published[True].about[part]["id"].tolist()


def linear_model(published, modalities, fitted_on, scored_on):
    """Accuracy in % of a logistic regression, C = .01, on features z-scored over all videos that it is fitted on."""
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
    """Fitted on all 62 training videos: 75.7 % from words and 76.7 % from all three, found without mmjax."""
    assert linear_model(published, modalities, ["train", "validation"], "test") == percent


@pytest.mark.parametrize(("modality", "least"), [("text", 95), ("video", 85)])
def test_validation_videos_are_no_stand_in_for_test_videos(published, modality, least):
    """The published features of words and face know the labels of the training videos, those of validation among them."""
    accuracy = {part: linear_model(published, [modality], ["train"], part) for part in ("validation", "test")}
    assert accuracy["validation"] > least > accuracy["test"] + 15
