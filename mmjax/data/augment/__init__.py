"""Random augmentations of training batches: (batch, key) -> batch, jitted, with one key per example.

Each is the identity if its strength is zero or the batch lacks its modality.
"""

from mmjax.data.augment.audio import Gain, Noise, SpecAugment
from mmjax.data.augment.image import Colour, Flip, RandomCrop, Rotation, Shift
from mmjax.data.augment.mix import CutMix, MixUp
from mmjax.data.augment.modalities import DropModalities
from mmjax.data.augment.series import DropSteps, Jitter, Scaling

__all__ = [
    "Colour",
    "CutMix",
    "DropModalities",
    "DropSteps",
    "Flip",
    "Gain",
    "Jitter",
    "MixUp",
    "Noise",
    "RandomCrop",
    "Rotation",
    "Scaling",
    "Shift",
    "SpecAugment",
]
