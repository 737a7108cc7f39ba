"""The settings of tokenizer_config.json change token ids as in transformers or are refused; also with a vocab.txt alone."""

import json

import numpy as np
import pytest

from mmjax.pretrained import WeightsError
from mmjax.pretrained.source import Source
from mmjax.pretrained.texts import TextPreprocessing
from tests.parity.pretrained.test_texts import KINDS, varied

pytestmark = pytest.mark.parity
LIMIT = 24

BERT, ROBERTA, XLM = ({"tokenizer_class": f"{name}Tokenizer"} for name in ("Bert", "Roberta", "XLMRoberta"))
CASES = {  # (tokenizer, settings, whether only vocab.txt is there)
    "no settings": ("word_piece", {}, False),
    "cased": ("word_piece", BERT | {"do_lower_case": False}, False),
    "lower case, accents kept": ("word_piece", BERT | {"do_lower_case": True, "strip_accents": False}, False),
    "cased, accents stripped": ("word_piece", BERT | {"do_lower_case": False, "strip_accents": True}, False),
    "accents as by lower case": ("word_piece", BERT | {"do_lower_case": True, "strip_accents": None}, False),
    "Chinese words": ("word_piece", BERT | {"tokenize_chinese_chars": False}, False),
    "all of BERT's": (
        "word_piece",
        BERT | {"do_lower_case": False, "strip_accents": True, "tokenize_chinese_chars": False, "truncation_side": "left"},
        False,
    ),
    "an older class": ("word_piece", {"tokenizer_class": "DistilBertTokenizerFast", "do_lower_case": False}, False),
    "cut at the left": ("word_piece", BERT | {"truncation_side": "left"}, False),
    "a class without own rules": ("word_piece", {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": False}, False),
    "vocab.txt": ("word_piece", {}, True),
    "vocab.txt, cased": ("word_piece", BERT | {"do_lower_case": False, "truncation_side": "left"}, True),
    "vocab.txt, Chinese words": ("word_piece", {"tokenize_chinese_chars": False, "strip_accents": False}, True),
    "RoBERTa": ("byte_pairs", ROBERTA, False),
    "RoBERTa with a space": ("byte_pairs", ROBERTA | {"add_prefix_space": True, "truncation_side": "left"}, False),
    "XLM-R without a space": ("unigram", XLM | {"add_prefix_space": False}, False),
    "XLM-R cut at the left": ("unigram", XLM | {"truncation_side": "left"}, False),
}


def read(kind, settings, vocabulary_only, folder):
    make, model_type, *_ = KINDS[kind]
    tokens, own = make()
    if vocabulary_only:
        ids = tokens.get_vocab()
        (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in sorted(ids, key=ids.get)))
    else:
        tokens.save(str(folder / "tokenizer.json"))
    if settings:
        padding = {} if vocabulary_only else {"pad_token": own["pad_token"]}
        (folder / "tokenizer_config.json").write_text(json.dumps(padding | settings))
    config = {"model_type": model_type}
    (folder / "config.json").write_text(json.dumps(config))
    return TextPreprocessing.of(Source("here", config, {}, folder), LIMIT)


@pytest.mark.parametrize("name", CASES)
def test_ids_equal_the_originals(name, tmp_path):
    from transformers import AutoTokenizer

    ours = read(*CASES[name], tmp_path)
    batch = ours.batch(varied())
    original = AutoTokenizer.from_pretrained(tmp_path)
    theirs = original(varied(), truncation=True, max_length=LIMIT)["input_ids"]
    for row, text in enumerate(varied()):
        np.testing.assert_array_equal(batch.x[row, : batch.length[row]], theirs[row], text)
    assert len(np.unique(batch.x)) > 50


def test_each_setting_changes_tokens(tmp_path):
    """Otherwise the comparison above could not fail. The trainer numbers words differently each time, so words are compared."""
    tokens = {}
    for name, case in CASES.items():
        folder = tmp_path / name
        folder.mkdir()
        tokens[name] = [encoding.tokens for encoding in read(*case, folder).library.encode_batch(varied())]
    differing = lambda one, other: sum(x != y for x, y in zip(tokens[one], tokens[other]))
    for changed in ("cased", "lower case, accents kept", "Chinese words", "all of BERT's", "cut at the left"):
        assert differing("no settings", changed) > 3, changed
    assert differing("cased", "cased, accents stripped") > 3
    assert differing("RoBERTa", "RoBERTa with a space") > 50
    assert differing("XLM-R without a space", "XLM-R cut at the left") > 50
    assert differing("no settings", "vocab.txt") == 0 and differing("no settings", "accents as by lower case") == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"padding_side": "left"}, "padding_side = 'left'; only 'right'"),
        ({"truncation_side": "middle"}, "truncation_side = 'middle'; only 'right', 'left'"),
        ({"split_special_tokens": True}, "split_special_tokens = True; only False"),
        ({"strip_accents": "yes"}, "strip_accents = 'yes'; it must be true, false or null"),
        ({"do_lower_case": "yes"}, "do_lower_case = 'yes'; it must be true or false"),
        ({"tokenize_chinese_chars": 1}, "tokenize_chinese_chars = 1; it must be true or false"),
        ({"tokenizer_class": "XLNetTokenizer"}, "the tokenizer is a XLNetTokenizer without tokenizer.json"),
        ({"cls_token": "<cls>"}, "the special tokens <cls> are missing"),
    ],
)
def test_settings_that_are_refused(settings, message, tmp_path):
    with pytest.raises(WeightsError, match=message):
        read("word_piece", settings, True, tmp_path)
