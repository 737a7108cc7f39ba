"""VideoMAE and ViViT: transformers' models of videos, or the bodies of their models for a task or for pretraining."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmjax.encoders.video import VideoMAE, ViViT
from mmjax.pretrained.layout import FIRST, POSITIONS, SAME, Architecture, Names, dense, norm, patches
from mmjax.pretrained.pictures import Pictures, from_settings
from mmjax.pretrained.source import Fields, Source
from mmjax.pretrained.vit import VIT
from mmjax.types import Padded

NAMED = ("image_processor_type", "video_processor_type", "feature_extractor_type")


@dataclass(frozen=True)
class Videos:
    """Frames, each prepared as a picture. pictures: how. frames: to how many videos are cut, and padded."""

    pictures: Pictures
    frames: int

    def read(self, video: Iterable[Any]) -> Padded:
        """One video's frames, each as `Pictures.read` takes it -> x uint8 [frames i j 3], length int32 []."""
        seen = [self.pictures.read(frame) for _, frame in zip(range(self.frames), video)]
        if not seen:
            raise ValueError("a video must have a frame")
        x = np.zeros((self.frames, *seen[0].shape), np.uint8)
        x[: len(seen)] = seen
        return Padded(x, np.int32(len(seen)))

    def finish(self, batch: Padded) -> Padded:
        """uint8 [b frames i j 3] -> float32; can be jitted."""
        return batch.replace(x=self.pictures.finish(batch.x))

    def batch(self, videos: Iterable[Any]) -> Padded:
        """Videos -> what the encoder takes."""
        read = [self.read(video) for video in videos]
        return self.finish(Padded(np.stack([one.x for one in read]), np.stack([one.length for one in read])))


def _videos(source: Source, kind: str) -> Videos | None:
    """By preprocessor_config.json, or a later transformers' video_preprocessor_config.json or processor_config.json. kind:
    what VideoMAE or ViViT calls its own."""
    files = [source.settings(name) for name in ("preprocessor_config.json", "video_preprocessor_config.json")]
    for settings in (*files, source.settings("processor_config.json").part("video_processor", {})):
        if settings.config:
            return _of(settings, kind, source.size("num_frames"))
    return None


def _of(settings: Fields, kind: str, frames: int) -> Videos:
    field = next((name for name in NAMED if settings.config.get(name) is not None), NAMED[0])
    if settings.text(field) not in {f"{kind}{suffix}" for suffix in ("ImageProcessor", "VideoProcessor", "FeatureExtractor")}:
        raise settings.error(field, f"what prepares videos for {kind}")
    settings.must("do_sample_frames", False, None)
    settings = replace(settings, config={**settings.config, "image_processor_type": "VideoMAEImageProcessor"})
    if kind == "VideoMAE":
        return Videos(from_settings(settings), frames)
    offset = settings.flag("offset", True)
    settings = settings.over({"size": {"shortest_edge": 256}, "do_rescale": True, "rescale_factor": 1 / 127.5})
    pictures = from_settings(settings)
    if offset and settings.flag("do_rescale"):  # it takes 1 away between scaling and the rest
        pictures = replace(pictures, mean=tuple(1 + mean for mean in pictures.mean))
    return Videos(pictures, frames)


def _given(source: Source) -> Padded:
    frames = source.size("num_frames")
    picture = *source.sides("image_size"), source.size("num_channels")
    return Padded(np.zeros((1, frames, *picture), np.float32), np.array([frames], np.int32))


def videomae(source: Source) -> Architecture:
    """The encoder. With use_mean_pooling it has no last norm, for that is the classifier's, which is not used. Nor is the
    decoder of pretraining."""
    source.must("hidden_act", "gelu")
    source.must("qv_bias", True)
    source.must("qkv_bias", True)  # what earlier files call it
    tubelet = (source.size("tubelet_size"), *source.sides("patch_size"))
    module = VideoMAE(
        tubelet=tubelet,
        width=source.size("hidden_size"),
        depth=source.size("num_hidden_layers"),
        heads=source.size("num_attention_heads"),
        hidden=source.size("intermediate_size"),
        final_norm=not source.flag("use_mean_pooling"),
        epsilon=source.positive("layer_norm_eps"),
        dropout=source.share("hidden_dropout_prob"),
    )
    projection = "embeddings.patch_embeddings.projection"
    prefix = "videomae." if f"videomae.{projection}.weight" in source.tensors else ""
    names: Names = dense("params/tubelet_embedding", f"{prefix}{projection}", layout=patches(*tubelet))
    if module.final_norm:
        names |= norm("params/norm", f"{prefix}layernorm")
    for layer in range(module.depth):
        ours, theirs = f"params/transformer/block{layer}", f"{prefix}encoder.layer.{layer}"
        names |= replace(VIT, key_bias=False).at(ours, theirs)
        for part in ("query", "value"):  # published apart from the layer that adds them
            names[f"{ours}/attention/{part}/bias"] = (f"{theirs}.attention.attention.{part[0]}_bias", SAME)
    unused = (
        r"classifier\..*",
        r"fc_norm\..*",
        r"decoder\..*",
        r"encoder_to_decoder\..*",
        "mask_token",
        r"position_embeddings",
    )
    return Architecture(module, _given(source), names, _videos(source, "VideoMAE"), unused)


def vivit(source: Source) -> Architecture:
    """Model 1 of the paper. Neither the pooler nor the classifier, which looks at the class token alone, is used."""
    source.must("hidden_act", "gelu_fast")
    source.must("layer_norm_eps", 1e-6)
    source.must("qkv_bias", True)
    tubelet = source.sizes("tubelet_size", 3)
    module = ViViT(
        tubelet=tubelet,
        width=source.size("hidden_size"),
        depth=source.size("num_hidden_layers"),
        heads=source.size("num_attention_heads"),
        hidden=source.size("intermediate_size"),
        dropout=source.share("hidden_dropout_prob"),
    )
    prefix = "vivit." if "vivit.embeddings.cls_token" in source.tensors else ""
    embeddings = f"{prefix}embeddings"
    names: Names = {
        "params/class_token": (f"{embeddings}.cls_token", FIRST),
        "params/encoder/positions": (f"{embeddings}.position_embeddings", POSITIONS),
        **dense("params/tubelet_embedding", f"{embeddings}.patch_embeddings.projection", layout=patches(*tubelet)),
        **norm("params/encoder/norm", f"{prefix}layernorm"),
    }
    for layer in range(module.depth):
        names |= VIT.at(f"params/encoder/transformer/block{layer}", f"{prefix}encoder.layer.{layer}")
    return Architecture(
        module, _given(source), names, _videos(source, "Vivit"), unused=(rf"{prefix}pooler\..*", r"classifier\..*")
    )
