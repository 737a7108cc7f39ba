"""Recordings above the limit are left out with their rows; the others keep their items."""

import dataclasses

import numpy as np
import pytest

from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.decode import DataError
from mmjax.data.short_clips import ShortClips

SECONDS = (1.0, 3.5, 2.0, 2.001, 0.5)  # of the recordings, at 1000 Hz
POINTERS = {"train": [0, 1, 2, -1], "validation": [2, 3], "test": [3, 4, 1, 0]}


@dataclasses.dataclass(frozen=True)
class Given:
    """Ten rows; one has no recording."""

    def load(self):
        original = lambda item: (np.zeros(round(1000 * SECONDS[item]), np.float32), 1000)
        columns = {
            "audio": Column(5, lambda item: np.float32([item]), identity, original, "recordings"),
            "image": Column(4, lambda item: np.float32([item]), identity),
        }
        splits, metadata = {}, {}
        for split, items in POINTERS.items():
            rows = np.arange(len(items))
            splits[split] = Rows({"audio": np.array(items), "image": rows}, {}, np.ones(len(items), np.float32))
            metadata[split] = {"id": np.array([f"{split}{row}" for row in rows]), "group": rows}
        media = lambda row: {"image": bytes([row])}
        weight = np.float32([1, 2, 3, 4])
        return Dataset(columns, splits, metadata, "given", media=media, training_weight=weight)


def test_long_recordings_are_left_out_with_their_rows():
    data = ShortClips(Given(), max_seconds=2.0).load()
    assert {split: of["id"].tolist() for split, of in data.metadata.items()} == {
        "train": ["train0", "train2", "train3"],
        "validation": ["validation0"],
        "test": ["test1", "test3"],
    }
    column = data.columns["audio"]
    assert column.count == 3 and data.dropped["audio longer than 2 s"] == 4
    items = [int(column.read(number)[0]) for number in data.splits["train"].pointer["audio"][:2]]
    assert items == [0, 2] and data.splits["train"].pointer["audio"][2] == -1
    assert [int(column.read(number)[0]) for number in data.splits["test"].pointer["audio"]] == [4, 0]
    assert [len(column.original(number)[0]) for number in range(3)] == [1000, 2000, 500]
    assert data.splits["test"].pointer["image"].tolist() == [1, 3] and data.columns["image"].count == 4
    assert data.training_weight.tolist() == [1, 3, 4] and data.media(1)["image"] == b"\x03"
    other = ShortClips(Given(), max_seconds=2.5).load()
    assert len({data.fingerprint, other.fingerprint, Given().load().fingerprint}) == 3
    assert len({column.fingerprint, other.columns["audio"].fingerprint, "recordings"}) == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"clips": "image"}, "ShortClips.clips: the data have no recordings 'image'; their modalities are audio, image"),
        ({"max_seconds": 0.7}, "ShortClips.max_seconds is 0.7, but all recordings of the validation split are longer"),
        ({"max_seconds": 0.0}, "ShortClips.max_seconds is 0.0; it must be above 0"),
    ],
)
def test_mistakes_are_named(fields, message):
    with pytest.raises(DataError, match=message):
        ShortClips(Given(), **fields).load()
