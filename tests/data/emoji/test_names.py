"""EmojiNames: a row for each emoji, artist and language; concepts, an artist and languages are held out."""

import pytest

from mmjax.data.check import check_dataset
from mmjax.data.decode import DataError
from mmjax.data.emoji.names import EmojiNames
from tests.data.emoji.packages import EMOJI, write_packages


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_packages(tmp_path_factory.mktemp("packages"))


def test_rows_are_emoji_by_artist_and_language(root):
    data = EmojiNames(root=root, languages=("en", "de"), test_languages=("en", "tr")).load()
    check_dataset(data)
    for split, styles, languages in (("train", ("google", "twitter"), ("en", "de")), ("test", ("openmoji",), ("en", "tr"))):
        metadata, rows = data.metadata[split], data.splits[split]
        assert set(metadata["style"]) == set(styles) and set(metadata["language"]) == set(languages)
        assert len(rows) == len(set(metadata["id"])) * len(styles) * len(languages)
        pairs = set(zip(metadata["id"].tolist(), metadata["style"].tolist()))
        assert len(set(rows.pointer["image"].tolist())) == len(pairs)
        of_item = dict(zip(rows.targets["item"].tolist(), metadata["id"].tolist()))
        assert [of_item[item] for item in rows.targets["item"].tolist()] == metadata["id"].tolist()
    groups = [set(of["group"].tolist()) for of in data.metadata.values()]
    assert sum(map(len, groups)) == len(set.union(*groups))
    test = data.metadata["test"]
    english = {code: text for code, text, language in zip(test["id"], test["text"], test["language"]) if language == "en"}
    assert english and all(EMOJI[code][0] == text for code, text in english.items())
    assert not any(code == "1F3C3-200D-2640-FE0F" for of in data.metadata.values() for code in of["id"])  # without a name


def test_wrong_fields_are_named(root):
    for fields, message in [
        ({"styles": ("apple",)}, r"EmojiNames.styles has 'apple'; there are google, twitter, openmoji"),
        ({"languages": ()}, r"EmojiNames.languages is \(\); it must have at least one value"),
        ({"fold": 5}, r"EmojiNames.fold is 5 of 5 folds"),
        ({"max_tokens": 0}, r"EmojiNames.max_tokens is 0; it must be from 1"),
    ]:
        with pytest.raises(DataError, match=message):
            EmojiNames(root=root, **fields)
