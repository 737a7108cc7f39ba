"""Preprocessed pictures equal those of transformers' processors, in the pixels that are kept and in the finished numbers."""

import jax
import numpy as np
import pytest
from PIL import Image

from mmjax.pretrained.images import BILINEAR, IMAGENET, ImagePreprocessing, from_settings, round_half
from mmjax.pretrained.source import Settings, Source

pytestmark = pytest.mark.parity

PROCESSORS = {  # a processor of transformers -> settings that differ from its own defaults
    "ViTImageProcessor": [{}, {"size": {"height": 30, "width": 17}, "resample": 3, "image_std": [0.2, 0.3, 0.4]}],
    "BitImageProcessor": [{}, {"size": {"shortest_edge": 40}, "crop_size": {"height": 37, "width": 29}}],
    "CLIPImageProcessor": [{}, {"size": {"shortest_edge": 20}, "crop_size": {"height": 33, "width": 28}}],  # crops beyond
    "SiglipImageProcessor": [{}, {"do_resize": False, "rescale_factor": 1 / 127, "resample": 2}],
    "VideoMAEImageProcessor": [{"do_center_crop": False, "do_normalize": False}, {"size": 31, "crop_size": 31}],
    "ConvNextImageProcessor": [{"size": 64, "crop_pct": 0.9}, {"size": 384}],
    "DeiTImageProcessor": [{}, {"do_rescale": False}],
}
TAKES_ALL = ("CLIPImageProcessor", "BitImageProcessor", "SiglipImageProcessor")  # the others take RGB alone


def varied(count: int, seed: int = 0) -> list:
    """Arrays and images: smooth, noisy and flat; grey, transparent, in palettes; one pixel wide, odd sides, large and small."""
    rng = np.random.default_rng(seed)
    pictures = []
    for number in range(count):
        height, width = rng.integers(1, 300, size=2)
        height, width = [(height, width), (1, width // 10 + 1), (height // 10 + 1, 1), (224, 224)][min(number % 9, 3)]
        channels = (3, 4, 1)[number % 3]
        if number % 2:
            image = rng.integers(0, 256, (height, width, channels))
        else:
            waves = np.sin(np.arange(height)[:, None, None] / 9 + np.arange(width)[:, None] / 7 + np.arange(channels))
            image = 127 + 128 * waves
        image = image.clip(0, 255).astype(np.uint8)
        if number % 5 < 3:
            pictures.append(image)
            continue
        image = Image.fromarray(image.squeeze(-1) if channels == 1 else image)
        mode = (image.mode, "P", "LA", "1", "CMYK")[number // 5 % 5]
        image = image.convert("RGB").convert(mode) if mode != image.mode else image
        if mode == "P" and number % 2:
            image.info["transparency"] = 3
        pictures.append(image)
    return pictures


def in_rgb(picture):
    """For the processors that take nothing else."""
    if isinstance(picture, Image.Image):
        return Image.fromarray(np.array(picture.convert("RGB")))  # without the note on a transparent colour
    return np.repeat(picture, 3, axis=-1) if picture.shape[-1] == 1 else picture[..., :3]


@pytest.mark.parametrize("kind", PROCESSORS)
def test_pictures_equal_those_of_transformers(kind, tmp_path):
    import transformers

    pictures = [picture if kind in TAKES_ALL else in_rgb(picture) for picture in varied(50)]
    seen = 0
    for settings in PROCESSORS[kind]:
        original = getattr(transformers, f"{kind}Pil")(**settings)
        original.save_pretrained(tmp_path)
        ours = ImagePreprocessing.of(Source("here", {}, {}, tmp_path))
        assert from_settings(Settings("here", {"image_processor_type": kind, **settings})) == ours  # what is left out is the same
        finish = jax.jit(ours.finish)
        for picture in pictures:
            given = {} if isinstance(picture, Image.Image) else {"input_data_format": "channels_last"}
            expected = np.asarray(original(picture, return_tensors="np", **given)["pixel_values"])
            kept = ours.read(picture)
            assert kept.dtype == np.uint8
            found = np.asarray(finish(kept)).transpose(2, 0, 1)
            expected = expected.reshape(expected.shape[-3:])  # VideoMAE's has an axis more, for frames
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * max(1, np.abs(expected).max()))
            seen += 1
    assert seen == 100


def test_crops_as_torchvision_has_them():
    """torchvision.transforms.v2.functional.center_crop after resize, on images of Pillow, written out."""

    def original(image):
        width, height = image.size
        shape = (256, int(256 * height / width)) if width <= height else (int(256 * width / height), 256)
        image = image.resize(shape, Image.Resampling.BILINEAR)
        left, top = (round((side - 224) / 2.0) for side in shape)
        x = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32) / 255
        return (x - np.float32(IMAGENET[0])) / np.float32(IMAGENET[1])

    ours = ImagePreprocessing(256, BILINEAR, (224, 224), crop_start=round_half)
    rng = np.random.default_rng(0)
    sizes = rng.integers(20, 300, size=(100, 2))
    spare = [int(256 * max(size) / min(size)) - 224 for size in sizes]
    assert sum(rest % 4 == 3 for rest in spare) > 10  # where the two ways differ
    for height, width in sizes:
        picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        np.testing.assert_allclose(ours.batch([picture])[0], original(picture), atol=3e-6)
