"""Regression: how many seconds does a speaker take to describe a stamp, given its name and its image?

The target is the duration of the French spoken description; the inputs are the English name and the image. A speech synthesiser
needs such a predictor. The length of the name should be the strongest predictor, and the image, which shows how much there is
to describe, may add information. Three losses are compared: squared error, absolute error and Huber.

Run: python experiments/stamps_duration.py --seeds 10
Time: about 2 min on 2 cores (156 CPU seconds), 1.2 GB
Expected: on 165 test stamps with a French clip (fold 0), mean of 10 seeds [95 % interval over leak-free groups and seeds];
mean absolute error and root mean squared error in seconds
    cell               mae                      rmse       pearson
    huber              0.359 [0.263, 0.489]     0.600      0.752
    squared            0.383 [0.282, 0.520]     0.640      0.709
    absolute           0.352 [0.258, 0.480]     0.587      0.764
    image              0.540 [0.380, 0.765]     0.950      -0.013
    text               0.360 [0.267, 0.486]     0.599      0.752
    mean               0.598 [0.455, 0.785]     0.910      0.000
    median             0.533 [0.377, 0.753]     0.932      0.000
    TF-IDF + ridge     0.504 [0.391, 0.649]     0.728      0.629
Conclusion: the name predicts the duration and beats every baseline; the image predicts nothing by itself (inconclusive against
the mean) and adds nothing to the name that can be shown (absolute - text -0.008 [-0.031, +0.014]; a difference of 0.031 s would
have been detected). The squared error is the worse loss (squared - huber +0.024 [+0.008, +0.040]); absolute - huber -0.007
[-0.015, +0.000] is inconclusive.
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
