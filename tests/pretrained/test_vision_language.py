"""Vision-language models without the originals: names of all versions of transformers, and sizes of published models."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from mmjax.pretrained import WeightsError, load
from mmjax.pretrained.answering import ends_of
from mmjax.pretrained.architectures import BY_MODEL_TYPE
from mmjax.pretrained.convert import to_tensors
from mmjax.pretrained.source import Source
from tests.pretrained.tiny import vision_language_folder

TEXT = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "num_key_value_heads": 1,
    "max_position_embeddings": 40, "vocab_size": 30, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
VISION = {
    "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8, "image_size": 8,
    "patch_size": 4,
}  # fmt: skip
QWEN = {"embed_dim": 8, "depth": 1, "num_heads": 2, "hidden_size": 16, "patch_size": 2, "mlp_ratio": 1}
ROPE = {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [2, 1, 1]}
CONFIGS = {
    "llava": {"text_config": TEXT, "vision_config": VISION},
    "llava_next": {"text_config": TEXT, "vision_config": VISION, "image_grid_pinpoints": [[8, 16]]},
    "paligemma": {"text_config": TEXT | {"model_type": "gemma", "head_dim": 8}, "vision_config": VISION},
    "qwen2_vl": {
        "text_config": TEXT | {"model_type": "qwen2_vl_text", "rope_parameters": ROPE},
        "vision_config": QWEN,
        "tie_word_embeddings": True,
    },
}
HUB, MIDDLE, NEW = 0, 1, 2  # transformers 4 to 4.51 and the hub, 4.52 to 4.57, 5


def named(name, version):
    """The name that a version of transformers gives to a tensor, from that of version 5."""
    if version == HUB:
        return name.replace("vision_tower.", "vision_tower.vision_model.")
    if version == NEW:
        return name
    if name.startswith(("language_model.lm_head", "lm_head")):
        return "lm_head.weight"
    if name.startswith("visual."):
        return f"model.{name}"
    if name.startswith("model."):  # Qwen2-VL
        return name.replace("model.", "model.language_model.", 1)
    return "model." + name.replace("language_model.model.", "language_model.")


@pytest.mark.parametrize("kind", CONFIGS)
def test_names_of_all_versions(kind, tmp_path):
    """The same arrays under the names of each version give the same variables."""
    config = CONFIGS[kind] | {"model_type": kind}
    embedding = {"qwen2_vl": "model.embed_tokens.weight"}.get(kind, "language_model.model.embed_tokens.weight")
    first = {embedding: np.zeros(1), "vision_tower.embeddings.patch_embedding.weight": np.zeros(1)}
    read = BY_MODEL_TYPE[kind](Source("here", config, first))
    shapes = jax.eval_shape(read.module.init, jax.random.key(0), read.example_input)
    random = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), shapes)
    tensors = to_tensors(read.names, variables)
    for version in (HUB, MIDDLE, NEW):
        folder = tmp_path / str(version)
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        save_file({named(name, version): np.ascontiguousarray(x) for name, x in tensors.items()}, folder / "model.safetensors")
        jax.tree.map(np.testing.assert_array_equal, load(folder).variables, variables)


@pytest.mark.parametrize("kind", CONFIGS)
def test_an_invalid_config_is_refused_in_one_line(kind):
    """Each field of each section, with each of several values that make no sense."""
    known, refused = {"language_model.model.embed_tokens.weight": np.zeros(1)}, 0
    known |= {"model.embed_tokens.weight": np.zeros(1), "visual.patch_embed.proj.weight": np.zeros(1)}
    config = CONFIGS[kind] | {"model_type": kind}
    BY_MODEL_TYPE[kind](Source("here", config, known))
    for section in (None, "text_config", "vision_config"):
        for name in config[section] if section else config:
            for wrong in ("x", -1, 0, [], {}, 1e99, True):
                changed = config | ({section: config[section] | {name: wrong}} if section else {name: wrong})
                try:
                    BY_MODEL_TYPE[kind](Source("here", changed, known))
                except WeightsError as error:
                    assert "\n" not in str(error) and "here" in str(error)
                    refused += 1
    assert refused > 50


def test_ends_are_those_of_generation_config_or_config(tmp_path):
    folder = vision_language_folder(tmp_path)
    assert ends_of(load(folder)) == (2,)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 5, -1, "x"]}))
    assert ends_of(load(folder)) == (2, 5)
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": [2, 7]}))
    assert ends_of(load(folder)) == (2, 7)


def published(config):
    """The module of a published config.json, without weights."""
    tensors = {"language_model.model.embed_tokens.weight": np.zeros(1)}
    return BY_MODEL_TYPE[config["model_type"]](Source("here", config, tensors)).module


def test_llava_7b():
    """Its text_config has the fields in which Vicuna differs from transformers' default of Llama."""
    llama = {"max_position_embeddings": 4096, "model_type": "llama", "rms_norm_eps": 1e-05, "vocab_size": 32_064}
    clip = {
        "hidden_size": 1024, "image_size": 336, "intermediate_size": 4096, "model_type": "clip_vision_model",
        "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14,
    }  # fmt: skip
    module = published({"model_type": "llava", "text_config": llama, "vision_config": clip, "image_token_index": 32_000})
    vit, text = module.encoders["image"].encoder.vit, module.decoders["text"].model
    assert (vit.grid, vit.width, vit.depth, vit.heads, vit.first_norm) == ((24, 24), 1024, 23, 16, True)
    assert (text.width, text.depth, text.heads, text.kv_heads, text.hidden) == (4096, 32, 32, 32, 11_008)
    assert (text.vocabulary, text.positions, text.prompt, text.end, text.tied) == (32_064, 4096, (1,), 2, False)
    assert (module.fusion.width, module.fusion.hidden) == (4096, (4096,))


def test_gemma3_4b():
    """Five local layers before each global one, whose rotation is eight times slower; 4 x 4 patches for each vector."""
    gemma = {
        "hidden_size": 2560, "intermediate_size": 10_240, "model_type": "gemma3_text", "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024,
    }  # fmt: skip
    siglip = {
        "hidden_size": 1152, "image_size": 896, "intermediate_size": 4304, "model_type": "siglip_vision_model",
        "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14, "vision_use_head": False,
    }  # fmt: skip
    config = {"model_type": "gemma3", "text_config": gemma, "vision_config": siglip, "eos_token_id": [1, 106]}
    module = published(config)
    text = module.decoders["text"].model
    assert (text.vocabulary, text.heads, text.kv_heads, text.head_width, text.tied) == (262_208, 8, 4, 256, True)
    assert (text.windows, text.rope.theta, text.rope.scaling.factor) == ((1024,) * 5 + (None,), 1e6, 8.0)
    assert (text.local_rope.theta, text.local_rope.scaling, text.end) == (1e4, None, 1)
    assert (module.fusion.side, module.fusion.grid) == (4, (64, 64))
