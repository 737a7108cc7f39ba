"""The parts that CLIP and SigLIP share: an image and a text encoder under transformers' names, and their preprocessing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import numpy as np

from mmjax.encoders.dual import TextTransformer
from mmjax.encoders.vit import ViT
from mmjax.pretrained.convert import example_array
from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.layout import SAME, BlockNames, Layout, Names, norm, patches
from mmjax.pretrained.source import SIDE, Source
from mmjax.pretrained.texts import TextPreprocessing
from mmjax.types import Padded

__all__ = [
    "BLOCK", "MIN_TEMPERATURE", "SCALAR", "UNUSED", "ImageTextPreprocessing", "example_image", "example_text",
    "image_encoder", "image_names", "text_encoder", "text_names",
]

BLOCK = BlockNames(
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    out="self_attn.out_proj",
    up="mlp.fc1",
    down="mlp.fc2",
    norm1="layer_norm1",
    norm2="layer_norm2",
)
UNUSED = (r"(text|vision)_model\.embeddings\.position_ids",)
SCALAR = Layout(lambda x: x.reshape(1), lambda x: x.reshape(()))  # [] <-> [1]
MIN_TEMPERATURE = 1e-6
"""The originals limit the temperature in training only, so the loaded module does not; `heads.Temperature` can."""


@dataclass(frozen=True)
class ImageTextPreprocessing:
    """The preprocessing of both modalities, such as ImagePreprocessing; None if the weights came without.

    Raw examples and results are {"image": ..., "text": ...}, or one of the two.
    """

    image: Any
    text: TextPreprocessing | None

    @staticmethod
    def of(image: Any, text: TextPreprocessing | None) -> "ImageTextPreprocessing | None":
        return ImageTextPreprocessing(image, text) if image or text else None

    def read(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._part(name).read(one) for name, one in raw.items()}

    def finish(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._part(name).finish(part) for name, part in batch.items()}

    def batch(self, raw: Mapping[str, Iterable[Any]]) -> dict[str, Any]:
        """Images and texts, whose numbers may differ -> the model's input."""
        return {name: self._part(name).batch(part) for name, part in raw.items()}

    def _part(self, name: str) -> Any:
        parts = {"image": self.image, "text": self.text}
        if name not in parts:
            raise ValueError(f"there is no preprocessing for {name!r}; valid names are image and text")
        if parts[name] is None:
            needed = {"image": "preprocessor_config.json", "text": "tokenizer.json"}[name]
            raise ValueError(f"{name!r} cannot be preprocessed: the weights came without {needed}")
        return parts[name]


def image_encoder(config: Source, **fields: Any) -> ViT:
    """The image encoder. config: vision_config. fields: those of ViT in which CLIP and SigLIP differ."""
    side, patch = config.integer("image_size", maximum=SIDE), config.integer("patch_size")
    if patch > side:
        raise WeightsError(f"{config.where}: config.json has patch_size = {patch}, more than image_size = {side}")
    return ViT(patch, grid=(side // patch, side // patch), **_transformer(config), **fields)


def text_encoder(config: Source, causal: bool) -> TextTransformer:
    """The text encoder. config: text_config. causal: whether attention is causal."""
    numbers = {"vocabulary": config.integer("vocab_size"), "positions": config.integer("max_position_embeddings")}
    return TextTransformer(**numbers, causal=causal, **_transformer(config))


def _transformer(config: Source) -> dict[str, Any]:
    return {
        "width": config.integer("hidden_size"),
        "depth": config.layers("num_hidden_layers"),
        "heads": config.integer("num_attention_heads"),
        "hidden": config.integer("intermediate_size"),
        "epsilon": config.positive("layer_norm_eps"),
        "activation": config.activation(),
    }


def image_names(ours: str, module: ViT) -> Names:
    """ours: the path of the ViT."""
    theirs = "vision_model"
    names: Names = {
        f"{ours}/embed/kernel": (f"{theirs}.embeddings.patch_embedding.weight", patches(module.patch, module.patch)),
        f"{ours}/positions": (f"{theirs}.embeddings.position_embedding.weight", SAME),
        **norm(f"{ours}/norm", f"{theirs}.post_layernorm"),
    }
    if module.class_token:
        names[f"{ours}/class_token"] = (f"{theirs}.embeddings.class_embedding", SAME)
    if module.first_norm:
        names |= norm(f"{ours}/first_norm", f"{theirs}.pre_layrnorm")  # the published spelling
    else:
        names[f"{ours}/embed/bias"] = (f"{theirs}.embeddings.patch_embedding.bias", SAME)
    return names | _blocks(ours, theirs, module)


def text_names(ours: str, module: TextTransformer) -> Names:
    """ours: the path of the TextTransformer."""
    theirs = "text_model"
    names: Names = {
        f"{ours}/word/embedding": (f"{theirs}.embeddings.token_embedding.weight", SAME),
        f"{ours}/position": (f"{theirs}.embeddings.position_embedding.weight", SAME),
        **norm(f"{ours}/norm", f"{theirs}.final_layer_norm"),
    }
    return names | _blocks(ours, theirs, module)


def _blocks(ours: str, theirs: str, module: nn.Module) -> Names:
    names: Names = {}
    for layer in range(module.depth):
        names |= BLOCK.at(f"{ours}/transformer/block{layer}", f"{theirs}.encoder.layers.{layer}")
    return names


def example_image(image: ViT, channels: int) -> np.ndarray:
    """One image of the encoder's size."""
    height, width = (cells * image.patch for cells in image.grid)
    return example_array(1, height, width, channels)


def example_text(text: TextTransformer) -> Padded:
    """One text of the encoder's length."""
    return Padded(np.zeros((1, text.positions), np.int32), np.array([text.positions], np.int32))
