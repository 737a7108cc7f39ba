"""Hostile settings beside weights, as in `hostile_weights`: absurd sizes, damaged JSON, and values of the wrong type."""

import json

from tests.faults.hostile_weights import Content, hole
from tests.pretrained.tiny import CONFIG, IMAGES, SPEECH

SIZE = "it must be an integer of at least 1 and at most"
VIDEO = {"image_size": 8, "num_frames": 4, "num_channels": 3, "patch_size": 4, "tubelet_size": 2, "use_mean_pooling": True}
BASES = {
    "bert": CONFIG,
    "whisper": SPEECH,
    "efficientnet-lite": IMAGES,
    "vit": CONFIG | {"image_size": 8, "patch_size": 4, "qkv_bias": True, "num_channels": 3},
    "dinov2": CONFIG | {"image_size": 8, "patch_size": 4, "mlp_ratio": 4, "layerscale_value": 1.0},
    "videomae": CONFIG | VIDEO,
    "clip": {"vision_config": {}, "text_config": {}},
    "resnet": {"hidden_act": "relu", "embedding_size": 4, "hidden_sizes": [16], "depths": [1]},
    "audio-spectrogram-transformer": CONFIG
    | dict(num_mel_bins=8, max_length=8, frequency_stride=2, time_stride=2, patch_size=4),
    "wav2vec2": CONFIG
    | dict(
        feat_extract_norm="group",
        feat_extract_activation="gelu",
        conv_bias=False,
        conv_dim=[4],
        conv_kernel=[10],
        conv_stride=[5],
        do_stable_layer_norm=False,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        hidden_dropout=0.1,
    ),
}
CONFIGS = {  # (model_type, field, value as JSON) -> pattern
    **{("bert", "num_hidden_layers", value): f"num_hidden_layers = .*{SIZE} 1000" for value in ("100000000", "1e18", "1e308")},
    **{("bert", "num_hidden_layers", value): SIZE for value in ("-1", "0", '"12"', "true", "NaN", "Infinity", "1.5", "[12]")},
    ("bert", "num_hidden_layers", "9" * 4_000): r"num_hidden_layers = 9{200}\.\.\.; " + SIZE,
    ("bert", "num_hidden_layers", "9" * 5_000): "not JSON: Exceeds the limit",
    ("bert", "num_hidden_layers", "999"): "missing ",
    ("bert", "hidden_size", "1000000000000"): SIZE,
    ("bert", "hidden_size", "1000000"): "word_embeddings",
    ("bert", "intermediate_size", "1e10"): SIZE,
    ("bert", "vocab_size", "1e15"): SIZE,
    ("bert", "max_position_embeddings", "1e12"): SIZE,
    ("bert", "num_attention_heads", "0"): SIZE,
    ("bert", "num_attention_heads", "7"): "describes an impossible module: .*heads",
    ("bert", "type_vocab_size", "-1"): "type_vocab_size = -1",
    ("bert", "layer_norm_eps", "0"): "layer_norm_eps = 0",
    ("bert", "layer_norm_eps", "1e400"): "layer_norm_eps = inf",
    ("bert", "hidden_dropout_prob", "2"): "hidden_dropout_prob = 2",
    ("bert", "hidden_act", '"os.system"'): "hidden_act = os.system; supported|hidden_act = 'os.system'; supported",
    ("bert", "hidden_act", f'"{"a" * 100_000}"'): r"hidden_act = 'a{199}\.\.\.; supported",
    ("bert", "model_type", '"gpt9"'): "model_type = 'gpt9'; supported are",
    ("bert", "model_type", '["bert"]'): r"model_type = \['bert'\]; supported are",
    ("bert", "model_type", f'"{"a" * 100_000}"'): r"model_type = 'a{199}\.\.\.; supported are",
    ("bert", "is_decoder", "true"): "is_decoder = True; only False",
    ("bert", "position_embedding_type", json.dumps("a\nb")): r"position_embedding_type = 'a\\nb'",
    ("vit", "image_size", "1000000000"): "image_size = 1000000000; it must be an integer from 1 to 16384",
    ("vit", "image_size", "[8, 8, 8]"): "image_size = ",
    ("vit", "patch_size", "0"): "patch_size = 0",
    ("vit", "patch_size", "3"): "it must be a square that divides",
    ("vit", "num_channels", "1e9"): SIZE,
    ("dinov2", "mlp_ratio", "1e300"): "mlp_ratio = 1e.*300; it must be a positive number of at most 1000",
    ("clip", "vision_config", "[]"): r"vision_config = \[\]; it must be an object",
    ("clip", "vision_config", '{"image_size": 1e9}'): "image_size = 1000000000.0",
    ("clip", "vision_config", '{"patch_size": 999}'): "patch_size = 999, more than image_size = 224",
    ("clip", "text_config", '{"num_hidden_layers": 1e8}'): f"num_hidden_layers = .*{SIZE}",
    ("whisper", "encoder_layers", "100000000"): f"encoder_layers = .*{SIZE}",
    ("whisper", "decoder_layers", "100000000"): f"decoder_layers = .*{SIZE}",
    ("whisper", "num_mel_bins", "1e9"): f"num_mel_bins = .*{SIZE} 1024",
    ("whisper", "max_source_positions", "1e12"): SIZE,
    ("wav2vec2", "conv_kernel", "[1e9]"): "conv_kernel = ",
    ("wav2vec2", "conv_dim", json.dumps([4] * 100_000)): r"conv_dim = \[4, .*\.\.\.; it must be",
    ("wav2vec2", "num_conv_pos_embeddings", "1e9"): SIZE,
    ("resnet", "depths", "[100000000]"): "depths = ",
    ("efficientnet-lite", "stages", "[[100000000, 3, 2, 1, 4]]"): "at most 1000 blocks",
    ("efficientnet-lite", "stages", "[[1, 1000000, 2, 1, 4]]"): "kernels up to 31",
    ("videomae", "num_frames", "1e9"): "num_frames = ",
    ("videomae", "hidden_size", "1e6"): "hidden_size|missing ",
    ("videomae", "image_size", "16384"): "hidden_size = 8; it must be at most 0",
    ("audio-spectrogram-transformer", "max_length", "1e9"): "max_length = ",
    ("audio-spectrogram-transformer", "frequency_stride", "0"): "frequency_stride = 0",
}


