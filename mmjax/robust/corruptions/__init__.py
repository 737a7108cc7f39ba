"""Corruptions of inputs at five severities: the 15 of ImageNet-C for images, and noise, codecs, rooms, typos and losses.

A corruption is a frozen value that changes one example: (key, x, severity) -> x; `TextChange`s change texts on the host.
`changed` makes it the identity at severity 0 and keeps padding and alpha. `Corruption` is an augmentation of batches,
`corrupted` a data set whose test inputs are corrupted, and `suite(column)` finds the corruptions that fit a column.
`mmjax.audit.corruptions` computes the curves of a trained cell.
"""

from mmjax.robust.corruptions.apply import Corruption, changed, corrupted, corrupted_items
from mmjax.robust.corruptions.blur import DefocusBlur, GlassBlur, MotionBlur, ZoomBlur
from mmjax.robust.corruptions.digital import Contrast, ElasticTransform, JpegCompression, Pixelate
from mmjax.robust.corruptions.levels import SEVERITIES, Change, TextChange
from mmjax.robust.corruptions.noise import GaussianNoise, ImpulseNoise, ShotNoise
from mmjax.robust.corruptions.series import ChannelNoise, DroppedEntries, DroppedSensors, DroppedSteps, FeatureNoise
from mmjax.robust.corruptions.sound import LostPackets, LowPass, LowRate, MuLaw, Reverberation, WhiteNoise
from mmjax.robust.corruptions.suites import CIFAR10_C, IMAGENET_C, SERIES, SOUND, TEXT, VECTOR, VIDEO, suite
from mmjax.robust.corruptions.text import DroppedWords, Typos
from mmjax.robust.corruptions.weather import Brightness, Fog, Frost, Snow

__all__ = [
    "CIFAR10_C", "IMAGENET_C", "SERIES", "SEVERITIES", "SOUND", "TEXT", "VECTOR", "VIDEO", "Brightness", "Change",
    "ChannelNoise", "Contrast", "Corruption", "DefocusBlur", "DroppedEntries", "DroppedSensors", "DroppedSteps",
    "DroppedWords", "ElasticTransform", "FeatureNoise", "Fog", "Frost", "GaussianNoise", "GlassBlur", "ImpulseNoise",
    "JpegCompression", "LostPackets", "LowPass", "LowRate", "MotionBlur", "MuLaw", "Pixelate", "Reverberation", "ShotNoise",
    "Snow", "TextChange", "Typos", "WhiteNoise", "ZoomBlur", "changed", "corrupted", "corrupted_items", "suite",
]  # fmt: skip
