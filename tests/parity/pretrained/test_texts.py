"""Text preprocessing equals transformers' AutoTokenizer on 100 varied texts, with tokenizers trained here and MiniLM's own."""

import json
import os
import pickle
import re
import string

import numpy as np
import pytest

from mmjax.pretrained import WeightsError, load
from mmjax.pretrained.source import Source
from mmjax.pretrained.texts import TextPreprocessing

pytestmark = pytest.mark.parity

WRITTEN = [
    "",
    " ",
    "a",
    "A green frog.",
    "two bananas",
    "The quick brown fox jumps over the lazy dog.",
    "don't we're it's I'll he'd",
    "\t\ttabs\tand  spaces ",
    "line\nline\r\nline",
    "\u00a0no\u2009break\u3000space",
    "😀",
    "a 🐸 frog 🍌🍌",
    "👩‍👩‍👧‍👦 👍🏽 🇫🇷",
    "中文字符",
    "绿色的青蛙。Two 香蕉",
    "日本語のテキスト",
    "カタカナ ﾊﾝｶｸ",
    "한국어 텍스트",
    "שלום עולם",
    "مرحبا بالعالم",
    "\u202bright\u202c to left",
    "Crème brûlée à la façon",
    "Cre\u0300me bru\u0302le\u0301e",
    "STRASSE straße",
    "İstanbul ISPARTA ı",
    "ΟΔΥΣΣΕΥΣ ὀδυσσεύς",
    "Ångström ÅNGSTRÖM",
    "Привет, МИР!",
    "Ελληνικά",
    "हिन्दी पाठ",
    "ไทย",
    "ﬁne ﬂour ½ Ⅳ ²",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    "1234567890 3.14 1,000",
    "a_b-c/d\\\\e@f#g$h%i^j&k*l",
    "[CLS] [SEP] [MASK] [PAD]",
    "<s></s><pad><mask><unk>",
    "<|startoftext|>x<|endoftext|>y",
    "<bos>x<eos>",
    "\u0000\u0001\u0007",
    "\ufeffmark\u200b\u200d",
    "\ufffd \ufffe",
    "a" * 300,
    "frog " * 200,
    "蛙" * 150,
    "🐸" * 100,
    "...!!!???",
    "CamelCaseWords",
    "e-mail: someone@example.org",
    "''\"\"``",
]


def varied():
    """100 texts: those above, then random characters from several Unicode blocks."""
    random = np.random.default_rng(0)
    blocks = [
        (0x20, 0x7F),
        (0xA0, 0x250),
        (0x370, 0x600),
        (0x900, 0xE00),
        (0x2000, 0x2C00),
        (0x4E00, 0x9FFF),
        (0x1F300, 0x1F700),
    ]
    texts = list(WRITTEN)
    while len(texts) < 100:
        words = []
        for low, high in (blocks[i] for i in random.integers(len(blocks), size=random.integers(1, 9))):
            words.append("".join(chr(point) for point in random.integers(low, high, size=random.integers(1, 7))))
        texts.append(" ".join(words))
    return texts


def word_piece():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokens.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokens.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokens.train_from_iterator(varied(), trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False))
    tokens.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokens, {"tokenizer_class": "BertTokenizer", "pad_token": "[PAD]", "do_lower_case": True}


def byte_pairs():
    from tokenizers import ByteLevelBPETokenizer, processors

    trained = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(varied(), vocab_size=500, special_tokens=special, show_progress=False)
    trained._tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False)
    return trained._tokenizer, {
        "tokenizer_class": "RobertaTokenizer",
        "pad_token": {"__type": "AddedToken", "content": "<pad>"},
    }


