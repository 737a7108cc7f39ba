"""Vision-language models: an image encoder, a connector and a language model, as one `Multimodal`.

The encoder is `encoders["image"]`, over the tiles of all images of an example; the connector is the fusion; the decoder "text"
is `decoders.Interleaved`. One file per family reads the published settings; this one has what they share. `answering.py`
generates answers.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from mmjax.decoders.interleaved import BothWaysRule, Interleaved
from mmjax.encoders.each_image import EachImage
from mmjax.encoders.vit import PatchStates
from mmjax.model import Multimodal
from mmjax.pretrained import clip, language_models, siglip
from mmjax.pretrained.convert import Architecture, example_array
from mmjax.pretrained.dual_encoders import image_encoder, image_names
from mmjax.pretrained.files import WeightsError, shown
from mmjax.pretrained.layout import Names
from mmjax.pretrained.source import Source
from mmjax.types import Batch, Padded

__all__ = [
    "IMAGE_DEFAULTS", "TEXT_DEFAULTS", "TEXT_MODELS", "ImagePart", "NamedModule", "Prefixes", "architecture", "image_part",
    "join", "prefixes", "text_part",
]  # fmt: skip

_LARGE = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "hidden_act": "silu", "rms_norm_eps": 1e-6}
_LLAMA = _LARGE | {"vocab_size": 32_000, "intermediate_size": 11_008, "max_position_embeddings": 2048}
_MISTRAL = _LLAMA | {"intermediate_size": 14_336, "num_key_value_heads": 8, "max_position_embeddings": 131_072}
_QWEN = _LARGE | {"vocab_size": 151_936, "intermediate_size": 22_016, "max_position_embeddings": 32_768}
_GEMMA = {
    "vocab_size": 256_000, "hidden_size": 3072, "intermediate_size": 24_576, "num_hidden_layers": 28,
    "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 256, "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
_GEMMA2 = _GEMMA | {
    "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
    "num_key_value_heads": 4, "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 4096,
}  # fmt: skip
_CAPS = {"final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0}
TEXT_DEFAULTS = {
    "llama": _LLAMA | {"bos_token_id": 1, "eos_token_id": 2},
    "mistral": _MISTRAL | {"bos_token_id": 1, "eos_token_id": 2},
    "qwen2": _QWEN,
    "qwen2_vl_text": {
        "vocab_size": 152_064, "hidden_size": 8192, "intermediate_size": 29_568, "num_hidden_layers": 80,
        "num_attention_heads": 64, "num_key_value_heads": 8, "hidden_act": "silu", "max_position_embeddings": 32_768,
        "rms_norm_eps": 1e-5, "bos_token_id": 151_643, "eos_token_id": 151_645, "max_window_layers": 80,
    },
    "gemma": _GEMMA | {"hidden_act": "gelu_pytorch_tanh"},
    "gemma2": _GEMMA2 | _CAPS,
    "gemma3_text": _GEMMA2 | {"vocab_size": 262_208, "max_position_embeddings": 131_072},
}
"""model_type of text_config -> transformers' defaults of fields that published files may omit."""
TEXT_MODELS = {
    "llama": language_models.llama,
    "mistral": language_models.mistral,
    "qwen2": language_models.qwen2,
    "qwen2_vl_text": language_models.qwen2,
    "gemma": language_models.gemma,
    "gemma2": language_models.gemma2,
    "gemma3_text": language_models.gemma3,
}
"""model_type of text_config -> the function that reads the language model."""


IMAGE_DEFAULTS = {"clip_vision_model": clip.VISION, "siglip_vision_model": siglip.VISION}
IMAGE_DEFAULTS |= dict.fromkeys(
    ("idefics3_vision", "smolvlm_vision"),
    siglip.VISION | {"hidden_size": 1152, "num_attention_heads": 16, "patch_size": 32},
)
"""model_type of vision_config -> transformers' defaults of fields that published files may omit."""


class Prefixes(NamedTuple):
    """What precedes the published names of each part, and the name of the output layer. Versions of transformers differ."""

    text: str
    image: str
    connector: str
    output: str


class NamedModule(NamedTuple):
    """A module, the names of its parameters by the paths within it, and regular expressions of tensors without a use."""

    module: nn.Module
    names: Names
    unused: tuple[str, ...] = ()


def prefixes(source: Source) -> Prefixes:
    """The prefixes of a file. Raises WeightsError if it has no language model."""

    def found(end: str, *candidates: str) -> str:
        return next((one for one in candidates if f"{one}{end}" in source.tensors), candidates[0])

    text = found("embed_tokens.weight", "language_model.model.", "model.language_model.", "model.text_model.")
    if f"{text}embed_tokens.weight" not in source.tensors:
        raise WeightsError(f"{source.where}: missing {text}embed_tokens.weight")
    image = found(
        "embeddings.patch_embedding.weight", "vision_tower.vision_model.", "vision_tower.", "model.vision_tower.vision_model.",
        "model.vision_tower.", "model.vision_model.",
    )  # fmt: skip
    connector = {"language_model.model.": "multi_modal_projector.", "model.text_model.": "model.connector."}
    output = "language_model.lm_head.weight" if text == "language_model.model." else "lm_head.weight"
    return Prefixes(text, image, connector.get(text, "model.multi_modal_projector."), output)


