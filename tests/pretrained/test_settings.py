"""Every invalid value in a config.json or the settings of a preprocessing is refused, with the file and the field."""

import json
from dataclasses import replace
from math import inf, nan
from types import SimpleNamespace

import pytest

from mmjax.pretrained.architectures import BY_MODEL_TYPE, architecture_of
from mmjax.pretrained.audio import ASTPreprocessing, WaveformPreprocessing, WhisperPreprocessing
from mmjax.pretrained.convert import to_variables
from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.images import KINDS, ImagePreprocessing
from mmjax.pretrained.source import Settings, Source
from mmjax.pretrained.texts import TextPreprocessing
from tests.pretrained.test_image_weights import DINO, RESNET, VIT
from tests.pretrained.tiny import CONFIG, IMAGES, SPEECH, bert_folder

BLOCKS = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
PLAIN = {**BLOCKS, "hidden_act": "gelu", "layer_norm_eps": 1e-6, "hidden_dropout_prob": 0.0}
IMAGE = {**BLOCKS, "image_size": 8, "patch_size": 4, "num_channels": 3, "hidden_act": "gelu", "layer_norm_eps": 1e-6}
TEXT = {**BLOCKS, "vocab_size": 9, "max_position_embeddings": 6, "hidden_act": "gelu", "layer_norm_eps": 1e-6}
FLEXIBLE = {**BLOCKS, "num_patches": 9, "patch_size": 4, "num_channels": 3, "hidden_act": "gelu", "layer_norm_eps": 1e-6}
VIDEO = {**PLAIN, "image_size": [8, 8], "num_frames": 4, "num_channels": 3}
LANGUAGE = {**BLOCKS, "vocab_size": 9, "max_position_embeddings": 6, "rms_norm_eps": 1e-6, "hidden_act": "silu"}
LANGUAGE |= {"num_key_value_heads": 1, "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False, "head_dim": 6}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_theta": 500.0}
YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4, "attention_factor": 1.2, "truncate": True}
LONG = {"type": "longrope", "short_factor": [1.0, 1.0], "long_factor": [2.0, 2.0], "factor": 2.0}
DEEPSEEK = {"rope_type": "yarn", "factor": 4.0, "beta_fast": 16.0, "beta_slow": 2.0, "mscale": 1.0, "mscale_all_dim": 0.5}
PLAIN_ROPE = {"rope_type": "default", "rope_theta": 100.0}
GEMMA = {name: value for name, value in LANGUAGE.items() if name != "hidden_act"} | {"rope_parameters": PLAIN_ROPE}
GEMMA |= {"hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 4, "sliding_window": 3}
GEMMA |= {"final_logit_softcapping": 3.0, "use_bidirectional_attention": None, "attention_bias": True}
CONFIGS = {
    "llama": {"model_type": "llama", **LANGUAGE, "attention_bias": True, "mlp_bias": True, "rope_parameters": LLAMA3},
    "mistral": {"model_type": "mistral", **LANGUAGE, "sliding_window": 3, "rope_scaling": DEEPSEEK},
    "qwen2": {
        **LANGUAGE,
        "model_type": "qwen2",
        "rope_scaling": YARN,
        "rope_theta": 100.0,
        "use_sliding_window": True,
        "sliding_window": 3,
        "max_window_layers": 0,
    },
    "qwen3": {
        **LANGUAGE,
        "model_type": "qwen3",
        "attention_bias": True,
        "use_sliding_window": False,
        "rope_parameters": PLAIN_ROPE,
    },
    "phi3": {
        **LANGUAGE,
        "model_type": "phi3",
        "head_dim": 4,
        "rope_scaling": LONG,
        "original_max_position_embeddings": 4,
        "partial_rotary_factor": 1.0,
        "resid_pdrop": 0.1,
        "sliding_window": 3,
    },
    "gemma": {
        **LANGUAGE,
        "model_type": "gemma",
        "hidden_act": "gelu",
        "use_bidirectional_attention": None,
        "rope_parameters": PLAIN_ROPE,
    },
    "gemma2": {"model_type": "gemma2", **GEMMA, "attn_logit_softcapping": 5.0},
    "gemma3_text": {
        **GEMMA,
        "model_type": "gemma3_text",
        "attn_logit_softcapping": None,
        "rope_local_base_freq": 10.0,
        "rope_parameters": {"rope_type": "linear", "factor": 8.0},
        "sliding_window_pattern": 2,
    },
    "gpt2": {
        "model_type": "gpt2",
        "vocab_size": 9,
        "n_embd": 8,
        "n_layer": 1,
        "n_head": 2,
        "n_inner": 12,
        "n_positions": 6,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "resid_pdrop": 0.1,
        "bos_token_id": 8,
        "eos_token_id": 8,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    },
    "vit": VIT,
    "dinov2": DINO,
    "dinov2_with_registers": {**DINO, "model_type": "dinov2_with_registers", "num_register_tokens": 2},
    "resnet": RESNET,
    "efficientnet-lite": IMAGES,
    "bert": CONFIG,
    "roberta": {**CONFIG, "model_type": "roberta"},
    "distilbert": {
        "model_type": "distilbert",
        "vocab_size": 9,
        "dim": 8,
        "n_layers": 1,
        "n_heads": 2,
        "hidden_dim": 8,
        "max_position_embeddings": 6,
        "dropout": 0.1,
        "activation": "gelu",
    },
    "clip": {
        "model_type": "clip",
        "vision_config": IMAGE,
        "text_config": {**TEXT, "eos_token_id": 2},
        "text_config_dict": {**TEXT, "eos_token_id": 2},
        "projection_dim": 5,
    },
    "siglip": {"model_type": "siglip", "vision_config": IMAGE, "text_config": TEXT},
    "siglip2": {"model_type": "siglip2", "vision_config": FLEXIBLE, "text_config": TEXT},
    "whisper": SPEECH,
    "wav2vec2": {
        **PLAIN,
        "model_type": "wav2vec2",
        "feat_extract_norm": "group",
        "feat_extract_activation": "gelu",
        "conv_bias": False,
        "conv_dim": [4, 4],
        "conv_kernel": [10, 3],
        "conv_stride": [5, 2],
        "do_stable_layer_norm": False,
        "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
        "hidden_dropout": 0.1,
    },
    "videomae": {**VIDEO, "model_type": "videomae", "patch_size": 4, "tubelet_size": 2, "use_mean_pooling": True},
    "vivit": {**VIDEO, "model_type": "vivit", "tubelet_size": [2, 4, 4], "hidden_act": "gelu_fast"},
    "audio-spectrogram-transformer": {
        **PLAIN,
        "model_type": "audio-spectrogram-transformer",
        "patch_size": 4,
        "num_mel_bins": 8,
        "max_length": 8,
        "frequency_stride": 2,
        "time_stride": 2,
    },
}
WRONG = ("7", None, [], {}, [7, "x"], nan, inf, -1, 0, 1.5, True)
FLAGS = ("qkv_bias", "qv_bias", "vision_use_head", "conv_bias", "do_stable_layer_norm", "use_mean_pooling", "do_normalize")
FLAGS += ("tokenize_chinese_chars", "add_prefix_space", "split_special_tokens")
FLAGS += ("attention_bias", "mlp_bias", "use_sliding_window", "truncate", "scale_attn_weights")
FLAGS += ("tie_word_embeddings", "do_lower_case", "do_resize", "do_center_crop", "do_rescale", "default_to_square", "offset")
RIGHT = {
    **dict.fromkeys(FLAGS, (True,)),
    **dict.fromkeys(("hidden_dropout_prob", "hidden_dropout", "dropout", "type_vocab_size", "num_register_tokens"), (0,)),
    **dict.fromkeys(("layer_norm_eps", "batch_norm_eps", "mlp_ratio", "rescale_factor", "crop_pct"), (1.5,)),
    **dict.fromkeys(("image_std", "std", "chunk_length"), (1.5,)),
    **dict.fromkeys(("layerscale_value", "image_mean", "mean"), (-1, 0, 1.5)),
    **dict.fromkeys(("pad_token_id", "pad_id", "eos_token_id"), (0,)),
    **dict.fromkeys(("vision_config", "text_config", "vision_config_dict", "text_config_dict"), ({},)),
    **dict.fromkeys(("padding", "image_processor", "feature_extractor", "video_processor"), ({},)),
    **dict.fromkeys(("rms_norm_eps", "layer_norm_epsilon", "query_pre_attn_scalar", "rope_theta", "factor"), (1.5,)),
    **dict.fromkeys(("low_freq_factor", "high_freq_factor", "attention_factor", "beta_fast", "beta_slow"), (1.5,)),
    **dict.fromkeys(("mscale", "mscale_all_dim", "rope_local_base_freq"), (1.5,)),
    **dict.fromkeys(("attn_logit_softcapping", "final_logit_softcapping"), (1.5,)),
    **dict.fromkeys(("bos_token_id", "max_window_layers", "resid_pdrop"), (0,)),
    **dict.fromkeys(("rope_scaling", "rope_parameters"), ({},)),
    "type": ("7",),
    "resample": (0,),
    "dither": (0,),
    "padding_value": (0,),
    "tokenizer_class": ("7",),
    "pad_token": ("",),
}
"""The values of WRONG that are valid for a field."""
NULL = {"adapter_attn_dim", "num_channels", "projection_dim", "projection_size", "text_config_dict", "vision_config_dict"}
NULL |= {*IMAGE, *TEXT, *FLEXIBLE, "eos_token_id", "pad_token_id", "vision_use_head"}
NULL |= {"bos_token_id", "sliding_window", "rope_scaling", "rope_parameters", "rope_theta", "partial_rotary_factor", "n_inner"}
NULL |= {"attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar", "rope_type", "type", "head_dim"}
NULL |= {"attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "factor", "rope_local_base_freq"}
NULL |= {"use_bidirectional_attention", "original_max_position_embeddings", "max_window_layers", "sliding_window_pattern"}
NULL |= {"num_key_value_heads"}
"""Fields that may be null: the originals define their defaults, for dual encoders of all fields."""
IGNORED = {"text_config", "attention_probs_dropout_prob", "hidden_dropout_prob", "intermediate_size", "pad_token_id"}
"""Fields of some configs that only transformers reads."""


def fields_read(monkeypatch, file, read):
    """[(section or "", field)] of all fields of the file that `read` reads."""
    names = {}

    def recording(original):
        def method(self, name, *args, **options):
            if self.file == file:
                names[self.where.partition(", ")[2], name] = True
            return original(self, name, *args, **options)

        return method

    with monkeypatch.context() as patched:
        for name in ("read", "require"):
            patched.setattr(Settings, name, recording(getattr(Settings, name)))
        read()
    return list(names)


def accepted(config, fields, read, null=frozenset()):
    """Reads the config with each wrong value in each field; checks the errors and returns the valid results."""
    results = []
    for part, name in fields:
        for wrong in WRONG:
            changed = {**config, part: {**config[part], name: wrong}} if part else {**config, name: wrong}
            try:
                results.append(read(changed))
            except WeightsError as error:
                message = str(error)
                names_field = name in message or (part and f"{part} =" in message)
                assert message.startswith("here") and names_field, (part, name, wrong, message)
            else:
                right = (wrong is None and name in null) or repr(wrong) in map(repr, RIGHT.get(name, ()))
                assert right, f"{part} {name} = {wrong!r} is accepted"
    return results


def test_every_architecture_is_tested():
    same = {"xlm-roberta", "camembert"}  # the function of roberta
    with_text = {"llava", "llava_next", "paligemma", "idefics3", "smolvlm", "gemma3", "qwen2_vl", "qwen2_audio"}
    assert CONFIGS.keys() == BY_MODEL_TYPE.keys() - same - with_text  # test_vision_language.py tests the latter
    assert len({BY_MODEL_TYPE[name] for name in ("roberta", *same)}) == 1


@pytest.mark.parametrize("kind", CONFIGS)
def test_an_invalid_config(kind, monkeypatch):
    read = lambda config: architecture_of(Source("here", config, {}))
    fields = fields_read(monkeypatch, "config.json", lambda: read(CONFIGS[kind]))
    unread = {name for name in CONFIGS[kind] if name not in {name for _, name in fields} | {"model_type"}}
    assert len(fields) > 3 and unread <= IGNORED
    dual = kind in ("clip", "siglip", "siglip2")
    valid = accepted(CONFIGS[kind], fields, read, NULL if dual else NULL - {*BLOCKS, *TEXT, *IMAGE} | {"num_channels"})
    for architecture in valid[:1]:  # modules of other sizes; testing one of them is enough
        with pytest.raises(WeightsError, match=r"here: (missing|config\.json describes an impossible module)"):
            to_variables(architecture, {}, "here")


@pytest.mark.parametrize("wrong", WRONG)
def test_an_invalid_model_type(wrong):
    with pytest.raises(WeightsError, match="model_type"):
        architecture_of(Source("here", {"model_type": wrong}, {}))


SOUND = {"num_mel_bins": 8, "max_length": 8}
SIDES = {"height": 8, "width": 8}
EDGE = {"size": {"shortest_edge": 8}}
SETTINGS = {
    **{kind: (ImagePreprocessing.of, {}, {"image_processor_type": kind, **fields}) for kind, fields in KINDS.items()},
    "sides": (ImagePreprocessing.of, {}, {"image_processor_type": "CLIPImageProcessor", "size": SIDES, "crop_size": SIDES}),
    "edge": (ImagePreprocessing.of, {}, {"image_processor_type": "CLIPImageProcessor", **EDGE}),
    "videomae": (architecture_of, CONFIGS["videomae"], {"image_processor_type": "VideoMAEImageProcessor"}),
    "vivit": (architecture_of, CONFIGS["vivit"], {"image_processor_type": "VivitImageProcessor", **EDGE, "offset": True}),
    "whisper": (WhisperPreprocessing.of, SOUND, {"feature_size": 8, "chunk_length": 4}),
    "ast": (ASTPreprocessing.of, SOUND, {**SOUND, "do_normalize": True, "mean": 0.0, "std": 1.0}),
    "wav2vec2": (WaveformPreprocessing.of, {}, {"feature_size": 1, "do_normalize": True, "sampling_rate": 16_000}),
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_invalid_settings_of_a_preprocessing(kind, monkeypatch, tmp_path):
    of, config, settings = SETTINGS[kind]
    read = lambda: of(Source("here", config, {}, tmp_path))
    check_settings(monkeypatch, tmp_path, "preprocessor_config.json", settings, read)


@pytest.mark.parametrize(
    ("of", "section"),
    [
        (ImagePreprocessing.of, "image_processor"),
        (WaveformPreprocessing.of, "feature_extractor"),
        (None, "video_processor"),
    ],
)
def test_one_file_with_the_settings_of_all_modalities(of, section, monkeypatch, tmp_path):
    """Each modality has a section, which must be an object."""
    of = of or (lambda source: architecture_of(replace(source, config=CONFIGS["vivit"])))
    check_settings(monkeypatch, tmp_path, "processor_config.json", {}, lambda: of(Source("here", {}, {}, tmp_path)))


TOKENIZERS = {
    "siglip": {
        "tokenizer_class": "SiglipTokenizer",
        "do_lower_case": True,
        "padding_side": "right",
        "model_max_length": 9,
        "pad_token": {"content": "[PAD]"},
    },
    "bert": {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "tokenize_chinese_chars": True},
    "roberta": {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": True, "truncation_side": "left"},
    "sentences": {"max_seq_length": 9, "do_lower_case": False},
}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_invalid_settings_of_a_tokenizer(kind, monkeypatch, tmp_path):
    bert_folder(tmp_path)
    file = "sentence_bert_config.json" if kind == "sentences" else "tokenizer_config.json"
    read = lambda: TextPreprocessing.of(Source("here", {}, {}, tmp_path), 9, attend_to_padding=True)
    check_settings(monkeypatch, tmp_path, file, TOKENIZERS[kind], read)


PADDING = {"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None, "pad_id": 3, "pad_type_id": 0}


@pytest.mark.parametrize("wrong", ["7", None, [], nan, -1, 1.5, True])
def test_an_invalid_padding_of_a_tokenizer(wrong, tmp_path):
    file = bert_folder(tmp_path) / "tokenizer.json"
    read = lambda: TextPreprocessing.of(Source("here", {}, {}, tmp_path), 9)
    own = json.loads(file.read_text())
    padding = PADDING | {"pad_token": "two"}
    file.write_text(json.dumps(own | {"padding": padding}))
    assert read().padding == 3
    file.write_text(json.dumps(own | {"padding": padding | {"pad_id": wrong}}))
    with pytest.raises(WeightsError, match=r"tokenizer\.json: not a tokenizer"):
        read()
    file.write_text(json.dumps(own | {"padding": padding | {"direction": "Left"}}))
    with pytest.raises(WeightsError, match=r"here: tokenizer\.json pads on the left; only 'right' is supported"):
        read()


def check_settings(monkeypatch, folder, file, settings, read):
    """As `accepted`, with settings of a file in a folder. There null means missing, except for flags and `require`."""

    def written(content):
        (folder / file).write_text(json.dumps(content))
        return read()

    fields = fields_read(monkeypatch, file, lambda: written(settings))
    assert fields
    accepted(settings, fields, written, {name for _, name in fields})


def test_suppressed_tokens(tmp_path):
    from mmjax.pretrained.whisper_tokens import WhisperTokens

    names = ("<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>")
    added = {10 + number: SimpleNamespace(content=name) for number, name in enumerate(names)}
    tokenizer = SimpleNamespace(get_added_tokens_decoder=lambda: added)
    of = lambda: WhisperTokens.of(tokenizer, {"vocab_size": 20, "max_target_positions": 8}, tmp_path).suppress
    file = tmp_path / "generation_config.json"
    for wrong in WRONG:
        file.write_text(json.dumps({"suppress_tokens": wrong}))
        if wrong in (None, []):
            assert of() == ()
        else:
            with pytest.raises(WeightsError, match=r"generation_config\.json has suppress_tokens"):
                of()
    file.write_text(json.dumps({"suppress_tokens": [3, 5]}))
    assert of() == (3, 5)
