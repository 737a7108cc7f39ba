"""Tokenizers: the same from the same texts in any order, process and hash seed; tokens by hand."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmjax.data.decode import DataError
from mmjax.data.stamps import dataset as stamps_dataset
from mmjax.data.stamps.pack import StampsPack
from mmjax.data.text import (
    BPE,
    PAD,
    STOP_WORDS,
    UNKNOWN,
    Characters,
    Subwords,
    Tokenizer,
    TokenizerTrainer,
    WordPiece,
    Words,
    text_targets,
)

pytest.importorskip("tokenizers")

CHECKOUT = Path(__file__).resolve().parents[2]
TEXTS = ["A red frog.", "Two red frogs, 12 eggs", "The frog's eggs", "An egg", "青蛙", "青蛙和蛋", "Une grenouille"] * 3


@pytest.fixture(scope="module")
def tokenizer():
    return BPE(80).train(TEXTS)


EACH = [BPE(80), Subwords(80), Words(80), WordPiece(80), Characters()]


@pytest.fixture(scope="module", params=EACH, ids=lambda kind: type(kind).__name__)
def any_kind(request):
    return request.param.train(TEXTS)


@pytest.fixture(scope="module")
def names():
    return [record["texts"].get("de", "") for record in StampsPack().index]


def ids(tokenizer, text, max_tokens=50):
    sequence = tokenizer.encode(text, max_tokens)
    assert sequence.x.shape == (max_tokens,) and sequence.x.dtype == np.int32 and sequence.length.dtype == np.int32
    assert (sequence.x[sequence.length :] == 0).all()
    return sequence.x[: sequence.length].tolist()


KINDS = [BPE(300), Subwords(300), Words(300, STOP_WORDS), WordPiece(300), Characters()]


def test_same_texts_same_tokenizer(names):
    """Twice, in other orders, and in a process with other hashes: equal to the last merge."""
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
    assert isinstance(tokenizer, Tokenizer) and all(isinstance(trainer, TokenizerTrainer) for trainer in KINDS)
    vocabulary = tokenizer.library.get_vocab()
    assert vocabulary[PAD] == 0 and vocabulary[UNKNOWN] == 1
    assert sorted(vocabulary.values()) == list(range(len(vocabulary))) and len(vocabulary) <= 80
    assert ids(tokenizer, "🐸")[-1] == 1 and len(ids(tokenizer, "🐸")) < 3  # `Subwords` have the space before it as a token
    assert 1 not in ids(tokenizer, "A red frog.") and 0 not in ids(tokenizer, "A red frog.")


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        (Subwords(80), "a red frog, 12 eggs"),
        (Subwords(80, lowercase=False), "A red frog, 12 eggs"),
        (Characters(), "a red frog, 12 eggs"),
        (WordPiece(80), "a red frog, 1 2 eggs"),  # every digit is a word
        (Words(80), "a red frog , 12 eggs"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_ids_become_text_again(trainer, expected):
    tokenizer = trainer.train([*TEXTS, "A red frog, 12 eggs", "A red frog, 12 eggs"])
    found = tokenizer.ids("A red frog, 12 eggs")
    assert tokenizer.text(found) == expected
    assert tokenizer.text([*found, 0, -1, 5]) == tokenizer.text(np.array(found)) == expected
    assert tokenizer.text([]) == tokenizer.text([-1]) == ""


def test_targets_of_a_decoder():
    tokenizer = Words(80).train(TEXTS)
    red, frog = tokenizer.ids("red frog")
    values, truncated = text_targets(tokenizer, {0: "red frog", 2: "red frog red frog"}, 3, 4)
    assert values.tolist() == [[red, frog, 0, -1], [-1] * 4, [red, frog, red, frog]] and truncated == 1


def test_the_vocabulary_is_limited(names):
    letters = {character for name in names for character in name.lower()}
    for limit in (150, 400):
        assert len(letters) + 2 < limit and BPE(limit).train(names).vocabulary <= limit


def test_normalisation(tokenizer):
    """Full-width letters, ligatures and capitals become plain lower case; combining accents are composed."""
    plain = ids(tokenizer, "red frog")
    assert plain == ids(tokenizer, "RED Frog") == ids(tokenizer, " red\tfrog\n")
    assert plain == ids(tokenizer, "ｒｅｄ ｆｒｏｇ")
    accents = BPE(20).train(["é fi"] * 3)
    assert ids(accents, "e\u0301 ﬁ") == ids(accents, "é fi") and 1 not in ids(accents, "e\u0301 ﬁ")


def test_frequent_words_are_whole_and_digits_are_not(tokenizer):
    """ "red" occurs six times: one token. Every digit is a token, so all numbers can be written."""
    assert len(ids(tokenizer, "red")) == 1
    one, two = ids(tokenizer, "1"), ids(tokenizer, "2")
    assert ids(tokenizer, "12") == one + two and ids(tokenizer, "21") == two + one and one != two
    assert len(ids(tokenizer, "der")) == 3  # the same letters, but never merged


def test_empty_text_and_other_scripts(tokenizer):
    assert ids(tokenizer, "") == ids(tokenizer, "  \n") == []
    assert 1 not in ids(tokenizer, "青蛙") and ids(tokenizer, "青蛙") != ids(tokenizer, "蛋")
    assert set(ids(tokenizer, "字")) == {1}


def test_truncation(tokenizer):
    whole = ids(tokenizer, "The frog's eggs, 12")
    assert len(whole) > 4 and ids(tokenizer, "The frog's eggs, 12", max_tokens=4) == whole[:4]
    assert ids(tokenizer, "The frog's eggs, 12", max_tokens=len(whole)) == whole


def test_stamps_train_the_tokenizer_on_training_names_alone(monkeypatch):
    """The tokens are those of a tokenizer of the training names, not of one that was trained on all splits."""
    monkeypatch.setattr(stamps_dataset, "open_source", lambda root: (StampsPack(root), "StampsPack"))
    monkeypatch.setattr(stamps_dataset, "standardized", lambda column, *_: column)  # reads no media
    dataset = stamps_dataset.Stamps(speech_languages=("lt",)).load()
    text = {split: dict(zip(m["id"].tolist(), m["text"].tolist())) for split, m in dataset.metadata.items()}
    train = list(text["train"].values())
    everything = [name for names in text.values() for name in names.values()]
    ours, leaky = BPE(1000).train(train), BPE(1000).train(everything)
    assert dataset.sizes["text"] == {"vocabulary": ours.vocabulary, "length": 12}
    differ = 0
    for split, rows in dataset.splits.items():
        for pointer, name in dict(zip(rows.pointer["text"].tolist(), dataset.metadata[split]["text"].tolist())).items():
            found = dataset.columns["text"].read(pointer)
            assert found.x[: found.length].tolist() == ids(ours, name, 12)
            differ += found.x.tolist() != leaky.encode(name, 12).x.tolist()
    assert differ > 100


def tokens(trainer, text):
    return trainer.train(TEXTS).library.encode(text).tokens


def test_words():
    """Words, numbers and punctuation that occur twice or more; the most frequent are kept."""
    assert tokens(Words(80), "Red frogs, 12 lizards.") == ["red", "frogs", ",", "12", UNKNOWN, "."]
    assert Words(80).train(["once", "twice", "Twice"]).library.get_vocab() == {PAD: 0, UNKNOWN: 1, "twice": 2}
    few = Words(4).train(["a a a", "b b b", "c c"])
    assert few.library.get_vocab() == {PAD: 0, UNKNOWN: 1, "a": 2, "b": 3}


def test_stop_words():
    """Whole words in any case, also the pieces of a contraction; parts of longer words stay."""
    trainer = Words(80, ("the", "A", "s", "...", "[x"))
    assert tokens(trainer, "The frog's a egg ... there") == ["frog", "'", "egg", UNKNOWN]
    assert trainer.train(TEXTS).ids("the A") == []
    assert "the" in STOP_WORDS and len(set(STOP_WORDS)) == len(STOP_WORDS) and "frog" not in STOP_WORDS


def test_word_pieces_by_hand():
    """ "ab" five times and "abc" three times: a + b is merged first (8 times), then ab + c. The longest match is used."""
    trained = WordPiece(100).train(["ab"] * 5 + ["abc"] * 3)
    assert trained.library.get_vocab() == {PAD: 0, UNKNOWN: 1, "a": 2, "##b": 3, "##c": 4, "ab": 5, "abc": 6}
    assert trained.library.encode("ABC ab abb abcc ba").tokens == ["abc", "ab", "ab", "##b", "abc", "##c", UNKNOWN]


def test_word_pieces_spell_the_text(names):
    trained = WordPiece(300).train(names)
    vocabulary = trained.library.get_vocab()
    assert trained.vocabulary <= 300 and sorted(vocabulary.values()) == list(range(trained.vocabulary))
    for name in names[::40]:
        pieces = trained.library.encode(name).tokens
        assert "".join(piece.removeprefix("##") for piece in pieces) == "".join(name.lower().split())


def test_hashes_and_rare_characters_in_words():
    """With pieces whose names coincide, and characters beyond the second plane of Unicode, the ids have no gaps."""
    trained = WordPiece(100).train(["### ### a### a\U00020000\U00020001", "\U00020000\U00020001"] * 3)
    assert sorted(trained.library.get_vocab().values()) == list(range(trained.vocabulary))


def test_characters():
    """One id each, frequent ones first; runs of spaces count once, and not at the ends."""
    trained = Characters().train(["bb a", "b"])
    assert trained.library.get_vocab() == {PAD: 0, UNKNOWN: 1, "b": 2, " ": 3, "a": 4}
    assert trained.ids(" A  b\n c") == [4, 3, 2, 3, 1]


@pytest.mark.parametrize("trainer", [BPE, Words, WordPiece])
def test_a_vocabulary_of_zero_is_refused(trainer):
    with pytest.raises(DataError, match=rf"{trainer.__name__}\.vocabulary is 0; it must be above 0"):
        trainer(0)