def config(kind: str, field: str, value: str) -> bytes:
    fields = {name: json.dumps(own) for name, own in (BASES[kind] | {"model_type": kind}).items()} | {field: value}
    return "{{{}}}".format(", ".join(f'"{name}": {own}' for name, own in fields.items())).encode()


FILES = {
    f"config: {kind}: {field} = {value[:30]}": ({"config.json": config(kind, field, value)}, pattern)
    for (kind, field, value), pattern in CONFIGS.items()
} | {
    "config: empty": ({"config.json": b""}, "config.json: not JSON"),
    "config: a list": ({"config.json": b"[]"}, "config.json: it must hold a JSON object, not a list"),
    "config: no UTF-8": ({"config.json": b'{"a": "\xff"}'}, "config.json: not JSON"),
    "config: cut": ({"config.json": json.dumps(CONFIG).encode()[:-9]}, "config.json: not JSON"),
    "config: nested 100,000 times": ({"config.json": b'{"a":' * 100_000}, "config.json: .*nested too deeply"),
    "config: 900,000 lists": ({"config.json": b'{"a": [' + b"[]," * 900_000 + b"[]]}"}, "model_type"),
    "config: 8 GB": ({"config.json": hole(b"{", 2**33)}, "config.json: it has 8,589,934,592 bytes"),
    "config: missing": ({"config.json": None}, r"there is no config\.json with a model_type"),
}


