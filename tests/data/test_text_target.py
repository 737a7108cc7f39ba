"""Texts of a metadata column as a target: rows without a text are left out."""

import dataclasses

import numpy as np
import pytest

from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.decode import DataError
from mmjax.data.text import Words
from mmjax.data.text_target import TextTarget


@dataclasses.dataclass(frozen=True)
class Given:
    """Six rows in each split; rows 0, 2 and 4 have no text."""

    missing: tuple = (None, " ", float("nan"))

    def load(self):
        notes = np.array([self.missing[0], "a dog", self.missing[1], "a cat", self.missing[2], "a dog"], object)
        rows = Rows({"image": np.arange(6)}, {}, np.ones(6, np.float32))
        metadata = {"id": np.array(list("abcdef")), "group": np.arange(6), "note": notes}
        splits = dict.fromkeys(("train", "validation", "test"), rows)
        column = Column(6, lambda i: np.float32([i]), identity)
        media = lambda row: {"image": bytes([row])}
        return Dataset({"image": column}, splits, dict.fromkeys(splits, metadata), "given", media=media)


def test_missing_texts_are_no_texts():
    data = TextTarget(Given(), column="note", target="note", target_tokenizer=Words(vocabulary=20)).load()
    assert data.dropped["rows without note"] == 9
    assert data.metadata["test"]["id"].tolist() == ["b", "d", "f"]
    assert "none" not in data.tokenizers["note"].library.get_vocab()
    assert [data.media(row)["image"] for row in range(3)] == [b"\x01", b"\x03", b"\x05"]
    found = [data.tokenizers["note"].text(ids) for ids in data.splits["test"].targets["note"]]
    assert found == ["a dog", "a", "a dog"]  # "cat" is unknown: each training text occurs once, but "a dog" twice


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"column": "title"}, r"TextTarget.column: the data have no metadata column 'title'; they have group, id, note"),
        ({"target": "image"}, r"TextTarget.target: 'image' is the name of a modality or another target"),
        ({"target_tokens": 0}, r"TextTarget.target_tokens is 0; it must be a positive integer"),
    ],
)
def test_mistakes_are_named(fields, message):
    with pytest.raises((DataError, ValueError), match=message):
        TextTarget(Given(), **{"column": "note", "target_tokenizer": Words(vocabulary=20), **fields}).load()
