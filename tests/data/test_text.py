"""Names -> numbers: the same tokeniser from the same texts, whatever order, process or hash seed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmjax.data.decode import DataError
from mmjax.data.stamps import dataset as stamps_dataset
from mmjax.data.stamps.dataset import Stamps
from mmjax.data.stamps.pack import StampsPack
from mmjax.data.text import BPE, PAD, STOP_WORDS, UNKNOWN, Characters, Published, WordPiece, Words
from tests.pretrained.tiny import bert_folder

pytest.importorskip("tokenizers")

CHECKOUT = Path(__file__).resolve().parents[2]
TEXTS = ["A red frog.", "Two red frogs, 12 eggs", "The frog's eggs", "An egg", "青蛙", "青蛙和蛋", "Une grenouille"] * 3


@pytest.fixture(scope="module")
def tokenizer():
    return BPE(80).train(TEXTS)


@pytest.fixture(scope="module", params=[BPE(80), Words(80), WordPiece(80), Characters()], ids=lambda k: type(k).__name__)
def any_kind(request):
    return request.param.train(TEXTS)


@pytest.fixture(scope="module")
def names():
    return [record["texts"].get("de", "") for record in StampsPack().index]


def numbers(tokenizer, text, most=50):
    sequence = tokenizer.encode(text, most)
    assert sequence.x.shape == (most,) and sequence.x.dtype == np.int32 and sequence.length.dtype == np.int32
    assert (sequence.x[sequence.length :] == 0).all()
    return sequence.x[: sequence.length].tolist()


KINDS = [BPE(300), Words(300, STOP_WORDS), WordPiece(300), Characters()]


def test_same_texts_same_tokenizer(names):
    """Twice, in other orders, and in a process whose strings hash otherwise: equal to the last merge, for each kind."""
    here = [kind.train(names).library.to_str() for kind in KINDS]
    assert [kind.train(names[::-1]).library.to_str() for kind in KINDS] == here
    assert [kind.train(name for name in sorted(names)).library.to_str() for kind in KINDS] == here
    code = (
        "from mmjax.data.text import *; from mmjax.data.stamps.pack import StampsPack; import sys;"
        "texts = {r['texts'].get('de', '') + '\\n' * i for i, r in enumerate(StampsPack().index)};"  # in hash order
        f"kinds = {KINDS!r}; texts = [t.rstrip('\\n') for t in texts];"
        "sys.stdout.buffer.write('\\0'.join(k.train(texts).library.to_str() for k in kinds).encode())"
    )
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", code]
    there = subprocess.run(command, env=environment, cwd=CHECKOUT, stdout=subprocess.PIPE, check=True).stdout.decode()
    assert there.split("\0") == here


def test_padding_and_unknown(any_kind):
    tokenizer = any_kind
    vocabulary = tokenizer.library.get_vocab()
    assert vocabulary[PAD] == 0 and vocabulary[UNKNOWN] == 1
    assert sorted(vocabulary.values()) == list(range(len(vocabulary))) and len(vocabulary) <= 80
    assert numbers(tokenizer, "🐸") == [1]
    assert 1 not in numbers(tokenizer, "A red frog.") and 0 not in numbers(tokenizer, "A red frog.")


def test_vocabulary_is_a_bound(names):
    letters = {character for name in names for character in name.lower()}
    for most in (150, 400):
        assert len(letters) + 2 < most and BPE(most).train(names).vocabulary <= most


def test_normal_forms(tokenizer):
    """Full-width letters, ligatures and capitals are the plain small letters; combining accents are composed."""
    plain = numbers(tokenizer, "red frog")
    assert plain == numbers(tokenizer, "RED Frog") == numbers(tokenizer, " red\tfrog\n")
    assert plain == numbers(tokenizer, "ｒｅｄ ｆｒｏｇ")
    accents = BPE(20).train(["é fi"] * 3)
    assert numbers(accents, "e\u0301 ﬁ") == numbers(accents, "é fi") and 1 not in numbers(accents, "e\u0301 ﬁ")


def test_frequent_words_are_whole_and_digits_are_not(tokenizer):
    """ "red" comes six times: one token. Digits are one each, so that all numbers can be written."""
    assert len(numbers(tokenizer, "red")) == 1
    one, two = numbers(tokenizer, "1"), numbers(tokenizer, "2")
    assert numbers(tokenizer, "12") == one + two and numbers(tokenizer, "21") == two + one and one != two
    assert len(numbers(tokenizer, "der")) == 3  # the same letters, never joined


def test_nothing_and_other_scripts(tokenizer):
    assert numbers(tokenizer, "") == numbers(tokenizer, "  \n") == []
    assert 1 not in numbers(tokenizer, "青蛙") and numbers(tokenizer, "青蛙") != numbers(tokenizer, "蛋")
    assert set(numbers(tokenizer, "字")) == {1}


def test_cut(tokenizer):
    whole = numbers(tokenizer, "The frog's eggs, 12")
    assert len(whole) > 4 and numbers(tokenizer, "The frog's eggs, 12", most=4) == whole[:4]
    assert numbers(tokenizer, "The frog's eggs, 12", most=len(whole)) == whole


def test_sees_training_names_alone(monkeypatch):
    """`Stamps` encodes like a tokeniser of the training names, and unlike one that saw the other splits too."""
    monkeypatch.setattr(stamps_dataset, "open_source", lambda root: (StampsPack(root), "StampsPack"))
    monkeypatch.setattr(stamps_dataset, "standardised", lambda column, *_: column)  # reads no media
    dataset = stamps_dataset.Stamps(speech_languages=("lt",)).load()
    text = {part: dict(zip(about["id"].tolist(), about["text"].tolist())) for part, about in dataset.about.items()}
    train = list(text["train"].values())
    everything = [name for part in text.values() for name in part.values()]
    ours, leaky = BPE(1000).train(train), BPE(1000).train(everything)
    assert dataset.sizes["text"] == {"vocabulary": ours.vocabulary, "length": 12}
    differ = 0
    for part, rows in dataset.splits.items():
        for pointer, name in dict(zip(rows.pointer["text"].tolist(), dataset.about[part]["text"].tolist())).items():
            got = dataset.columns["text"].read(pointer)
            assert got.x[: got.length].tolist() == numbers(ours, name, 12)
            differ += got.x.tolist() != leaky.encode(name, 12).x.tolist()
    assert differ > 100


def tokens(kind, text):
    return kind.train(TEXTS).library.encode(text).tokens


def test_words():
    """Whole words, numbers and punctuation that come twice or more; the most frequent are kept."""
    assert tokens(Words(80), "Red frogs, 12 lizards.") == ["red", "frogs", ",", "12", UNKNOWN, "."]
    assert Words(80).train(["once", "twice", "Twice"]).library.get_vocab() == {PAD: 0, UNKNOWN: 1, "twice": 2}
    few = Words(4).train(["a a a", "b b b", "c c"])
    assert few.library.get_vocab() == {PAD: 0, UNKNOWN: 1, "a": 2, "b": 3}


def test_stop_words():
    """Whole words alone, in any case, also in pieces of a contraction; what stands in a longer word stays."""
    kind = Words(80, ("the", "A", "s", "...", "[x"))
    assert tokens(kind, "The frog's a egg ... there") == ["frog", "'", "egg", UNKNOWN]
    assert kind.train(TEXTS).numbers("the A") == []
    assert "the" in STOP_WORDS and len(set(STOP_WORDS)) == len(STOP_WORDS) and "frog" not in STOP_WORDS


def test_word_pieces_by_hand():
    """ "ab" five times and "abc" three: a + b first (8 times), then ab + c. The longest piece that fits is taken."""
    trained = WordPiece(100).train(["ab"] * 5 + ["abc"] * 3)
    assert trained.library.get_vocab() == {PAD: 0, UNKNOWN: 1, "a": 2, "##b": 3, "##c": 4, "ab": 5, "abc": 6}
    assert trained.library.encode("ABC ab abb abcc ba").tokens == ["abc", "ab", "ab", "##b", "abc", "##c", UNKNOWN]


def test_word_pieces_put_words_together(names):
    trained = WordPiece(300).train(names)
    vocabulary = trained.library.get_vocab()
    assert trained.vocabulary <= 300 and sorted(vocabulary.values()) == list(range(trained.vocabulary))
    for name in names[::40]:
        pieces = trained.library.encode(name).tokens
        assert "".join(piece.removeprefix("##") for piece in pieces) == "".join(name.lower().split())


def test_hashes_and_rare_characters_in_words():
    """Names of pieces that would be equal, and characters beyond Unicode's second plane: numbers have no holes."""
    trained = WordPiece(100).train(["### ### a### a\U00020000\U00020001", "\U00020000\U00020001"] * 3)
    assert sorted(trained.library.get_vocab().values()) == list(range(trained.vocabulary))


