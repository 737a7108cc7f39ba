"""Trimodal classification: which of nine classes is a stamp, from its image, its name and a spoken description?

Three fusions of a CNN over the image and LSTMs over the text and the audio are compared with each modality alone. The model is
that of our fourth source: CNN + LSTM + LSTM, concatenation, a dense layer of 64, softmax, Adam, batches of 32 for 10 epochs
(here 300 steps, which are 19 epochs over the stamps). Departures: Adam at 3e-3, because at the source's 1e-3 the text has not
been learned after 300 steps; dropout; and the test split is not used in training.

Run: python experiments/stamps_fusion.py                  (all cells, 5 seeds)
     python experiments/stamps_fusion.py gated --fusion.width 128 --seeds 10
Time: about 6 min on 2 cores, 1.7 GB
Expected: on 170 test stamps (fold 0), mean of 5 seeds [95 % interval over leak-free groups and seeds]
    cell      accuracy               macro F1   against text, the best single modality (chosen on validation)
    concat    0.489 [0.387, 0.588]   0.355      inconclusive
    gated     0.512 [0.401, 0.620]   0.416      inconclusive: -0.011 [-0.059, +0.037]
    late      0.534 [0.422, 0.634]   0.440      inconclusive: +0.012 [-0.047, +0.064]
    image     0.461 [0.351, 0.573]   0.309
    text      0.522 [0.407, 0.630]   0.426
    audio     0.343 [0.247, 0.438]   0.104
    TF-IDF    0.600 [0.480, 0.707]   0.506      a linear SVM on the names
    majority  0.294 [0.161, 0.424]   0.051
Intervals are those of the earlier percentile bootstrap; predictions of the current code are identical.
Claim of the source, "fusing modalities beats any single one": inconclusive for these models from scratch, and none scores above
the SVM on the names. With other initial weights (under earlier module names), the same five seeds gave concat 0.523, text 0.466
and "better: +0.057 [+0.007, +0.113]". Five seeds are few, so confirm such a verdict with more. Settings were chosen on fold 0,
and the data were cleaned further afterwards: the intervals describe this one split only.
"""

from dataclasses import replace

from mmjax.data.augment import DropModalities, Flip, Shift
from mmjax.data.stamps.dataset import Stamps
from mmjax.encoders import CNN, FrameRNN, TextRNN
from mmjax.experiment import Experiment, main
from mmjax.fusion import Concat, Gated, MeanLogits
from mmjax.heads import Classifier, Mean
from mmjax.nn import LSTM
from mmjax.tasks import Classify
from mmjax.train.optim import Adam

CLASSES = 9
IMAGE = {"image": CNN(widths=(16, 32, 64), dropout=0.2)}
TEXT = {"text": TextRNN(vocabulary=1000, embedding=64, layer=LSTM(64), dropout=0.3)}
AUDIO = {"audio": FrameRNN(width=64, layer=LSTM(64), dropout=0.2)}

BASE = Experiment(
    data=Stamps(image_size=32, max_tokens=16),
    encoders=IMAGE | TEXT | AUDIO,
    fusion=Concat(width=64, dropout=0.2),
    heads={"label": Classifier(CLASSES)},
    tasks={"label": Classify("label")},
    groups=("language",),
    steps=300,
    optim=Adam(lr=3e-3),
    augment={"shift": Shift(3), "flip": Flip(0.5), "modalities": DropModalities(0.2)},
)
SINGLE = replace(BASE, augment={"shift": Shift(3), "flip": Flip(0.5)})

ABLATIONS = {
    "concat": BASE,
    "gated": replace(BASE, fusion=Gated(width=64, dropout=0.2)),
    "late": replace(BASE, fusion=MeanLogits(CLASSES, width=64, dropout=0.2), heads={"label": Mean()}),
    "image": replace(SINGLE, encoders=IMAGE),
    "text": replace(SINGLE, encoders=TEXT),
    "audio": replace(SINGLE, encoders=AUDIO),
}

if __name__ == "__main__":
    main(ABLATIONS)
