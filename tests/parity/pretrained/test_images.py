"""Image preprocessing equals that of transformers' processors."""

import jax
import numpy as np
import pytest
from PIL import Image

from mmjax.pretrained.images import BILINEAR, IMAGENET, ImagePreprocessing, from_settings, round_half
from mmjax.pretrained.source import Settings, Source

pytestmark = pytest.mark.parity

PROCESSORS = {  # a transformers processor -> settings that differ from its defaults
    "ViTImageProcessor": [{}, {"size": {"height": 30, "width": 17}, "resample": 3, "image_std": [0.2, 0.3, 0.4]}],
    "BitImageProcessor": [{}, {"size": {"shortest_edge": 40}, "crop_size": {"height": 37, "width": 29}}],
    # the second crop is larger than the image
    "CLIPImageProcessor": [{}, {"size": {"shortest_edge": 20}, "crop_size": {"height": 33, "width": 28}}],
    "SiglipImageProcessor": [{}, {"do_resize": False, "rescale_factor": 1 / 127, "resample": 2}],
    "VideoMAEImageProcessor": [{"do_center_crop": False, "do_normalize": False}, {"size": 31, "crop_size": 31}],
    "ConvNextImageProcessor": [{"size": 64, "crop_pct": 0.9}, {"size": 384}],
    "DeiTImageProcessor": [{}, {"do_rescale": False}],
}
ANY_MODE = ("CLIPImageProcessor", "BitImageProcessor", "SiglipImageProcessor")  # the others accept only RGB


def varied(count: int, seed: int = 0) -> list:
    """Arrays and Pillow images: smooth or noisy; RGB, grey, transparent or with palettes; of many sizes, one pixel wide too."""
    rng = np.random.default_rng(seed)
    images = []
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
            images.append(image)
            continue
        image = Image.fromarray(image.squeeze(-1) if channels == 1 else image)
        mode = (image.mode, "P", "LA", "1", "CMYK")[number // 5 % 5]
        image = image.convert("RGB").convert(mode) if mode != image.mode else image
        if mode == "P" and number % 2:
            image.info["transparency"] = 3
        images.append(image)
    return images


def in_rgb(image):
    """For processors that accept only RGB."""
    if isinstance(image, Image.Image):
        return Image.fromarray(np.array(image.convert("RGB")))  # drops the mark of a transparent colour
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image[..., :3]


@pytest.mark.parametrize("kind", PROCESSORS)
def test_all_processors(kind, tmp_path):
    import transformers

    images = [image if kind in ANY_MODE else in_rgb(image) for image in varied(50)]
    compared = 0
    for settings in PROCESSORS[kind]:
        original = getattr(transformers, f"{kind}Pil")(**settings)
        original.save_pretrained(tmp_path)
        ours = ImagePreprocessing.of(Source("here", {}, {}, tmp_path))
        assert from_settings(Settings("here", {"image_processor_type": kind, **settings})) == ours  # the defaults are the same
        finish = jax.jit(ours.finish)
        for image in images:
            given = {} if isinstance(image, Image.Image) else {"input_data_format": "channels_last"}
            expected = np.asarray(original(image, return_tensors="np", **given)["pixel_values"])
            kept = ours.read(image)
            assert kept.dtype == np.uint8
            found = np.asarray(finish(kept)).transpose(2, 0, 1)
            expected = expected.reshape(expected.shape[-3:])  # VideoMAE's has one more axis, of frames
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * max(1, np.abs(expected).max()))
            compared += 1
    assert compared == 100


def test_torchvisions_crops():
    """torchvision.transforms.v2.functional.center_crop after resize, reimplemented for Pillow images."""

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
    excess = [int(256 * max(size) / min(size)) - 224 for size in sizes]
    assert sum(pixels % 4 == 3 for pixels in excess) > 10  # where the two roundings differ
    for height, width in sizes:
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        np.testing.assert_allclose(ours.batch([image])[0], original(image), atol=3e-6)
