"""CMU-MOSI as MMSA's data loader feeds it, on a tiny file in its format."""

import numpy as np
import pytest

from mmjax.data.check import check_dataset
from mmjax.data.decode import DataError
from mmjax.data.mosi.mmsa import VARIABLE, MmsaMosi
from mmjax.data.splits import check_splits
from mmjax.types import Padded
from tests.data.mosi_mmsa import COUNTS, part, write_mmsa


def mmsa(split, means):
    """{modality: array} as `MMDataset` of MMSA computes it: zeros for -inf in audio, and means over the axis of steps."""
    raw = part(split, COUNTS[split])
    x = {name: raw[name].astype(np.float32) for name in ("text", "audio", "vision")}
    x["audio"][x["audio"] == -np.inf] = 0
    for name in ("audio", "vision") if means else ():
        x[name] = np.mean(np.transpose(x[name], (1, 0, 2)), axis=0, keepdims=True).transpose((1, 0, 2))[:, 0]
    return x


@pytest.mark.parametrize("means", [True, False])
def test_inputs_are_those_of_mmsa(means, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(write_mmsa(tmp_path)))
    data = MmsaMosi(means=means).load()
    check_dataset(data)
    assert check_splits(data)
    for split, theirs in (("train", "train"), ("validation", "valid"), ("test", "test")):
        rows, expected, raw = data.splits[split], mmsa(theirs, means), part(theirs, COUNTS[theirs])
        np.testing.assert_allclose(rows.targets["score"], raw["regression_labels"], rtol=1e-6)
        assert data.metadata[split]["text"].tolist() == raw["raw_text"].tolist()
        for name, column in data.columns.items():
            items = [column.read(int(number)) for number in rows.pointer[name]]
            if name == "text" or not means:
                lengths = raw.get(f"{name}_lengths", [6] * len(items))
                assert [int(item.length) for item in items] == lengths
                items = [item.x for item in items]
            np.testing.assert_allclose(np.stack(items), expected[name], rtol=1e-6, atol=1e-7)
    assert data.media(1)["caption"] == "clip 1"


def test_token_ids_end_with_their_mask(tmp_path):
    data = MmsaMosi(write_mmsa(tmp_path), token_ids=True).load()
    for row in range(3):
        ids, valid, _ = part("train", COUNTS["train"])["text_bert"][row]
        item = data.columns["text"].read(row)
        assert isinstance(item, Padded) and item.x.dtype == np.int32
        assert item.x.tolist() == ids.tolist() and item.length == valid.sum()


def test_a_sequence_without_steps_is_an_absent_modality(tmp_path):
    lengths = [0] + [3] * 23
    train = MmsaMosi(write_mmsa(tmp_path, vision_lengths=lengths)).load().splits["train"]
    assert train.pointer["vision"].tolist() == [-1, *range(1, 24)] and train.pointer["audio"].min() == 0


DAMAGES = {
    "text_bert": (np.zeros((24, 2, 6)), r"train.text_bert is float64\[24, 2, 6\]; it must be numbers \[n 3 t\]"),
    "audio": (np.full((24, 7, 2), np.nan), "train.audio has NaN or infinity"),
    "vision": (np.zeros((23, 8, 3)), "the fields of train have different numbers of rows"),
    "text": (np.zeros((24, 5, 4)), r"rows of valid.text have the shape \[6, 4\]; those of train have \[5, 4\]"),
    "audio_lengths": ([8] * 24, "train.audio_lengths must be whole numbers from 0 to 7"),
    "regression_labels": (np.full(24, 3.5), "train.regression_labels must be one number from -3 to 3"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_gives_one_line(name, tmp_path):
    value, message = DAMAGES[name]
    with pytest.raises(DataError, match=message) as caught:
        MmsaMosi(write_mmsa(tmp_path, **{name: value})).load()
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_missing_file_gives_one_line(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    for root in (None, tmp_path):
        with pytest.raises(DataError, match=f"no CMU-MOSI of MMSA: .* by --data.root or by .*{VARIABLE}"):
            MmsaMosi(root).load()
    with pytest.raises(DataError, match="text_bert must be token ids, their mask of ones and then zeros"):
        MmsaMosi(write_mmsa(tmp_path, text_bert=np.full((24, 3, 6), 2))).load()
