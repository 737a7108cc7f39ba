"""AV-MNIST in MultiBench's folder format: its split and its division by 255, and one line for every damage."""

import numpy as np
import pytest

from mmjax.data.av_digits.dataset import FILES, VARIABLE, AvDigits, GreyInput
from mmjax.data.check import check_dataset
from mmjax.data.decode import DataError
from tests.data.av_digits.tiny import arrays, write_digits


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("avmnist"))


def multibench(files, validation):
    """What MultiBench's `get_dataloader` computes, with its numbers of rows in the place of 60,000 and 10,000:
    {split: (images, spectrograms, digits)}."""
    found = {}
    for part in ("train", "test"):
        image, audio = (files[f"{name}/{part}_data.npy"] / 255.0 for name in ("image", "audio"))
        found[part] = image.reshape(len(image), 28, 28), audio, files[f"{part}_labels.npy"].astype(int)
    end = len(found["train"][0]) - validation
    return {
        "train": [x[:end] for x in found["train"]],
        "validation": [x[end:] for x in found["train"]],
        "test": found["test"],
    }


def test_inputs_and_splits_are_those_of_multibench(root, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(root))
    data = AvDigits(validation=8).load()
    check_dataset(data)
    for split, (image, audio, digit) in multibench(arrays(), 8).items():
        rows = data.splits[split]
        assert rows.targets["digit"].tolist() == digit.tolist() and rows.targets["digit"].dtype == np.int32
        for name, expected in (("image", image), ("audio", audio)):
            column = data.columns[name]
            x = column.preprocess(np.stack([column.read(int(number)) for number in rows.pointer[name]]))
            assert x.dtype == np.float32
            np.testing.assert_allclose(x, expected[..., None], rtol=1e-6)
    assert [len(data.splits[split]) for split in ("train", "validation", "test")] == [32, 8, 12]
    assert data.metadata["test"]["id"][3] == "test 3" and len(np.unique(data.metadata["train"]["group"])) == 32
    assert data.media(0)["image"].startswith(b"\x89PNG")
    column = data.columns["audio"]
    np.testing.assert_array_equal(column.parse(arrays()["audio/test_data.npy"][2]), column.read(42))


def test_the_fingerprint_is_of_the_files_and_the_split(root, tmp_path):
    changed = arrays()["audio/train_data.npy"].copy()
    changed[0, 5, 5] ^= 1
    other = write_digits(tmp_path, {"audio/train_data.npy": changed})
    found = [AvDigits(folder, count).load().fingerprint for folder, count in ((root, 8), (root, 9), (other, 8), (root, 8))]
    assert len(set(found)) == 3 and found[0] == found[3]


DAMAGES = {
    "image/train_data.npy": (np.zeros((40, 783)), r"shape \[40, 783\]; it must be \[40 784\] or \[40 28 28\]"),
    "audio/test_data.npy": (np.zeros((11, 112, 112)), r"shape \[11, 112, 112\]; it must be \[12 12544\]"),
    "audio/train_data.npy": (np.array([{}]), "Python objects in dtype"),
    "train_labels.npy": (np.full(40, 2.5), "row 0 is 2.5; it must be a digit from 0 to 9"),
    "test_labels.npy": (np.array(["7"] * 12), "it has <U1; it must be a complete .npy file of numbers"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_gives_one_line(name, tmp_path):
    array, message = DAMAGES[name]
    write_digits(tmp_path, {name: array})
    with pytest.raises(DataError, match=message) as caught:
        AvDigits(tmp_path, 8).load()
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_other_mistakes_give_one_line(root, tmp_path):
    folder = write_digits(tmp_path, {"image/test_data.npy": np.full((12, 784), np.nan)})
    with pytest.raises(DataError, match="test row 0 of 28 x 28 pixels: a vector must have 784 numbers of finite"):
        AvDigits(folder, 8).load().columns["image"].read(40)
    (folder / FILES[0]).write_bytes((folder / FILES[0]).read_bytes()[:500])
    with pytest.raises(DataError, match=f"{FILES[0]}: .*; it must be a complete .npy file of numbers"):
        AvDigits(folder, 8).load()
    (folder / FILES[1]).unlink()
    with pytest.raises(DataError, match=f"has no {FILES[1]}. Name a folder with .*{VARIABLE}"):
        AvDigits(folder, 8).load()
    with pytest.raises(DataError, match=r"validation is 40; .* has only 40 training rows"):
        AvDigits(root, 40).load()
    with pytest.raises(DataError, match="validation is 0; it must be at least 1"):
        AvDigits(root, 0)
    for raw, message in ((np.zeros((28, 27)), r"the shape \[28, 27\]"), ("file", "is str"), ([[1], [2, 3]], "is list")):
        with pytest.raises(DataError, match=f"an input .*{message}"):
            GreyInput(28)(raw)
