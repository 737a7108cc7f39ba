"""VideoMAE and ViViT: transformers' video encoders, or the encoders of their models for tasks or pretraining."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmjax.encoders.video import VideoMAE, ViViT
from mmjax.pretrained.convert import Architecture, example_array
from mmjax.pretrained.images import ImagePreprocessing, from_settings
from mmjax.pretrained.layout import CLASS_TOKEN, POSITIONS, SAME, Names, dense, norm, patches
from mmjax.pretrained.source import Settings, Source
from mmjax.pretrained.vit import VIT
from mmjax.types import Padded

__all__ = ["MAX_POSITIONS", "TYPE_FIELDS", "VideoPreprocessing", "videomae", "vivit"]

MAX_POSITIONS = 2**24
"""Numbers in a table of sinusoidal positions: 16,384 tokens of width 1024."""
TYPE_FIELDS = ("image_processor_type", "video_processor_type", "feature_extractor_type")


@dataclass(frozen=True)
class VideoPreprocessing:
    """Preprocesses each frame as an image. frames: number to which videos are cut or padded."""

    images: ImagePreprocessing
    frames: int

    def read(self, video: Iterable[Any]) -> Padded:
        """The frames of one video, as `ImagePreprocessing.read` accepts them -> x uint8 [frames i j 3], length int32 []."""
        kept = [self.images.read(frame) for _, frame in zip(range(self.frames), video)]
        if not kept:
            raise ValueError("a video must have at least one frame")
        x = np.zeros((self.frames, *kept[0].shape), np.uint8)
        x[: len(kept)] = kept
        return Padded(x, np.int32(len(kept)))

    def finish(self, batch: Padded) -> Padded:
        """uint8 [b frames i j 3] -> float32; can be jitted."""
        return batch.replace(x=self.images.finish(batch.x))

    def batch(self, videos: Iterable[Any]) -> Padded:
        """Videos -> the encoder's input."""
        read = [self.read(video) for video in videos]
        return self.finish(Padded(np.stack([one.x for one in read]), np.stack([one.length for one in read])))


def _videos(source: Source, kind: str) -> VideoPreprocessing | None:
    """From preprocessor_config.json, or from video_preprocessor_config.json or processor_config.json of newer versions of
    transformers. kind: the prefix of the preprocessing classes, "VideoMAE" or "Vivit"."""
    files = [source.settings(name) for name in ("preprocessor_config.json", "video_preprocessor_config.json")]
    for settings in (*files, source.settings("processor_config.json").section("video_processor", {})):
        if settings.config:
            return _of(settings, kind, source.integer("num_frames", maximum=4096))
    return None


def _of(settings: Settings, kind: str, frames: int) -> VideoPreprocessing:
    field = next((name for name in TYPE_FIELDS if settings.config.get(name) is not None), TYPE_FIELDS[0])
    if settings.string(field) not in {f"{kind}{suffix}" for suffix in ("ImageProcessor", "VideoProcessor", "FeatureExtractor")}:
        raise settings.error(field, f"{kind}ImageProcessor, {kind}VideoProcessor or {kind}FeatureExtractor")
    settings.require("do_sample_frames", False, None)
    settings = replace(settings, config={**settings.config, "image_processor_type": "VideoMAEImageProcessor"})
    if kind == "VideoMAE":
        return VideoPreprocessing(from_settings(settings), frames)
    offset = settings.flag("offset", True)
    settings = settings.with_defaults({"size": {"shortest_edge": 256}, "do_rescale": True, "rescale_factor": 1 / 127.5})
    images = from_settings(settings)
    if offset and settings.flag("do_rescale"):  # ViViT subtracts 1 between scaling and normalisation
        images = replace(images, mean=tuple(1 + mean for mean in images.mean))
    return VideoPreprocessing(images, frames)


def _example_input(source: Source) -> Padded:
    frames = source.integer("num_frames", maximum=4096)
    shape = *source.height_width("image_size"), source.integer("num_channels")
    return Padded(example_array(1, frames, *shape), np.array([frames], np.int32))


def videomae(source: Source) -> Architecture:
    """The encoder. With use_mean_pooling it has no final norm, which then belongs to the unused classifier. The decoder of
    pretraining is not used either."""
    source.require("hidden_act", "gelu")
    source.require("qv_bias", True)
    source.require("qkv_bias", True)  # the name in older files
    tubelet = (source.integer("tubelet_size"), *source.height_width("patch_size"))
    module = VideoMAE(
        tubelet=tubelet,
        width=source.integer("hidden_size"),
        depth=source.layers("num_hidden_layers"),
        heads=source.integer("num_attention_heads"),
        hidden=source.integer("intermediate_size"),
        final_norm=not source.flag("use_mean_pooling"),
        epsilon=source.positive("layer_norm_eps"),
        dropout=source.fraction("hidden_dropout_prob"),
    )
    video = _example_input(source)
    tokens = math.prod(total // side for total, side in zip(video.x.shape[1:4], tubelet))
    if tokens * module.width > MAX_POSITIONS:
        raise source.error("hidden_size", f"at most {MAX_POSITIONS // tokens}, since each video has {tokens} positions")
    projection = "embeddings.patch_embeddings.projection"
    prefix = "videomae." if f"videomae.{projection}.weight" in source.tensors else ""
    names: Names = dense("params/tubelet_embedding", f"{prefix}{projection}", layout=patches(*tubelet))
    if module.final_norm:
        names |= norm("params/norm", f"{prefix}layernorm")
    for layer in range(module.depth):
        ours, theirs = f"params/transformer/block{layer}", f"{prefix}encoder.layer.{layer}"
        names |= replace(VIT, key_bias=False).at(ours, theirs)
        for part in ("query", "value"):  # stored apart from the layers that add them
            names[f"{ours}/attention/{part}/bias"] = (f"{theirs}.attention.attention.{part[0]}_bias", SAME)
    unused = (
        r"classifier\..*",
        r"fc_norm\..*",
        r"decoder\..*",
        r"encoder_to_decoder\..*",
        "mask_token",
        r"position_embeddings",
    )
    return Architecture(module, video, names, _videos(source, "VideoMAE"), unused)


def vivit(source: Source) -> Architecture:
    """Model 1 of the paper. The pooler and the classifier, which reads only the class token, are not used."""
    source.require("hidden_act", "gelu_fast")
    source.require("layer_norm_eps", 1e-6)
    source.require("qkv_bias", True)
    tubelet = source.integers("tubelet_size", 3)
    module = ViViT(
        tubelet=tubelet,
        width=source.integer("hidden_size"),
        depth=source.layers("num_hidden_layers"),
        heads=source.integer("num_attention_heads"),
        hidden=source.integer("intermediate_size"),
        dropout=source.fraction("hidden_dropout_prob"),
    )
    prefix = "vivit." if "vivit.embeddings.cls_token" in source.tensors else ""
    embeddings = f"{prefix}embeddings"
    names: Names = {
        "params/class_token": (f"{embeddings}.cls_token", CLASS_TOKEN),
        "params/encoder/positions": (f"{embeddings}.position_embeddings", POSITIONS),
        **dense("params/tubelet_embedding", f"{embeddings}.patch_embeddings.projection", layout=patches(*tubelet)),
        **norm("params/encoder/norm", f"{prefix}layernorm"),
    }
    for layer in range(module.depth):
        names |= VIT.at(f"params/encoder/transformer/block{layer}", f"{prefix}encoder.layer.{layer}")
    return Architecture(
        module, _example_input(source), names, _videos(source, "Vivit"), unused=(rf"{prefix}pooler\..*", r"classifier\..*")
    )
