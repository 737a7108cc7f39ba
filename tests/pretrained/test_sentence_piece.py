"""tokenizer.model of SentencePiece; `tests/parity` compares with the library sentencepiece."""

import json
import struct

import pytest

from mmjax.pretrained import WeightsError
from mmjax.pretrained.tokenizer_files import read_tokenizer

UNIGRAM, BPE, WORD = 1, 2, 3
NORMAL, UNKNOWN, CONTROL = 1, 2, 3


def block(number, content):
    """A field of bytes, shorter than 128, in protobuf's format."""
    return bytes([number << 3 | 2, len(content)]) + content


def model(kind, pieces, normalizer=b"\x20\x00"):
    """pieces: {text: (score, type)}. normalizer: here remove_extra_whitespaces = false."""
    made = b""
    for text, (score, own) in pieces.items():
        made += block(1, block(1, text.encode()) + b"\x15" + struct.pack("<f", score) + bytes([0x18, own]))
    return made + block(2, bytes([0x18, kind])) + block(3, normalizer)


START = {"<unk>": (0, UNKNOWN), "<s>": (0, CONTROL), "</s>": (0, CONTROL)}
SCORES = {"▁": -9, "a": -8, "b": -7, "ab": -1, "ba": -2, "▁a": -3}
SMALL = START | {token: (score, NORMAL) for token, score in SCORES.items()}


def written(folder, content, **config):
    file = folder / "tokenizer.model"
    file.write_bytes(content)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"} | config))
    return file


def test_bpe_merges_the_pair_with_the_highest_score_first(tmp_path):
    library = read_tokenizer(written(tmp_path, model(BPE, SMALL)), ())
    assert library.encode("aba").tokens == ["<s>", "▁", "ab", "a"]  # ab before ▁a and ba, although they come earlier or later
    assert library.encode("ba").tokens == ["<s>", "▁", "ba"]
    assert library.encode("a c").tokens == ["<s>", "▁a", "▁", "<unk>"]
    assert library.decode(library.encode("ab ab").ids) == "ab ab"


def test_a_unigram_model_maximises_the_sum_of_scores(tmp_path):
    library = read_tokenizer(written(tmp_path, model(UNIGRAM, SMALL), add_eos_token=True), ())
    assert library.encode("aba").tokens == ["<s>", "▁a", "ba", "</s>"]  # -3 - 2 = -5; ▁ ab a has -18


def test_tokens_of_the_settings_are_added(tmp_path):
    added = {"9": {"content": "<turn>", "special": True}}
    library = read_tokenizer(written(tmp_path, model(BPE, SMALL), added_tokens_decoder=added, add_bos_token=False), ())
    assert library.encode("ab<turn>ab").tokens == ["▁", "ab", "<turn>", "ab"]
    assert library.encode("ab<turn>ab").ids == [3, 6, 9, 6]


HOSTILE = {
    "no model": (b"\xff\xff\xff", {}, "not a SentencePiece model"),
    "empty": (b"", {}, "tokens must be different texts"),
    "words": (model(WORD, SMALL), {}, "the model type is word; supported are unigram and bpe"),
    "repeated": (model(BPE, SMALL) + block(1, block(1, b"a")), {}, "tokens must be different texts"),
    "nan": (model(BPE, SMALL | {"c": (float("nan"), NORMAL)}), {}, "the score of the token 'c' is not finite"),
    "no unknown": (model(BPE, {"a": (0, NORMAL)}), {}, "it must have one unknown token"),
    "odd type": (model(BPE, SMALL | {"c": (0, 77)}), {}, "the types 1 to 6"),
    "bytes": (model(BPE, SMALL) + block(2, b"\x98\x02\x01"), {}, "has 0 tokens of bytes"),
    "spaces": (model(BPE, SMALL, b"\x28\x00"), {}, "spaces must be written as ▁"),
    "class": (model(BPE, SMALL), {"tokenizer_class": "T5Tokenizer"}, "is a T5Tokenizer without tokenizer.json"),
    "added": (model(BPE, SMALL), {"added_tokens_decoder": {"70": {"content": "<turn>"}}}, "70 = .* the id of a new token, 10"),
    "start": (model(BPE, SMALL), {"bos_token": "<begin>"}, "it lacks '<begin>'"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_one_line(name, tmp_path):
    content, config, message = HOSTILE[name]
    with pytest.raises(WeightsError, match=message) as refused:
        read_tokenizer(written(tmp_path, content, **config), ())
    assert "\n" not in str(refused.value)
