"""What CLIP and SigLIP share: two towers in transformers' names, and the preprocessing of pictures and texts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import numpy as np

from mmjax.encoders.dual import TextTransformer
from mmjax.encoders.vit import ViT
from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.layout import SAME, BlockNames, Layout, Names, norm, patches
from mmjax.pretrained.pictures import Pictures
from mmjax.pretrained.source import Source
from mmjax.pretrained.texts import Texts
from mmjax.types import Padded

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
ONE = Layout(lambda x: x.reshape(1), lambda x: x.reshape(()))  # a tensor without axes
LIMIT = 1e-6
"""Smallest temperature: the originals limit it in their training alone, which `heads.Temperature` can do as well."""


@dataclass(frozen=True)
class PicturesAndTexts:
    """Both preprocessings, None where the weights came without. Raw examples, and all that comes of them, are
    {"image": ..., "text": ...} or one of the two."""

    image: Pictures | None
    text: Texts | None

    @staticmethod
    def of(image: Pictures | None, text: Texts | None) -> "PicturesAndTexts | None":
        return PicturesAndTexts(image, text) if image or text else None

    def read(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._part(name).read(one) for name, one in raw.items()}

    def finish(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._part(name).finish(some) for name, some in batch.items()}

    def batch(self, raw: Mapping[str, Iterable[Any]]) -> dict[str, Any]:
        """Pictures and texts, each as many as there are, -> what the model takes."""
        return {name: self._part(name).batch(some) for name, some in raw.items()}

    def _part(self, name: str) -> Pictures | Texts:
        parts = {"image": self.image, "text": self.text}
        if parts.get(name) is None:
            needed = {"image": "preprocessor_config.json", "text": "tokenizer.json"}
            raise ValueError(f"{name!r}: {f'the weights came without {needed[name]}' if name in parts else 'image or text'}")
        return parts[name]


def image_tower(config: Source, **fields: Any) -> ViT:
    """config: vision_config. fields: of ViT, by which CLIP and SigLIP differ."""
    side, patch = config.size("image_size"), config.size("patch_size")
    if patch > side:
        raise WeightsError(f"{config.where}: config.json has patch_size = {patch}, and image_size = {side} is less")
    return ViT(patch, grid=(side // patch, side // patch), **_transformer(config), **fields)


def text_tower(config: Source, one_way: bool) -> TextTransformer:
    """config: text_config."""
    numbers = {"vocabulary": config.size("vocab_size"), "positions": config.size("max_position_embeddings")}
    return TextTransformer(**numbers, one_way=one_way, **_transformer(config))


def _transformer(config: Source) -> dict[str, Any]:
    return {
        "width": config.size("hidden_size"),
        "depth": config.size("num_hidden_layers"),
        "heads": config.size("num_attention_heads"),
        "hidden": config.size("intermediate_size"),
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
        names |= norm(f"{ours}/first_norm", f"{theirs}.pre_layrnorm")  # their spelling
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


def given(image: ViT, text: TextTransformer, channels: int) -> dict[str, Any]:
    """An input of both."""
    height, width = (cells * image.patch for cells in image.grid)
    words = Padded(np.zeros((1, text.positions), np.int32), np.array([text.positions], np.int32))
    return {"image": np.zeros((1, height, width, channels), np.float32), "text": words}
