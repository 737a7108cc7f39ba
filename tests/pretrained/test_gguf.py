"""GGUF files: blocks of known numbers, a tiny model with its tokenizer, and hostile files, each refused in one line at once."""

import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.decoders import LanguageModel
from mmjax.nn.rotary import LinearScaling, LongScaling, Rope
from mmjax.pretrained import WeightsError, load, load_encoder, save
from mmjax.pretrained.ggml import GGML_TYPES, dequantize
from mmjax.pretrained.gguf import read_gguf
from mmjax.pretrained.gguf_tokenizer import gguf_tokenizer, tokenizer_config
from mmjax.types import Padded
from tests.at_once import at_once
from tests.pretrained.gguf_files import described, file_bytes, llama_parts, string, value, written

HALF, QUARTER = b"\x00\x38", b"\x00\x34"  # 0.5 and 0.25 in half precision
RAMP = bytes(16 * (15 - j) + j for j in range(16))  # low halves 0, 1, ..., 15, high halves 15, ..., 0
UP_DOWN = [*range(16), *range(15, -1, -1)]
BLOCKS = {
    2: (HALF + RAMP, [0.5 * (q - 8) for q in UP_DOWN]),
    3: (HALF + QUARTER + RAMP, [0.5 * q + 0.25 for q in UP_DOWN]),
    6: (HALF + b"\x01\x00\x00\x80" + RAMP, [0.5 * (q + 16 * (n in (0, 31)) - 16) for n, q in enumerate(UP_DOWN)]),
    7: (HALF + QUARTER + b"\x01\x00\x00\x80" + RAMP, [0.5 * (q + 16 * (n in (0, 31))) + 0.25 for n, q in enumerate(UP_DOWN)]),
    8: (HALF + bytes(range(240, 256)) + bytes(range(16)), [0.5 * (n - 16) for n in range(32)]),
    # Scales 1 (groups 0 to 3) and 2 + 16 = 18 (4 to 7), minima 3 and 1 + 32 = 33; all quants are 1 (low) and 2 (high).
    12: (
        HALF + QUARTER + bytes([1 | 1 << 6] * 4 + [3 | 2 << 6] * 4 + [2 | 1 << 4] * 4) + b"\x21" * 128,
        [0.5 * scale * quant - 0.25 * least for scale, least in ((1, 3),) * 4 + ((18, 33),) * 4 for quant in [0] * 32],
    ),
    30: (b"\x80\x3f", [1.0]),
}


def with_quants(expected, quants):
    """Group j of 32 has the quants[j % 2], where `expected` was computed for quants of zero."""
    scales = np.repeat([1, 1, 1, 1, 18, 18, 18, 18], 32)
    return np.array(expected) + 0.5 * scales * np.repeat([quants[j % 2] for j in range(8)], 32)


@pytest.mark.parametrize("kind", BLOCKS)
def test_blocks_of_known_numbers(kind):
    data, expected = BLOCKS[kind]
    expected = with_quants(expected, (1, 2)) if kind == 12 else expected
    found = dequantize(GGML_TYPES[kind], np.frombuffer(data, np.uint8), (len(expected),))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    metadata, tensors = llama_parts()
    metadata["tokenizer.chat_template"] = "{{ messages }}"
    return written(tmp_path_factory.mktemp("gguf"), file_bytes(metadata, tensors))


def test_a_model_with_its_tokenizer(file):
    """Rows of queries are adjacent pairs in the file: 0, 2 and 1, 3 of each head change places."""
    module, variables, preprocessing = load(file)
    _, tensors = llama_parts()
    expected = LanguageModel(8, 8, 1, 2, 1, 6, rope=Rope(), tied=False, positions=16, prompt=(1,), end=2)
    assert module == expected
    params = variables["params"]
    np.testing.assert_array_equal(params["word"]["embedding"], tensors["token_embd.weight"])
    np.testing.assert_array_equal(params["output"], tensors["output.weight"])
    query = tensors["blk.0.attn_q.weight"][[0, 2, 1, 3, 4, 6, 5, 7]]
    np.testing.assert_array_equal(params["block0"]["attention"]["query"]["kernel"], query.T)
    np.testing.assert_array_equal(params["block0"]["down"]["kernel"], tensors["blk.0.ffn_down.weight"].T)
    assert preprocessing.batch(["ab ab", "ba"]).x.tolist() == [[1, 5, 7], [1, 4, 3]]
    assert preprocessing.library.decode([1, 5, 7]) == "ab ab"
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    assert tokenizer_config(file) == config | {"chat_template": "{{ messages }}"}