def beside(file: str, content: object) -> dict[str, Content]:
    """A file beside the weights: bytes, a function, or an object that is written as JSON."""
    return {file: content if isinstance(content, bytes) or callable(content) else json.dumps(content).encode()}


def image_settings(**fields: object) -> dict[str, Content]:
    settings = {"image_processor_type": "ViTImageProcessor"} | fields
    return {"config.json": config("vit", "depth", "0")} | beside("preprocessor_config.json", settings)


def sound_settings(kind: str, **fields: object) -> dict[str, Content]:
    return {"config.json": config(kind, "depth", "0")} | beside("preprocessor_config.json", fields)


VOCABULARY = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\nfrog\n"
FILES |= {
    "tokenizer: an empty object": (beside("tokenizer.json", {}), "tokenizer.json: not a tokenizer"),
    "tokenizer: no JSON": (beside("tokenizer.json", b"\xff\xfe"), "tokenizer.json: not a tokenizer"),
    "tokenizer: nested 100,000 times": (beside("tokenizer.json", b"[" * 100_000), "tokenizer.json: not a tokenizer"),
    "tokenizer: 8 GB": (beside("tokenizer.json", hole(b"{", 2**33)), "tokenizer.json: it has 8,589,934,592 bytes"),
    "tokenizer: an unknown model": (beside("tokenizer.json", {"version": "1.0", "model": {"type": "X"}}), "not a tokenizer"),
    "tokenizer: words that are no UTF-8": (beside("vocab.txt", b"a\n\xff\n"), "vocab.txt: not a tokenizer"),
    "tokenizer: no words": (beside("vocab.txt", b""), r"vocab\.txt: the special tokens \[UNK\], \[CLS\], .* are missing"),
    **{
        f"tokenizer: {field} = {value!r}": (
            {"vocab.txt": VOCABULARY} | beside("tokenizer_config.json", {field: value}),
            f"tokenizer_config.json has {field} = ",
        )
        for field, value in {
            "padding_side": "left",
            "truncation_side": "up",
            "strip_accents": "yes",
            "do_lower_case": [],
            "tokenize_chinese_chars": 1,
            "model_max_length": -1,
            "split_special_tokens": True,
            "pad_token": 5,
        }.items()
    },
    "tokenizer: a list of settings": (
        {"vocab.txt": VOCABULARY} | beside("tokenizer_config.json", []),
        "tokenizer_config.json: it must hold a JSON object",
    ),
    "tokenizer: another class": (
        {"vocab.txt": VOCABULARY} | beside("tokenizer_config.json", {"tokenizer_class": "os.system"}),
        "the tokenizer is a os.system without tokenizer.json",
    ),
    "images: endless size": (image_settings(size=1e9), r"size = 1000000000\.0; it must be"),
    "images: endless crop": (image_settings(do_center_crop=True, crop_size=10**9), "crop_size = 1000000000; it must be"),
    "images: endless side": (image_settings(size={"shortest_edge": 1e9}), "shortest_edge = "),
    "images: no deviation": (image_settings(image_std=0), "image_std = 0"),
    "images: two colours": (image_settings(image_mean=[0, 0]), r"image_mean = \[0, 0\]; it must be 3 numbers"),
    "images: NaN": (image_settings(image_mean=float("nan")), "image_mean = nan"),
    "images: an unknown filter": (image_settings(resample=99), "resample = 99"),
    "images: an unknown class": (image_settings(image_processor_type="os.system"), "image_processor_type = 'os.system'"),
    "images: a list": ({"config.json": config("vit", "a", "0"), "preprocessor_config.json": b"[]"}, "must hold a JSON object"),
    "sounds: endless pieces": (sound_settings("whisper", chunk_length=1e300), "chunk_length = 1e"),
    "sounds: an endless rate": (sound_settings("wav2vec2", sampling_rate=10**12), "sampling_rate = 1000000000000"),
}