def clip():
    """The original's class with a small vocabulary and a few merges."""
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e</w>"), ("f", "r"), ("o", "g</w>"), ("fr", "og</w>"), ("a", "n"), ("an", "an"), ("ð", "Ł")]
    words = letters + [f"{letter}</w>" for letter in letters] + ["".join(pair) for pair in merges]
    vocabulary = {word: number for number, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    original = CLIPTokenizer(vocabulary, merges)
    return original.backend_tokenizer, {"tokenizer_class": "CLIPTokenizer", "pad_token": "<|endoftext|>"}


def unigram(normalizer=None, special=("<s>", "<pad>", "</s>", "<unk>", "<mask>"), template="<s> $A </s>"):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    tokens = Tokenizer(models.Unigram())
    if normalizer:
        tokens.normalizer = normalizer
    tokens.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    trainer = trainers.UnigramTrainer(vocab_size=600, special_tokens=list(special), unk_token="<unk>", show_progress=False)
    tokens.train_from_iterator(WRITTEN, trainer)  # so the other texts contain unknown characters
    numbered = [(one, tokens.token_to_id(one)) for one in special if one in template]
    tokens.post_processor = processors.TemplateProcessing(single=template, special_tokens=numbered)
    return tokens, {"tokenizer_class": "XLMRobertaTokenizer", "pad_token": "<pad>"}


def siglip():
    """Lowercased, without punctuation, as by the authors' `canonicalize_text`; the file has the rules. Padded with the end."""
    from tokenizers import Regex, normalizers

    steps = [normalizers.Lowercase(), normalizers.Replace(Regex(r"[!-/:-@\[-`{-~]"), ""), normalizers.Strip()]
    tokens, _ = unigram(normalizers.Sequence(steps), ("<pad>", "</s>", "<unk>"), "$A </s>")
    return tokens, {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "</s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }


def siglip2():
    """Gemma's tokenizer. Only the original's class, not its file, lowercases."""
    from transformers import Siglip2Tokenizer

    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    words = special + [f"<0x{byte:02X}>" for byte in range(256)] + [*"▁abcdefghijklmnopqrstuvwxyz", "th", "the", "▁the"]
    merges = [("t", "h"), ("th", "e"), ("▁", "the")]
    original = Siglip2Tokenizer({word: number for number, word in enumerate(words)}, merges)
    tokens = original.backend_tokenizer
    tokens.normalizer = tokens.normalizer[1]
    return tokens, {"tokenizer_class": "Siglip2Tokenizer", "pad_token": "<pad>", "padding_side": "right"}


KINDS = {  # name -> (function, model_type, longest, attend_to_padding)
    "word_piece": (word_piece, "bert", 40, False),
    "byte_pairs": (byte_pairs, "roberta", 50, False),
    "clip": (clip, "clip", 77, False),
    "unigram": (unigram, "xlm-roberta", 30, False),
    "siglip": (siglip, "siglip", 64, True),
    "siglip2": (siglip2, "siglip2", 64, True),
}


def saved(kind, folder):
    make, model_type, longest, attend_to_padding = KINDS[kind]
    tokens, settings = make()
    tokens.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": longest}))
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return TextPreprocessing.of(Source(str(folder), {}, {}, folder), 100, attend_to_padding=attend_to_padding)


def assert_equal_to_original(ours, folder):
    from transformers import AutoTokenizer

    original = AutoTokenizer.from_pretrained(folder)
    padding = "max_length" if ours.attend_to_padding else "longest"
    theirs = original(varied(), truncation=True, padding=padding, max_length=ours.max_tokens)
    batch = ours.batch(varied())
    np.testing.assert_array_equal(batch.x, theirs["input_ids"])
    lengths = np.full(100, ours.max_tokens) if ours.attend_to_padding else np.sum(theirs["attention_mask"], axis=1)
    np.testing.assert_array_equal(batch.length, lengths)
    assert len(np.unique(batch.x)) > 50
    for row, text in enumerate(varied()):
        single = ours.read(text)
        assert single.x.shape == (ours.max_tokens,) and single.length == batch.length[row], text
        np.testing.assert_array_equal(single.x[: batch.x.shape[1]], batch.x[row], text)
        assert (single.x[batch.x.shape[1] :] == ours.padding).all(), text


@pytest.mark.parametrize("kind", KINDS)
def test_ids_equal_the_originals(kind, tmp_path):
    assert_equal_to_original(saved(kind, tmp_path), tmp_path)


def test_the_tokenizer_of_minilm():
    weights = load("minilm")
    assert weights.preprocessing.max_tokens == 256  # from sentence_bert_config.json; the model has 512 positions
    assert_equal_to_original(weights.preprocessing, weights.folder)


def canonical(text):
    """SiglipTokenizer.canonicalize_text, reimplemented since that class needs sentencepiece. Python's `lower` maps a capital
    sigma at the end of a word to another character than the library does."""
    return re.sub(r"\s+", " ", text.lower().translate(str.maketrans("", "", string.punctuation))).strip()


def test_siglips_class_removes_punctuation(tmp_path):
    tokens, _ = unigram(None, ("<pad>", "</s>", "<unk>"), "$A </s>")
    tokens.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "SiglipTokenizer", "pad_token": "</s>"}')
    ours = TextPreprocessing.of(Source("", {}, {}, tmp_path), 64, attend_to_padding=True)
    tokens.enable_truncation(64)
    changed = 0
    for text in varied():
        if not any(special in text for special in ("</s>", "<pad>", "<unk>", "Σ")):
            ids = tokens.encode(canonical(text)).ids
            changed += ids != tokens.encode(text).ids
            np.testing.assert_array_equal(ours.read(text).x[: len(ids)], ids, text)
    assert changed > 20


@pytest.mark.parametrize("text", ["a frog", "<|startoftext|>x<|endoftext|>y z", "<|endoftext|>"])
def test_a_text_ends_at_its_first_end_token(text, tmp_path):
    """CLIP reads the embedding of the text there."""
    plain = saved("clip", tmp_path)
    end = plain.padding
    ours = TextPreprocessing.of(Source("", {}, {}, tmp_path), 20, end=end).read(text)
    assert ours.length == list(plain.read(text).x).index(end) + 1


def test_a_tokenizer_is_read_again_only_if_its_file_changes(tmp_path, monkeypatch):
    ours = saved("word_piece", tmp_path)
    first = ours.batch(["frog"])
    again = pickle.loads(pickle.dumps(ours))
    assert again == ours and hash(again) == hash(ours)
    monkeypatch.setattr("mmjax.pretrained.tokenizer_files.read_tokenizer", lambda *given: pytest.fail("read again"))
    np.testing.assert_array_equal(again.batch(["frog"]).x, first.x)
    monkeypatch.undo()
    word_piece()[0].save(str(tmp_path / "tokenizer.json"))
    byte_pairs()[0].save(str(tmp_path / "tokenizer.json"))
    os.utime(tmp_path / "tokenizer.json", ns=(1, 1))
    assert list(ours.read("frog").x) != list(first.x[0])


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("tokenizer.json", "{}", "tokenizer.json: not a tokenizer"),
        ("tokenizer_config.json", "[1]", "tokenizer_config.json: it must hold a JSON object"),
        ("tokenizer_config.json", '{"pad_token": "<none>"}', r"pad_token = '<none>', which tokenizer.json lacks"),
        ("tokenizer_config.json", '{"padding_side": "left"}', "padding_side = 'left'"),
        ("sentence_bert_config.json", '{"do_lower_case": true}', "do_lower_case"),
    ],
)
def test_invalid_settings(file, text, message, tmp_path):
    saved("siglip", tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(WeightsError, match=message):
        TextPreprocessing.of(Source(str(tmp_path), {}, {}, tmp_path), 100, attend_to_padding=True).read("a")