def test_its_token_embeddings_as_an_encoder(file):
    weights, words = load(file), load_encoder(f"{file}#words")
    ids = Padded(jnp.array([[1, 5, 7], [4, 99, 99]]), jnp.array([3, 1]))
    tokens = words.module.apply(words.variables, ids)
    expected = weights.module.apply(weights.variables, jnp.array([[1, 5, 7], [4, 0, 0]]), method="embedded")
    np.testing.assert_array_equal(tokens.x, expected)
    np.testing.assert_array_equal(tokens.mask, [[True] * 3, [True, False, False]])
    assert words.preprocessing == weights.preprocessing


def test_a_config_beside_the_metadata(file):
    with pytest.raises(WeightsError, match="config is given, but a GGUF file has its own metadata; config must be None"):
        load(file, config={"model_type": "llama"})


def test_saved_as_safetensors_and_loaded_again(file, tmp_path):
    weights = load(file)
    save(weights, tmp_path)
    again = load(tmp_path)
    assert again.module == weights.module
    jax.tree.map(np.testing.assert_array_equal, again.variables, weights.variables)
    np.testing.assert_array_equal(again.preprocessing.batch(["ab ab"]).x, weights.preprocessing.batch(["ab ab"]).x)


def test_sentence_piece_by_scores(tmp_path):
    """The pair with the highest score is merged first: "ab" before "bc". Unknown characters become their bytes."""
    metadata, tensors = llama_parts()
    tokens = ["<unk>", "<s>", "</s>", "a", "b", "c", "ab", "bc", "▁", "▁ab", "<0xC3>", "<0xA9>"]
    types = [2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 6, 6]
    scores = [0.0, 0.0, 0.0, -9.0, -9.0, -9.0, -1.0, -2.0, -9.0, -3.0, 0.0, 0.0]
    own = {"model": "llama", "tokens": tokens, "token_type": types, "scores": scores}
    metadata |= {f"tokenizer.ggml.{name}": one for name, one in own.items()}
    library = gguf_tokenizer(written(tmp_path, file_bytes(metadata, tensors)))
    assert library.encode("abc é").ids == [1, 9, 5, 8, 10, 11]
    assert library.decode([1, 9, 5, 8, 10, 11]) == "abc é"


def test_scaled_rotations(tmp_path):
    metadata, tensors = llama_parts()
    linear = metadata | {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0, "llama.rope.freq_base": 5e5}
    assert load(written(tmp_path, file_bytes(linear, tensors))).module.rope == Rope(5e5, scaling=LinearScaling(4.0))
    divisors = tensors | {"rope_freqs.weight": np.array([1.0, 8.0], np.float32)}
    scaling = LongScaling((1.0, 8.0), (1.0, 8.0), 16)
    assert load(written(tmp_path, file_bytes(metadata, divisors))).module.rope == Rope(scaling=scaling)


def header(tensors: int, entries: int, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, entries)


def with_tensor(*given) -> bytes:
    """A file with one description of a tensor and 64 bytes of data."""
    head = header(1, 0) + described(*given)
    return head + bytes(-len(head) % 32) + bytes(64)


def changed(**changes) -> bytes:
    """The tiny model with other metadata; names have "__" for dots, and None removes an entry."""
    metadata, tensors = llama_parts()
    metadata |= {name.replace("__", "."): content for name, content in changes.items()}
    return file_bytes({name: content for name, content in metadata.items() if content is not None}, tensors)


def changed_tensor(name: str, x: np.ndarray) -> bytes:
    metadata, tensors = llama_parts()
    return file_bytes(metadata, tensors | {name: x})


def without(name: str) -> bytes:
    metadata, tensors = llama_parts()
    return file_bytes(metadata, {one: x for one, x in tensors.items() if one != name})


