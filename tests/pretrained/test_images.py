"""Image preprocessing: settings that are refused, conversion to RGB, cropping and normalisation."""

import numpy as np
import pytest
from PIL import Image

from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.images import ImagePreprocessing, from_settings, rgb
from mmjax.pretrained.source import Settings, Source


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, "image_processor_type"),
        ({"image_processor_type": "Siglip2ImageProcessor"}, "Siglip2ImageProcessor"),
        ({"image_processor_type": "ViTImageProcessor", "do_pad": True}, "do_pad"),
        ({"image_processor_type": "ViTImageProcessor", "size": {"longest_edge": 9}}, "longest_edge"),
        ({"image_processor_type": "CLIPImageProcessor", "crop_size": {"shortest_edge": 9}}, "crop_size"),
        ({"image_processor_type": "CLIPImageProcessor", "image_mean": [0.5]}, "image_mean"),
        ({"image_processor_type": "ConvNextImageProcessor", "size": {"height": 9, "width": 9}}, "shortest_edge"),
        ({"image_processor_type": "ConvNextImageProcessor", "size": 9, "do_center_crop": True}, "do_center_crop"),
    ],
)
def test_unsupported_settings_are_named(settings, named):
    with pytest.raises(WeightsError, match=f"a: file .*{named}"):
        from_settings(Settings("a", settings, file="file"))


def test_settings_of_older_and_newer_files(tmp_path):
    assert ImagePreprocessing.of(Source("here", {}, {}, None)) is None
    assert ImagePreprocessing.of(Source("here", {}, {}, tmp_path)) is None
    early = from_settings(Settings("early", {"feature_extractor_type": "CLIPFeatureExtractor", "size": 60, "do_rescale": None}))
    assert (early.size, early.crop, early.scale) == (60, (224, 224), 1 / 255)
    (tmp_path / "processor_config.json").write_text(
        '{"image_processor": {"image_processor_type": "CLIPImageProcessorFast", "size": {"shortest_edge": 60}}}'
    )
    assert ImagePreprocessing.of(Source("here", {}, {}, tmp_path)) == early


def test_grey_of_16_bits():
    """10000 / 65535 * 255 = 38.9; a transparent value is white."""
    image = Image.fromarray(np.array([[0, 10_000, 65_535]], np.uint16))
    assert rgb(image).tolist() == [[[0] * 3, [39] * 3, [255] * 3]]
    image.info["transparency"] = 10_000
    assert rgb(image).tolist() == [[[0] * 3, [255] * 3, [255] * 3]]


def test_an_endless_row_is_refused():
    """With a shorter side of 224 px, an image of 1 x 1,000,000 pixels would have 50 billion."""
    preprocessing = from_settings(Settings("a", {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 224}}))
    with pytest.raises(ValueError, match="an image of 1 x 1000000 pixels is too long for a shorter side of 224 pixels"):
        preprocessing.read(np.zeros((1, 1_000_000, 3), np.uint8))


def test_grey_and_transparent():
    """Half-transparent black over white: 255 / 2, rounded to the even 128."""
    grey = np.array([[[7], [9]]], np.uint8)
    np.testing.assert_array_equal(rgb(grey), [[[7] * 3, [9] * 3]])
    clear = np.array([[[0, 10, 20, 0], [0, 10, 20, 255], [0, 0, 0, 127]]], np.uint8)
    np.testing.assert_array_equal(rgb(clear), [[[255] * 3, [0, 10, 20], [128] * 3]])
    with pytest.raises(ValueError, match="channels"):
        rgb(np.zeros((4, 4, 2), np.uint8))


def test_a_small_image_is_padded_with_black():
    """3 rows become 6: two above, one below. 4 columns become 2: the middle ones."""
    kept = ImagePreprocessing(None, 2, (6, 2)).read(np.arange(1, 37, dtype=np.uint8).reshape(3, 4, 3))
    expected = np.zeros((6, 2, 3), np.uint8)
    expected[2:5] = np.arange(1, 37).reshape(3, 4, 3)[:, 1:3]
    np.testing.assert_array_equal(kept, expected)


def test_a_batch_is_normalised():
    """White and black with ImageNet's mean and deviation; videos have one more axis."""
    preprocessing = ImagePreprocessing(2, 2, None)
    white, black = np.full((2, 2, 3), 255, np.uint8), np.zeros((2, 2, 3), np.uint8)
    batch = preprocessing.batch([white, black])
    np.testing.assert_allclose(batch[0, 0, 0], [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225], rtol=1e-5)
    np.testing.assert_allclose(batch[1, 0, 0], [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], rtol=1e-5)
    np.testing.assert_array_equal(preprocessing.finish(np.stack([white, black])[None])[0], batch)
