"""Token ids and texts of tokenizer.model files equal those of the library sentencepiece."""

import io
import json

import numpy as np
import pytest

from mmjax.pretrained.sentence_piece import read_sentence_piece
from mmjax.pretrained.tokenizer_files import read_tokenizer
from tests.parity.pretrained.test_texts import WRITTEN

pytestmark = pytest.mark.parity
WORDS = ("frog", "green", "Crème", "brûlée", "two", "bananas", "straße", "Привет", "МИР", "日本語", "the", "1984", "don't")


def texts(count, seed):
    """Texts of random words, separators and case, with the difficult ones."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        words = random.choice(WORDS, random.integers(1, 12))
        gaps = random.choice([" ", "  ", "\n", "\t", ", ", "-", ""], len(words), p=[0.7, 0.06, 0.04, 0.04, 0.08, 0.04, 0.04])
        made.append("".join(word.upper() * (random.random() < 0.1) or word + gap for word, gap in zip(words, gaps)))
    return made


TRAINING, TESTED = texts(400, 0), [*texts(300, 1), *(text for text in WRITTEN if "<" not in text and "\0" not in text)]
AS_WRITTEN = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
LLAMA = {"model_type": "bpe", "byte_fallback": True, "split_digits": True} | AS_WRITTEN
GEMMA = LLAMA | {"add_dummy_prefix": False, "user_defined_symbols": ["▁▁", "\n", "<mark>"]}
SETTINGS = {
    "unigram": {"model_type": "unigram"},
    "unigram, bytes": {"model_type": "unigram", "byte_fallback": True},
    "unigram as written": {"model_type": "unigram"} | AS_WRITTEN,
    "bpe": {"model_type": "bpe"},
    "bpe of Llama": LLAMA,
    "bpe of Gemma": GEMMA,
}


def trained(folder, settings):
    """tokenizer.model in the folder."""
    import sentencepiece

    model = io.BytesIO()
    vocabulary = 420 if settings.get("byte_fallback") else 160
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TRAINING), model_writer=model, vocab_size=vocabulary, minloglevel=2, hard_vocab_limit=False,
        character_coverage=0.98, **settings,
    )  # fmt: skip
    file = folder / "tokenizer.model"
    file.write_bytes(model.getvalue())
    return file


@pytest.mark.parametrize("name", SETTINGS)
def test_ids_and_texts_equal_sentencepiece(name, tmp_path):
    import sentencepiece

    file = trained(tmp_path, SETTINGS[name])
    theirs, ours = sentencepiece.SentencePieceProcessor(model_file=str(file)), read_sentence_piece(file)
    kept = not SETTINGS[name].get("remove_extra_whitespaces", True) and SETTINGS[name].get("add_dummy_prefix", True)
    for text in TESTED:
        if kept and text.startswith(" "):
            continue  # transformers adds no space before it
        ids = ours.encode(text).ids
        assert ids == theirs.encode(text), text
        if theirs.unk_id() not in ids:
            assert ours.decode(ids) == theirs.decode(ids)


@pytest.mark.parametrize("name", ["LlamaTokenizer", "GemmaTokenizer"])
def test_a_folder_without_tokenizer_json_equals_transformers(name, tmp_path):
    from transformers import AutoTokenizer

    special = {"bos_piece": "<bos>", "eos_piece": "<eos>", "pad_id": 3} if name == "GemmaTokenizer" else {}
    file = trained(tmp_path, (GEMMA if special else LLAMA) | special)
    added = {"content": "<turn>", "special": True, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    size = read_sentence_piece(file).get_vocab_size()
    config = {"tokenizer_class": name, "added_tokens_decoder": {str(size): added}, "add_bos_token": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    theirs, ours = AutoTokenizer.from_pretrained(tmp_path), read_tokenizer(file, ())
    for text in [*TESTED, "<turn>two frogs", "two<turn>", "two<turn>two frogs", "<turn> two", " two"]:
        assert ours.encode(text).ids == theirs(text)["input_ids"], text