HUGE = 2**63
HOSTILE = {
    "empty": (b"", "it has 0 bytes"),
    "other format": (b"GGML" + bytes(40), "does not begin with GGUF"),
    "version": (header(0, 0, 99), "its version is 99"),
    "big-endian": (header(0, 0, 3 << 24), "its version is 50331648"),
    "many tensors": (header(HUGE, 0), "should have 9,223,372,036,854,775,808 tensors"),
    "many entries": (header(0, 100_001), "at most 100,000 are supported"),
    "no entries": (header(0, 3), "8 bytes are expected at byte 24"),
    "long name": (header(0, 1) + struct.pack("<Q", HUGE), "9,223,372,036,854,775,808 bytes are expected"),
    "not UTF-8": (header(0, 1) + string(b"\xff\xfe") + bytes(8), "can't decode"),
    "unknown value": (header(0, 1) + string("x") + struct.pack("<IQ", 77, 0), "unknown type 77"),
    "array of arrays": (header(0, 1) + string("x") + struct.pack("<IIQ", 9, 9, 5), "an array .* unknown type 9"),
    "long array": (header(0, 1) + string("x") + struct.pack("<IIQ", 9, 10, HUGE), "an array .* 9,223,372,036,854,775,808"),
    "long string array": (header(0, 1) + string("x") + struct.pack("<IIQ", 9, 8, HUGE - 1), "an array .* entries"),
    "twice": (header(0, 2) + 2 * (string("x") + value(3)), "x occurs twice"),
    "alignment": (header(0, 1) + string("general.alignment") + value(3), "general.alignment is 3"),
    "no name": (with_tensor("", (4,), 0, 0), "must have a name"),
    "many axes": (with_tensor("x", (1, 1, 1, 1, 1), 0, 0), "has 5 axes"),
    "zero size": (with_tensor("x", (0,), 0, 0), r"has shape \[0\]"),
    "absurd size": (with_tensor("x", (2**62, 2**62), 0, 0), "should end at byte"),
    "unknown type": (with_tensor("x", (32,), 29, 0), "x has the type 29"),
    "incomplete block": (with_tensor("x", (31,), 2, 0), r"Q4_0 needs rows of a multiple of 32 numbers"),
    "offset beyond the end": (with_tensor("x", (4,), 0, 64), "should end at byte 80"),
    "huge offset": (with_tensor("x", (4,), 0, HUGE), "should end at byte"),
    "misaligned": (with_tensor("x", (4,), 0, 4), "misaligned"),
    "overlap": (
        header(2, 0) + described("x", (9,), 0, 0) + described("y", (4,), 0, 32) + bytes(20 + 96),
        "y begins at byte 32 of the data, inside another tensor",
    ),
    "truncated": (changed()[:-40], "should end at byte"),
    "architecture": (changed(general__architecture="mamba"), "general.architecture is 'mamba'; supported are llama, qwen2"),
    "no width": (changed(llama__embedding_length=None), "lacks llama.embedding_length"),
    "width of another type": (changed(llama__embedding_length="8"), "is '8'; it must be an integer"),
    "absurd width": (changed(llama__embedding_length=2**31), "hidden_size = 2147483648"),
    "absurd depth": (changed(llama__block_count=2**31), "num_hidden_layers = 2147483648"),
    "no heads": (changed(llama__attention__head_count=0), "at least one attention head"),
    "heads": (changed(llama__attention__head_count_kv=3), "attn_k.weight has 4 rows, which are not 3 heads"),
    "odd heads": (changed(llama__attention__head_count=8), "attn_q.weight has 8 rows, which are not 8 heads of an even"),
    "not finite": (changed_tensor("blk.0.ffn_up.weight", np.full((6, 8), np.nan)), "must be finite"),
    "another shape": (changed_tensor("blk.0.ffn_up.weight", np.zeros((8, 6))), r"of shape \[8, 6\] gives"),
    "end beyond the vocabulary": (changed(tokenizer__ggml__eos_token_id=8), "eos_token_id = 8"),
    "no embedding": (without("token_embd.weight"), "it needs the tensor token_embd.weight"),
    "missing tensor": (without("blk.0.ffn_up.weight"), "missing model.layers.0.mlp.up_proj.weight"),
    "rope": (changed(llama__rope__scaling__type="odd"), "rope.scaling.type is 'odd'"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_one_line_at_once(name, tmp_path):
    content, message = HOSTILE[name]
    file = written(tmp_path, content)
    with at_once(1), pytest.raises(WeightsError, match=message) as refused:
        load(file)
    assert "\n" not in str(refused.value) and str(file) in str(refused.value)


BAD_TOKENIZERS = {
    "kind": ({"model": "bert"}, "tokenizer.ggml.model is 'bert'"),
    "words": ({"pre": "odd"}, "tokenizer.ggml.pre is 'odd'; supported are gpt-2"),
    "types": ({"token_type": [1]}, "token_type has 1 entries for 8 tokens"),
    "merge": ({"merges": ["a b", "a c"]}, "the merge 'a c' must be two tokens"),
    "long merge": ({"merges": ["a b c"]}, "the merge 'a b c' must be two tokens"),
    "long token": ({"tokens": ["a" * 2001]}, "strings of at most 2000 characters"),
    "beginning": ({"bos_token_id": 8}, "bos_token_id is 8; it must be below 8"),
}


@pytest.mark.parametrize("name", BAD_TOKENIZERS)
def test_damaged_tokenizers_are_refused_in_one_line(name, tmp_path):
    change, message = BAD_TOKENIZERS[name]
    file = written(tmp_path, changed(**{f"tokenizer__ggml__{field}": content for field, content in change.items()}))
    with pytest.raises(WeightsError, match=message) as refused:
        gguf_tokenizer(file)
    assert "\n" not in str(refused.value)


def test_metadata_are_read_by_type(file):
    content = read_gguf(file)
    assert content.get("llama.block_count", int) == 1
    assert content.get("tokenizer.ggml.add_bos_token", bool) is True
    assert content.get("tokenizer.ggml.token_type", np.ndarray).tolist() == [2, 3, 3, 1, 1, 1, 1, 1]
    with pytest.raises(WeightsError, match="its metadata lacks other"):
        content.get("other", int)
