"""Trimodal classification: which of nine kinds of thing is this, from its picture, its name and a voice describing it?

Three ways of fusing a CNN on pictures and LSTMs on words and speech (Chapter 4 of our sources: CNN + LSTM + LSTM, concatenated,
a dense layer of 64, softmax, Adam at 1e-3, batches of 32), against each modality alone.

Run: python experiments/stamps_fusion.py                  all cells, 5 seeds
     python experiments/stamps_fusion.py gated --fusion.width 128 --seeds 10
Time: TODO
Expected: TODO
"""

from dataclasses import replace

from mmjax.data.augment import DropModalities, Flip, Shift
from mmjax.data.stamps_task import Stamps
from mmjax.encoders import CNN, FrameLSTM, TextLSTM
from mmjax.experiment import Experiment, main
from mmjax.fusion import Concat, Gated, MeanLogits
from mmjax.heads import Classifier, Mean
from mmjax.train.optim import Adam

CLASSES = 9
IMAGE = {"image": CNN(widths=(16, 32, 64), dropout=0.2)}
TEXT = {"text": TextLSTM(vocabulary=1000, width=64, dropout=0.3)}
AUDIO = {"audio": FrameLSTM(width=64, dropout=0.2)}

BASE = Experiment(
    data=Stamps(image_size=32, max_tokens=16),
    encoders=IMAGE | TEXT | AUDIO,
    fusion=Concat(width=64, dropout=0.2),
    heads={"label": Classifier(CLASSES)},
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
