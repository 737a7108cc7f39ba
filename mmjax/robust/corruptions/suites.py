"""The corruptions of each kind of input, by name."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mmjax.data.inputs import ImageInput, SoundInput, TextInput
from mmjax.data.scale import MAX_ITEMS
from mmjax.robust.corruptions.blur import DefocusBlur, GlassBlur, MotionBlur, ZoomBlur
from mmjax.robust.corruptions.digital import Contrast, ElasticTransform, JpegCompression, Pixelate
from mmjax.robust.corruptions.noise import GaussianNoise, ImpulseNoise, ShotNoise
from mmjax.robust.corruptions.series import ChannelNoise, DroppedEntries, DroppedSensors, DroppedSteps, FeatureNoise
from mmjax.robust.corruptions.sound import LostPackets, LowPass, LowRate, MuLaw, Reverberation, WhiteNoise
from mmjax.robust.corruptions.text import DroppedWords, Typos
from mmjax.robust.corruptions.weather import Brightness, Fog, Frost, Snow
from mmjax.types import Padded

__all__ = ["CIFAR10_C", "IMAGENET_C", "SERIES", "SMALL", "SOUND", "TEXT", "VECTOR", "VIDEO", "suite"]

SMALL = 64  # pixels per side up to which CIFAR10_C is used

IMAGENET_C = {
    "gaussian_noise": GaussianNoise(),
    "shot_noise": ShotNoise(),
    "impulse_noise": ImpulseNoise(),
    "defocus_blur": DefocusBlur(),
    "glass_blur": GlassBlur(),
    "motion_blur": MotionBlur(),
    "zoom_blur": ZoomBlur(),
    "snow": Snow(),
    "frost": Frost(),
    "fog": Fog(),
    "brightness": Brightness(),
    "contrast": Contrast(),
    "elastic_transform": ElasticTransform(),
    "pixelate": Pixelate(),
    "jpeg_compression": JpegCompression(),
}
"""The 15 corruptions of ImageNet-C, with the levels of its code for images of 224 px."""

_single = lambda *values: tuple((value,) for value in values)

CIFAR10_C = {
    "gaussian_noise": GaussianNoise(_single(0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot_noise": ShotNoise(_single(500, 250, 100, 75, 50)),
    "impulse_noise": ImpulseNoise(_single(0.01, 0.02, 0.03, 0.05, 0.07)),
    "defocus_blur": DefocusBlur(((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))),
    "glass_blur": GlassBlur(((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))),
    "motion_blur": MotionBlur(((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))),
    "zoom_blur": ZoomBlur(((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01))),
    "snow": Snow((
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    )),
    "frost": Frost(((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))),
    "fog": Fog(((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))),
    "brightness": Brightness(_single(0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": Contrast(_single(0.75, 0.5, 0.4, 0.3, 0.15)),
    "elastic_transform": ElasticTransform((
        (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03),
    )),
    "pixelate": Pixelate(_single(0.95, 0.9, 0.85, 0.75, 0.65)),
    "jpeg_compression": JpegCompression(_single(80, 65, 58, 50, 40)),
}  # fmt: skip
"""The same corruptions with the levels of CIFAR-10-C, for images of 32 px."""

SOUND = {
    "white_noise": WhiteNoise(),
    "mu_law": MuLaw(),
    "low_pass": LowPass(),
    "low_rate": LowRate(),
    "reverberation": Reverberation(),
    "lost_packets": LostPackets(),
}
TEXT = {"typos": Typos(), "dropped_words": DroppedWords()}
SERIES = {"channel_noise": ChannelNoise(), "dropped_sensors": DroppedSensors(), "dropped_steps": DroppedSteps()}
VIDEO = {"dropped_frames": DroppedSteps()}
VECTOR = {"feature_noise": FeatureNoise(), "dropped_entries": DroppedEntries()}


def suite(column: Any) -> Mapping[str, Any]:
    """The corruptions that fit the items of a `Column`, {} if none does.

    Images up to 64 px have the levels of CIFAR-10-C, larger ones those of ImageNet-C. Texts need their originals. The noise of
    vectors is relative to the deviation of each feature over the items, at most MAX_ITEMS of them. Features of a frozen encoder
    are vectors too: corrupt what was encoded by naming its corruptions, such as {"text": TEXT}.
    """
    item, parse = column.read(0), column.parse
    array = item.x if isinstance(item, Padded) else item
    if isinstance(parse, TextInput):
        return TEXT if column.original is not None else {}
    if isinstance(parse, SoundInput) and isinstance(item, Padded) and array.ndim == 1:
        rated = lambda change: replace(change, rate=parse.rate) if hasattr(change, "rate") else change
        return {name: rated(change) for name, change in SOUND.items()}
    if isinstance(parse, ImageInput) and array.ndim == 3:
        return CIFAR10_C if max(array.shape[:2]) <= SMALL else IMAGENET_C
    if isinstance(item, Padded) and array.ndim == 4:
        return VIDEO
    if not hasattr(array, "dtype") or array.dtype.kind != "f":
        return {}
    if isinstance(item, Padded):
        return SERIES if array.ndim == 2 else {}
    return _for_vectors(column) if array.ndim == 1 else {}


def _for_vectors(column: Any) -> Mapping[str, Any]:
    numbers = np.unique(np.linspace(0, column.count - 1, min(column.count, MAX_ITEMS)).round().astype(int))
    deviation = np.stack([column.read(int(number)) for number in numbers]).astype(np.float64).std(axis=0)
    return {**VECTOR, "feature_noise": FeatureNoise(deviation=tuple(deviation.tolist()))}
