"""Names -> numbers: the same tokeniser from the same texts, whatever order, process or hash seed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmjax.data import stamps_task
from mmjax.data.stamps import StampsPack
from mmjax.data.text import PAD, UNKNOWN, encode, train_tokenizer

pytest.importorskip("tokenizers")

CHECKOUT = Path(__file__).resolve().parents[2]
TEXTS = ["A red frog.", "Two red frogs, 12 eggs", "The frog's eggs", "An egg", "青蛙", "青蛙和蛋", "Une grenouille"] * 3


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 80)


@pytest.fixture(scope="module")
def names():
    return [record["texts"].get("de", "") for record in StampsPack().index]


def numbers(tokenizer, text, most=50):
    sequence = encode(tokenizer, text, most)
    assert sequence.x.shape == (most,) and sequence.x.dtype == np.int32 and sequence.length.dtype == np.int32
    assert (sequence.x[sequence.length :] == 0).all()
    return sequence.x[: sequence.length].tolist()


def test_same_texts_same_tokenizer(names):
    """Twice, in other orders, and in processes whose strings hash otherwise: equal to the last merge."""
    here = train_tokenizer(names, 300).to_str()
    assert train_tokenizer(names[::-1], 300).to_str() == here
    assert train_tokenizer((name for name in sorted(names)), 300).to_str() == here
    code = (
        "from mmjax.data.text import train_tokenizer; from mmjax.data.stamps import StampsPack; import sys;"
        "texts = {r['texts'].get('de', '') + '\\n' * i for i, r in enumerate(StampsPack().index)};"  # in hash order
        "sys.stdout.buffer.write(train_tokenizer([t.rstrip('\\n') for t in texts], 300).to_str().encode())"
    )
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code]
        assert (
            subprocess.run(command, env=environment, cwd=CHECKOUT, stdout=subprocess.PIPE, check=True).stdout.decode()
            == here
        )


def test_padding_and_unknown(tokenizer):
    vocabulary = tokenizer.get_vocab()
    assert vocabulary[PAD] == 0 and vocabulary[UNKNOWN] == 1
    assert sorted(vocabulary.values()) == list(range(len(vocabulary))) and len(vocabulary) <= 80
    assert numbers(tokenizer, "🐸") == [1]
    assert 1 not in numbers(tokenizer, "A red frog.") and 0 not in numbers(tokenizer, "A red frog.")


def test_vocabulary_is_a_bound(names):
    letters = {character for name in names for character in name.lower()}
    for most in (150, 400):
        assert len(letters) + 2 < most and train_tokenizer(names, most).get_vocab_size() <= most


def test_normal_forms(tokenizer):
    """Full-width letters, ligatures and capitals are the plain small letters; combining accents are composed."""
    plain = numbers(tokenizer, "red frog")
    assert plain == numbers(tokenizer, "RED Frog") == numbers(tokenizer, " red\tfrog\n")
    assert plain == numbers(tokenizer, "ｒｅｄ ｆｒｏｇ")
    accents = train_tokenizer(["é fi"] * 3, 20)
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
    monkeypatch.setattr(stamps_task, "open_source", lambda root: (StampsPack(root), "StampsPack"))
    monkeypatch.setattr(stamps_task, "standardised", lambda column, pointer: column)  # reads no media
    dataset = stamps_task.Stamps(speech_languages=("lt",)).load()
    text = {part: dict(zip(about["id"].tolist(), about["text"].tolist())) for part, about in dataset.about.items()}
    train = list(text["train"].values())
    everything = [name for part in text.values() for name in part.values()]
    ours, leaky = train_tokenizer(train, 1000), train_tokenizer(everything, 1000)
    assert dataset.sizes["text"] == {"vocabulary": ours.get_vocab_size(), "length": 12}
    differ = 0
    for part, rows in dataset.splits.items():
        for pointer, name in dict(zip(rows.pointer["text"].tolist(), dataset.about[part]["text"].tolist())).items():
            got = dataset.columns["text"].read(pointer)
            assert got.x[: got.length].tolist() == numbers(ours, name, 12)
            differ += got.x.tolist() != encode(leaky, name, 12).x.tolist()
    assert differ > 100