def text_part(source: Source, where: Prefixes, tied: bool = False, **changes: Any) -> tuple[NamedModule, Any]:
    """(the language model, its tokenizer or None). tied: transformers' default of tie_word_embeddings beside text_config.
    changes: of text_config. Raises WeightsError for another architecture."""
    section = source.section("text_config")
    kind = section.string("model_type", "llama")
    if kind not in TEXT_MODELS:
        known = ", ".join(TEXT_MODELS)
        raise WeightsError(f"{section.where}: {source.file} has model_type = {shown(repr(kind))}; supported are {known}")
    tied = source.flag("tie_word_embeddings", tied) or section.flag("tie_word_embeddings", kind.startswith("gemma"))
    tied = tied and not _own_output(source, where)
    config = {**TEXT_DEFAULTS[kind], **_ends(source), **section.config, "model_type": kind, "tie_word_embeddings": tied}
    config |= changes
    read = TEXT_MODELS[kind](replace(section, config=config, tensors={}))

    def published(name: str) -> str:
        return where.output if name == "lm_head.weight" else where.text + name

    names = {path.removeprefix("params/"): (published(name), layout) for path, (name, layout) in read.names.items()}
    output = (re.escape(where.output),) if read.module.tied else ()
    return NamedModule(read.module, names, (r".*rotary_emb\.inv_freq", *output)), read.preprocessing


def _own_output(source: Source, where: Prefixes) -> bool:
    """Whether the file has an output layer that differs from the token embedding. Then it is used, as in transformers 5:
    versions read `tie_word_embeddings` in different places, so a config may say what was never true."""
    output, words = (source.tensors.get(name) for name in (where.output, f"{where.text}embed_tokens.weight"))
    return output is not None and words is not None and not np.array_equal(output, words)


def _ends(source: Source) -> dict[str, Any]:
    """The special tokens that are beside text_config or in generation_config.json."""
    files = source.settings("generation_config.json").config, source.config
    names = "bos_token_id", "eos_token_id", "pad_token_id"
    return {name: file[name] for file in files for name in names if file.get(name) is not None}


class ImagePart(NamedTuple):
    """The image encoder. size: of its images, (height, width, channels). grid: (rows, columns) of its tokens."""

    part: NamedModule
    size: tuple[int, int, int]
    grid: tuple[int, int]


def image_part(source: Source, where: Prefixes, kind: str, select: int | None = None) -> ImagePart:
    """The image encoder of vision_config.

    kind: the model_type of a vision_config without one, of `IMAGE_DEFAULTS`. select: the hidden states that are the output, by
    transformers' number: 0 before the first block, -1 after the last; without the class token. None for the final norm of all
    tokens.
    """
    section = source.section("vision_config")
    kind = section.string("model_type", kind)
    if kind not in IMAGE_DEFAULTS:
        known = ", ".join(IMAGE_DEFAULTS)
        raise WeightsError(f"{section.where}: {source.file} has model_type = {shown(repr(kind))}; supported are {known}")
    config = section.with_defaults(IMAGE_DEFAULTS[kind])
    depth = config.layers("num_hidden_layers")
    unused = rf"{re.escape(where.image)}(head\..*|embeddings\.position_ids)"
    if select is not None:
        blocks = select if select >= 0 else depth + 1 + select
        if not 1 <= blocks <= depth:
            raise WeightsError(f"{source.where}: {source.file} selects the hidden states {select} of {depth} blocks")
        config = replace(config, config={**config.config, "num_hidden_layers": blocks})
        unused = rf"{re.escape(where.image)}(embeddings\.position_ids|(head|post_layernorm|encoder\.layers\.\d+)\..*)"
    first_norm = kind == "clip_vision_model"
    vit = image_encoder(config, first_norm=first_norm, class_token=first_norm)
    names = {
        path.removeprefix("vit/"): (where.image + str(name).removeprefix("vision_model."), layout)
        for path, (name, layout) in image_names("vit", vit).items()
        if select is None or not path.startswith("vit/norm/")
    }
    size = vit.grid[0] * vit.patch, vit.grid[1] * vit.patch, config.integer("num_channels")
    return ImagePart(NamedModule(vit if select is None else PatchStates(vit), names, (unused,)), size, vit.grid)


def join(
    image: ImagePart, connector: NamedModule, text: NamedModule, both_ways: BothWaysRule | None, preprocessing: Any
) -> Architecture:
    """The complete model. both_ways: of the decoder."""
    language = Interleaved(text.module, text.module.prompt, both_ways)
    module = Multimodal({"image": EachImage(image.part.module)}, connector.module, decoders={"text": language})
    parts = {"encoders_image/encoder": image.part, "fusion": connector, "decoders_text": text}
    images = Padded(example_array(1, 1, *image.size), np.ones(1, np.int32))
    return architecture(module, parts, {"image": images}, preprocessing)


def architecture(
    module: Multimodal, parts: Mapping[str, NamedModule], inputs: Mapping[str, Any], preprocessing: Any
) -> Architecture:
    """A `Multimodal` with the decoder "text". parts: by their path. inputs: of one example."""
    names = {f"params/{place}/{path}": entry for place, part in parts.items() for path, entry in part.names.items()}
    targets, present = {"text": np.zeros((1, 1), np.int32)}, dict.fromkeys(inputs, np.ones(1, bool))
    unused = tuple(pattern for part in parts.values() for pattern in part.unused)
    return Architecture(module, Batch(inputs, present, targets, np.ones(1, np.float32)), names, preprocessing, unused)
