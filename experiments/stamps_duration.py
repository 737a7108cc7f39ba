"""Regression: how many seconds does a speaker take to describe a stamp, given its name and image?

The target is the duration of the French spoken description, from the English name and the image. A speech synthesiser needs
such a predictor. The length of the name should say most; the image, which shows what there is to describe, may add something.
Squared, absolute and Huber errors are compared as losses.

Run: python experiments/stamps_duration.py --seeds 10
Time: (to be measured)
Expected: (to be measured)
"""

from dataclasses import replace

from mmjax.data.augment import Flip, Shift
from mmjax.data.stamps.dataset import Stamps
from mmjax.encoders import CNN, TextRNN
from mmjax.experiment import Experiment, main
from mmjax.fusion import Concat
from mmjax.heads import Regressor
from mmjax.losses import AbsoluteError, Huber, On, SquaredError
from mmjax.nn import LSTM
from mmjax.tasks import Regress
from mmjax.train.optim import AdamW

IMAGE = {"image": CNN(widths=(8, 16, 32), dropout=0.2)}
TEXT = {"text": TextRNN(vocabulary=1000, embedding=32, layer=LSTM(32), dropout=0.2)}

BASE = Experiment(
    data=Stamps(image_size=24, max_tokens=16, speech_languages=("fr",)),
    encoders=IMAGE | TEXT,
    fusion=Concat(width=64, dropout=0.1),
    heads={"duration": Regressor()},
    loss=On("duration", Huber(0.5)),
    tasks={"duration": Regress("duration")},
    select="duration.mae",
    steps=200,
    optim=AdamW(lr=3e-3),
    augment={"shift": Shift(2), "flip": Flip(0.5)},
)

ABLATIONS = {
    "huber": BASE,
    "squared": replace(BASE, loss=On("duration", SquaredError())),
    "absolute": replace(BASE, loss=On("duration", AbsoluteError())),
    "image": replace(BASE, encoders=IMAGE),
    "text": replace(BASE, encoders=TEXT),
}

if __name__ == "__main__":
    main(ABLATIONS)
