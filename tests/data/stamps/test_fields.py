"""The fields of Stamps: each changes the fingerprint, and bad values are refused."""

import dataclasses

import pytest

from mmjax.data.decode import DataError
from mmjax.data.stamps.dataset import Stamps
from mmjax.data.text import BPE, STOP_WORDS, Characters, WordPiece, Words
from mmjax.nn.mel import LogMel

pytest.importorskip("tokenizers")
pytest.importorskip("soundfile")

TASK = Stamps(image_size=12, speech_languages=("nl", "fr"), seconds=0.5)


def test_fingerprint_changes_with_every_choice(no_media):
    first = TASK.load().fingerprint
    assert TASK.load().fingerprint == first and len(first) == 64
    changes = {
        "image_size": 13, "fold": 1, "split_seed": 1, "seconds": 0.75, "mel": LogMel(bands=20), "text_language": "fr",
        "test_text_language": "de",
        "speech_languages": ("fr",), "tokenizer": BPE(500), "max_tokens": 9, "folds": 4, "validation_parts": 2,
    }  # fmt: skip
    assert set(changes) | {"root"} == {field.name for field in dataclasses.fields(Stamps)}
    others = {name: dataclasses.replace(TASK, **{name: value}).load().fingerprint for name, value in changes.items()}
    assert len({first, *others.values()}) == len(changes) + 1
    silent = dataclasses.replace(TASK, speech_languages=())
    trainers = [BPE(), WordPiece(), Words(), Words(stop_words=STOP_WORDS), Characters()]
    assert len({dataclasses.replace(silent, tokenizer=trainer).load().fingerprint for trainer in trainers}) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_language": "xx"}, r"Stamps\.text_language: unknown language 'xx'; the pack has .*fr"),
        ({"test_text_language": "xx"}, r"Stamps\.test_text_language: unknown language 'xx'; the pack has .*fr"),
        ({"speech_languages": ("fr", "xx")}, r"Stamps\.speech_languages: unknown language 'xx'; the pack has .*fr"),
        ({"speech_languages": ("fr", "nl", "fr")}, r"Stamps\.speech_languages has 'fr' twice"),
        ({"image_size": 0}, r"Stamps\.image_size is 0; it must be above 0 and at most 1024"),
        ({"image_size": 100_000}, r"Stamps\.image_size is 100000; it must be above 0 and at most 1024"),
        ({"seconds": float("nan")}, r"Stamps\.seconds is nan; it must be above 0 and at most 60"),
        ({"seconds": float("inf")}, r"Stamps\.seconds is inf; it must be above 0 and at most 60"),
        ({"max_tokens": -1}, r"Stamps\.max_tokens is -1; it must be above 0 and at most 1024"),
        ({"folds": 2}, r"Stamps\.fold is 0 of 2 folds; folds must be at least 3"),
        ({"fold": 7}, r"Stamps\.fold is 7 of 5 folds"),
        ({"folds": 100_000}, r"folds is 100000; it must lie in \[2, \d{3}\], the number of leak-free groups"),
        ({"split_seed": -1}, r"the seed of the split is -1; it must be at least 0"),
        ({"validation_parts": 0}, r"Stamps\.validation_parts is 0; it must be at least 1"),
        ({"validation_parts": 5000}, r"Stamps\.validation_parts is 5000, too many: folds is 5000; it must lie in"),
    ],
)
def test_bad_fields_are_refused_in_one_line(no_media, changes, message):
    with pytest.raises(DataError, match=message) as error:
        dataclasses.replace(TASK, **changes).load()
    assert "\n" not in str(error.value)
