"""The tokenizer beside published weights, as the tokenizer of a data set."""

import pytest

from mmjax.data.decode import DataError
from mmjax.data.stamps import dataset as stamps_dataset
from mmjax.data.stamps.dataset import Stamps
from mmjax.data.stamps.pack import StampsPack
from mmjax.data.text import Tokenizer
from mmjax.pretrained import load_encoder
from mmjax.pretrained.tokenizer import Published
from tests.pretrained.tiny import WORDS, bert_folder

pytest.importorskip("tokenizers")


@pytest.fixture
def source(tmp_path):
    return str(bert_folder(tmp_path / "bert"))


def test_ids_have_the_special_tokens(source):
    """The folder's vocabulary of 12: [CLS] is 2, [SEP] is 3, "a green frog" 4 to 6, "two" 7."""
    tokenizer = Published(source).train(["not used"])
    assert isinstance(tokenizer, Tokenizer) and tokenizer.vocabulary == 12
    assert tokenizer.ids("a green frog") == [2, 4, 5, 6, 3] and tokenizer.ids("") == []
    truncated = tokenizer.encode("a green frog", 4)
    assert truncated.x.tolist() == [2, 4, 5, 3] and truncated.length == 4
    padded = tokenizer.encode("two", 6)
    assert padded.x.tolist() == [2, 7, 3, 0, 0, 0] and padded.length == 3


def test_a_folder_with_only_vocab_txt(source, tmp_path):
    """Lowercased and without accents unless tokenizer_config.json says otherwise; longer texts lose their first words."""
    folder = tmp_path / "bert"
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join([*WORDS[:-1], "##s", ""]))
    ids = lambda text: load_encoder(source).preprocessing.read(text).x.tolist()
    assert ids("A gréen FROGS") == [2, 4, 5, 6, 11, 3, 0, 0, 0, 0]
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false, "truncation_side": "left"}')
    assert ids("A gréen frog") == [2, 1, 1, 6, 3, 0, 0, 0, 0, 0]
    assert ids("two " * 9 + "red") == [2, *[7] * 7, 8, 3]


def test_more_tokens_than_the_encoder_accepts(source):
    with pytest.raises(DataError, match="max_tokens is 11, but the published tokenizer truncates texts to 10"):
        Published(source).train([]).encode("two", 11)


def test_stamps_with_a_published_tokenizer(source, monkeypatch):
    monkeypatch.setattr(stamps_dataset, "open_source", lambda root: (StampsPack(root), "StampsPack"))
    monkeypatch.setattr(stamps_dataset, "standardized", lambda column, *_: column)  # reads no media
    data = Stamps(image_size=8, tokenizer=Published(source), max_tokens=6, speech_languages=()).load()
    assert data.sizes["text"] == {"vocabulary": 12, "length": 6}
    assert data.columns["text"].read(0).x.shape == (6,)


def test_weights_without_a_tokenizer(source, tmp_path):
    (tmp_path / "bert" / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"Published\.source: .* comes without a tokenizer"):
        Published(source).train([])
