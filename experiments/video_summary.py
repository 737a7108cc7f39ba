"""Summaries of videos: what an animated figure does, from its frames, from a text about it, or from both.

A model writes a sentence such as "an elf attacks with its bow" for an animation of a unit of the game Wesnoth, from up to six
frames, from the unit's description (about 80 words), or from both. The description tells who the unit is, but not what it does
in this animation; the frames show both. Test units belong to groups of related units that training has not seen. A frozen
EfficientNet-Lite2 sees each frame, a frozen MiniLM reads the text, and `JoinTokens` makes one memory of the frames and the text
for a cross-attention decoder. "race", "deed" and "weapon" are the shares of summaries in which this part is right, the weapon
among attacks; "rest" is the deed of the 32 test clips that are no attacks.
`key1` and `key3` keep one and three frames, chosen by learned attention (`KeyTokens`); `first` keeps the first frame, `even3`
three evenly spaced ones. `missing50` and `missing75` are the trained model `both` on videos without half or three quarters of
their frames; `wrong_video` and `wrong_text` have those of another test example.

Run: python experiments/video_summary.py --seeds 5 --against both
     python experiments/video_summary.py both wrong_video --folds all --seeds 5 --against both
Time: 5 and 2 CPU minutes, 3 for the features, and 1.4 GB; fetches 146 MB through apt and 107 MB of weights once
Expected: 115 test animations in 16 unseen groups (fold 0), mean of 5 seeds [95 % interval over groups and seeds]
    cell            ROUGE-L                CIDEr-D   race    deed    weapon   rest    ROUGE-L against both
    both            0.634 [0.259, 0.896]   2.11      0.654   0.737   0.072    0.144
      text alone    0.622                  1.87      0.643   0.717   0.065    0.013
      video alone   0.605                  1.82      0.579   0.737   0.072    0.138
    video           0.615 [0.216, 0.902]   1.98      0.616   0.737   0.084    0.156   inconclusive
    text            0.623 [0.320, 0.853]   1.88      0.626   0.722   0.075    0.000   inconclusive
    key1            0.629 [0.315, 0.862]   1.96      0.657   0.722   0.082    0.000   inconclusive
    key3            0.635 [0.265, 0.894]   1.99      0.635   0.744   0.067    0.094   inconclusive
    even3           0.629 [0.236, 0.903]   2.01      0.637   0.755   0.070    0.150   inconclusive
    first           0.621 [0.308, 0.858]   1.86      0.642   0.717   0.077    0.019   inconclusive
    missing50       0.635 [0.269, 0.892]   2.14      0.656   0.737   0.070    0.163   inconclusive
    missing75       0.631 [0.279, 0.883]   2.05      0.677   0.717   0.067    0.113   inconclusive
    wrong_video     0.571 [0.278, 0.821]   0.90      0.344   0.694   0.043    0.062   inconclusive
      video alone   0.549                  0.61      0.256   0.689   0.034    0.069
    wrong_text      0.604 [0.215, 0.895]   1.70      0.541   0.743   0.063    0.131   inconclusive
    nearest video   0.545 [0.204, 0.849]   1.63      0.470   0.661   0.072    0.344
    nearest text    0.543 [0.386, 0.692]   1.81      0.635   0.478   0.133    0.125
    most common     0.505 [0.293, 0.714]   0.23      0.000   0.722   0.060    0.000
    all folds: 582 animations in 80 groups, mean of 5 seeds [95 % interval]
    both            0.638 [0.580, 0.693]   2.12      0.562   0.747   0.083    0.208
      text alone    0.607 [0.553, 0.658]   1.79      0.547   0.707   0.064    0.008
      video alone   0.613 [0.555, 0.667]   1.81      0.484   0.746   0.080    0.209
    wrong_video     0.532 [0.479, 0.583]   0.92      0.313   0.647   0.034    0.031   worse, -0.107 [-0.140, -0.074]
      video alone   0.493 [0.442, 0.545]   0.49      0.184   0.645   0.027    0.033
Conclusion: the frames are seen. Over all folds, another video costs `both` 0.249 [0.162, 0.336] of the races, 0.100 [0.069,
0.132] of the deeds, 0.049 [0.017, 0.081] of the weapons, and 0.178 [0.091, 0.264] of the deeds that are no attacks, which the
text cannot tell. `both` has a better ROUGE-L than the most common summary (by 0.219 [0.166, 0.272]), the nearest video in the
same features (0.076 [0.040, 0.112]) and the nearest text (0.115 [0.059, 0.172]). It sees little besides the race: it names one
weapon in twelve and one in five of the deeds that are no attacks, which is not shown to be more than the nearest video gives.
The other cells are compared on one fold, whose 16 groups are few and uneven (0.04 to 0.21 ROUGE-L could have been detected):
whether the text helps is open, and key frames by attention are not shown to be better than evenly spaced ones (`key3` less
`even3`: 0.007 [-0.044, 0.058]) or the first one (`key1` less `first`: 0.008 [-0.016, 0.031]). Without half of the frames,
ROUGE-L changes by 0.001 [-0.029, 0.031], without three quarters by -0.003 [-0.050, 0.043]. Only the number of steps was chosen,
by the validation ROUGE-L of fold 0.
"""

