"""What happens to a batch at random in training: (batch, key) -> batch, jitted, each example by a key of its own.

Each is the identity where its strength is zero, and where the batch lacks its modality.
"""

from mmjax.data.augment.audio import Gain, Noise, SpecAugment
from mmjax.data.augment.image import Colour, Flip, RandomCrop, Rotation, Shift
from mmjax.data.augment.mix import CutMix, MixUp
from mmjax.data.augment.modalities import DropModalities
from mmjax.data.augment.series import Jitter, Scaling

__all__ = [
    "Colour",
    "CutMix",
    "DropModalities",
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