def test_characters():
    """One number each, frequent ones first; blanks count once, and not at the ends."""
    trained = Characters().train(["bb a", "b"])
    assert trained.library.get_vocab() == {PAD: 0, UNKNOWN: 1, "b": 2, " ": 3, "a": 4}
    assert trained.numbers(" A  b\n c") == [4, 3, 2, 3, 1]


@pytest.mark.parametrize("kind", [BPE, Words, WordPiece])
def test_no_vocabulary(kind):
    with pytest.raises(DataError, match=rf"{kind.__name__}\.vocabulary is 0; it must be above 0"):
        kind(0)


def test_published_tokenisers_come_with_their_weights(tmp_path):
    source = str(bert_folder(tmp_path / "bert"))
    tokeniser = Published(source).train(["never read"])
    assert tokeniser.vocabulary == 12
    assert tokeniser.numbers("a green frog") == [2, 4, 5, 6, 3] and tokeniser.numbers("") == []
    cut = tokeniser.encode("a green frog", 4)  # the special token at the end stays
    assert cut.x.tolist() == [2, 4, 5, 3] and cut.length == 4
    padded = tokeniser.encode("two", 6)
    assert padded.x.tolist() == [2, 7, 3, 0, 0, 0] and padded.length == 3
    with pytest.raises(DataError, match="max_tokens is 11, and the published tokeniser cuts after 10"):
        tokeniser.encode("two", 11)
    data = Stamps(image_size=8, tokenizer=Published(source), max_tokens=6, speech_languages=()).load()
    assert data.sizes["text"] == {"vocabulary": 12, "length": 6}
    assert data.columns["text"].read(0).x.shape == (6,)
    (tmp_path / "bert" / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"Published\.source: .* comes with no tokeniser"):
        Published(source).train([])