import re
from dataclasses import dataclass, replace

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmjax.data.augment import DropModalities, DropSteps
from mmjax.data.text import Words
from mmjax.data.text_target import TextTarget
from mmjax.data.wesnoth.clips import UnitClips
from mmjax.decoders import Decoder
from mmjax.encoders import Features, KeyTokens
from mmjax.experiment import Experiment, main
from mmjax.fusion import JoinTokens
from mmjax.losses import CrossEntropy, On
from mmjax.metrics.weighted import mean
from mmjax.pretrained.cached_features import CachedFeatures
from mmjax.robust.corrupt import Corrupt
from mmjax.robust.wrong_pairs import WrongPairs
from mmjax.tasks import Generate
from mmjax.tasks.generate import texts_of
from mmjax.tasks.search import Greedy
from mmjax.train.optim import AdamW
from mmjax.types import Metric, Outcomes, Padded, Tokens, Units

WIDTH, VOCABULARY = 64, 192
FROZEN = (("video", "efficientnet-lite2"), ("text", "minilm"))
SENTENCE = re.compile(r"an? (?P<race>.*?) (?P<deed>attacks|dies|defends|heals|waits|moves|stands)\b(?:.* its (?P<weapon>.*))?")


@dataclass(frozen=True)
class PartRight:
    """The share of summaries in which a part is right. part: "race", "deed" or "weapon" (of attacks), or "rest", the deed of
    those that are no attacks."""

    part: str

    def __call__(self, outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
        return mean(outcomes[self.part], weight * outcomes[f"{self.part}_asked"])


PARTS = {part: Metric(PartRight(part)) for part in ("race", "deed", "weapon", "rest")}


def parts_of(summary: str) -> dict[str, str | None]:
    """{part: its words, None if the summary has none}."""
    found = SENTENCE.match(summary)
    parts = found.groupdict() if found else dict.fromkeys(("race", "deed", "weapon"))
    return parts | {"rest": None if parts["deed"] == "attacks" else parts["deed"]}


@dataclass(frozen=True)
class Summaries(Generate):
    """`Generate`, and the share of summaries with the right race, deed and weapon.

    output, target, search, scores, per, nearest: as in `Generate`; a unit has one reference.
    """

    @property
    def metrics(self) -> dict[str, Metric]:
        return super().metrics | PARTS

    def outcomes(self, predicted: np.ndarray, units: Units) -> Outcomes:
        texts = texts_of(predicted, units.tokenizer)
        written = [parts_of(texts[entry]) for entry in units.entry]
        right = [parts_of(reference) for reference in units.target["reference"][:, 0].tolist()]
        hits = {part: np.array([a[part] == b[part] for a, b in zip(written, right)]) for part in PARTS}
        asked = {f"{part}_asked": np.array([of[part] is not None for of in right]) for part in PARTS}
        return super().outcomes(predicted, units) | hits | asked


class Spaced(nn.Module):
    """An encoder of some evenly spaced frames, with both ends. encoder: of Padded [b n d]. keep: number of frames; 1 is the
    first one."""

    encoder: nn.Module
    keep: int = 3

    @nn.compact
    def __call__(self, video: Padded, *, train: bool = False) -> Tokens:
        length = jnp.minimum(video.length, self.keep)
        place = jnp.arange(self.keep)[None] * ((video.length - 1) / jnp.maximum(length - 1, 1))[:, None]
        place = jnp.clip(jnp.round(place).astype(int), 0, video.x.shape[1] - 1)
        x = jnp.take_along_axis(video.x, place[..., None], axis=1)
        return self.encoder(Padded(x, length), train=train)


CLIPS = CachedFeatures(UnitClips(frames=6, size=32, max_tokens=128), weights=FROZEN)
FRAMES = Features(WIDTH, dropout=0.3)

BASE = Experiment(
    data=TextTarget(CLIPS, column="summary", target="summary", target_tokenizer=Words(VOCABULARY), target_tokens=10),
    encoders={"video": FRAMES, "text": Features(WIDTH, dropout=0.3)},
    fusion=JoinTokens(width=WIDTH, dropout=0.1),
    decoders={"summary": Decoder(VOCABULARY, width=WIDTH, depth=1, heads=4, hidden=128, positions=12, dropout=0.2)},
    loss=On("summary", CrossEntropy(smoothing=0.1)),
    tasks={"summary": Summaries("summary", search=Greedy(10), scores=("rouge_l", "bleu4", "cider_d"))},
    select="summary.rouge_l",
    groups=("deed",),
    steps=300,
    evaluate_every=100,
    optim=AdamW(lr=2e-3, decay=0.05),
    augment={"frames": DropSteps(0.2, "video"), "modalities": DropModalities(0.3)},
)


def with_video(encoder: nn.Module) -> Experiment:
    return replace(BASE, encoders={**BASE.encoders, "video": encoder})


def of(modality: str) -> Experiment:
    augment = {"frames": BASE.augment["frames"]} if modality == "video" else {}
    return replace(BASE, encoders={modality: BASE.encoders[modality]}, augment=augment)


ABLATIONS = {
    "both": BASE,
    "video": of("video"),
    "text": of("text"),
    "key1": with_video(KeyTokens(FRAMES, keep=1)),
    "key3": with_video(KeyTokens(FRAMES, keep=3)),
    "even3": with_video(Spaced(FRAMES, keep=3)),
    "first": with_video(Spaced(FRAMES, keep=1)),
    "missing50": replace(BASE, attack=Corrupt(DropSteps(0.5, "video"))),
    "missing75": replace(BASE, attack=Corrupt(DropSteps(0.75, "video"))),
    "wrong_video": replace(BASE, attack=WrongPairs(("video",))),
    "wrong_text": replace(BASE, attack=WrongPairs(("text",))),
}

if __name__ == "__main__":
    main(ABLATIONS)
