"""What is it worth to train sub-models alone first, then to fuse them, then to train the whole?

The system of our second source: f = CNN(x), g = RNN(y), v = alpha f + beta g with learned weights, mean squared error, Adam.
Each sub-model is trained by itself, the fusion over the frozen sub-models, and then everything jointly, a third of the steps
each. Fused in parallel (all at once), serially (picture and words first, then speech) and in a hybrid of both. Against each:
the same steps jointly from the start; and against the first, the same without the joint stage. Nine kinds of Stamps, of
picture, name and speech; the squares are those of one-hot classes. Departures: Adam at 3e-3, since 240 steps are too few for
the source's 1e-3.

Run: python experiments/weighted_sum.py --seeds 10
     python experiments/weighted_sum.py parallel --full --costs --seeds 1 --batch 8          a ResNet-50 and wide RNNs
Time: (to be measured)
Expected: (table to be filled)
"""

from dataclasses import replace

from mmjax.data.audio import LogMel
from mmjax.data.augment import Flip, Shift
from mmjax.data.stamps_task import Stamps
from mmjax.encoders import CNN, FrameRNN, TextRNN, resnet50
from mmjax.experiment import Experiment, main
from mmjax.fusion import Parallel, Serial, WeightedSum
from mmjax.heads import Classifier
from mmjax.losses import On, SquaredError, Tasks
from mmjax.nn import RNN
from mmjax.train.optim import Adam
from mmjax.train.stages import Stage

CLASSES = 9
MODALITIES = ("audio", "image", "text")
SUM = WeightedSum(width=32)
SERIAL = Serial(("image", "text"), WeightedSum(width=32), WeightedSum(width=32))
HYBRID = Parallel({"all": WeightedSum(width=32), "serial": SERIAL}, WeightedSum(width=32))

EACH_ALONE = Tasks({f"{name}.label": (On(f"{name}.label", SquaredError()), 1.0) for name in MODALITIES})
ALONE = Stage(1.0, learns=("encoders", "alone"), loss=EACH_ALONE)
FUSED = Stage(1.0, learns=("fusion", "heads"))
JOINT = Stage(1.0, learns=("encoders", "fusion", "heads"))

IMAGE = {"image": CNN(widths=(8, 16, 32), dropout=0.2)}
TEXT = {"text": TextRNN(vocabulary=1000, embedding=32, layer=RNN(32), dropout=0.2)}
AUDIO = {"audio": FrameRNN(width=32, layer=RNN(32), dropout=0.2)}

BASE = Experiment(
    data=Stamps(image_size=24, max_tokens=16, mel=LogMel(hop=0.04), seconds=1.6),
    encoders=IMAGE | TEXT | AUDIO,
    fusion=SUM,
    heads={"label": Classifier(CLASSES)},
    alone={name: {"label": Classifier(CLASSES)} for name in MODALITIES},
    loss=On("label", SquaredError()),
    stages=(ALONE, FUSED, JOINT),
    steps=240,
    optim=Adam(lr=3e-3),
    augment={"shift": Shift(2), "flip": Flip(0.5)},
)


def jointly(cell: Experiment) -> Experiment:
    """As many steps, everything together from the first one on."""
    return replace(cell, stages=(), alone={})


ABLATIONS = {
    "parallel": BASE,
    "parallel_never_joint": replace(BASE, stages=(ALONE, FUSED)),
    "parallel_jointly": jointly(BASE),
    "serial": replace(BASE, fusion=SERIAL),
    "serial_jointly": jointly(replace(BASE, fusion=SERIAL)),
    "hybrid": replace(BASE, fusion=HYBRID),
    "hybrid_jointly": jointly(replace(BASE, fusion=HYBRID)),
    "image": jointly(replace(BASE, encoders=IMAGE)),
    "text": jointly(replace(BASE, encoders=TEXT)),
    "audio": jointly(replace(BASE, encoders=AUDIO)),
}

FULL_BASE = replace(
    BASE,
    data=Stamps(image_size=224, max_tokens=32, seconds=4.0),
    encoders={
        "image": resnet50(),
        "text": TextRNN(vocabulary=1000, embedding=300, layer=RNN(512), dropout=0.2),
        "audio": FrameRNN(width=512, layer=RNN(512), dropout=0.2),
    },
    fusion=WeightedSum(width=512),
    optim=Adam(lr=1e-3),
)
FULL = {"parallel": FULL_BASE, "parallel_jointly": jointly(FULL_BASE)}

if __name__ == "__main__":
    main(ABLATIONS, FULL)
