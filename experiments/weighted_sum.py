"""Staged training: does it help to train the sub-models first, then their fusion, and then everything jointly?

The model of our second source: f = CNN(x), g = RNN(y), v = alpha f + beta g with learned weights, mean squared error, Adam. The
sub-models are trained separately, then the fusion over the frozen sub-models, then everything jointly, for a third of the steps
each. The fusion is parallel (all modalities at once), serial (image and text first, then audio) or a hybrid of both. Each is
compared with joint training from the start for the same number of steps, and the parallel fusion also with training without the
joint stage. The data are nine classes of Stamps, from image, name and speech; the squared error is that of one-hot classes.
Departure: Adam at 3e-3, because 240 steps are too few for the source's 1e-3.

Run: python experiments/weighted_sum.py --seeds 10
     python experiments/weighted_sum.py parallel --full --costs --seeds 1 --batch 8          (a ResNet-50 and wide RNNs)
Time: 356 CPU seconds, about 4 min on 2 cores; 1.5 GB
Expected: on the 1,283 rows of 170 test stamps (fold 0; the rows of a stamp have a total weight of 1), mean of 10 seeds [95 %
interval over leak-free groups and seeds]
    cell                    accuracy               macro F1   against text
    parallel                0.494 [0.394, 0.594]   0.361      inconclusive: +0.004 [-0.037, +0.046]
    parallel_never_joint    0.449 [0.353, 0.550]   0.325
    parallel_jointly        0.522 [0.414, 0.628]   0.376      inconclusive: +0.032 [-0.002, +0.067]
    serial                  0.485 [0.382, 0.589]   0.356      inconclusive: -0.005 [-0.042, +0.032]
    serial_jointly          0.528 [0.419, 0.634]   0.382      inconclusive: +0.039 [-0.004, +0.081]
    hybrid                  0.487 [0.386, 0.589]   0.365      inconclusive: -0.002 [-0.039, +0.035]
    hybrid_jointly          0.519 [0.414, 0.622]   0.381      inconclusive: +0.029 [-0.006, +0.065]
    image                   0.414 [0.297, 0.542]   0.218
    text                    0.489 [0.383, 0.596]   0.354
    audio                   0.327 [0.213, 0.467]   0.092
    TF-IDF + SVM            0.600 [0.465, 0.721]   0.506
    majority                0.294 [0.169, 0.461]   0.051
Claim of the source, "sub-models trained separately, then optimised jointly, do better than either alone": reproduced in part.
The joint stage is worth +0.044 [+0.016, +0.073]. Training the sub-models first is inconclusive, with lower means than joint
training from the start: parallel -0.028 [-0.067, +0.012], serial -0.043 [-0.097, +0.010], hybrid -0.032 [-0.065, +0.001].
Serial and hybrid do not differ from parallel (-0.009 [-0.033, +0.015], -0.007 [-0.026, +0.013]). None of six fusions is shown
to beat text alone (0.048 to 0.059 could have been detected).
Claim, "learned relations beat manual features": not reproduced. TF-IDF with a linear SVM scores above all of them (text - SVM
-0.111 [-0.197, -0.024], serial_jointly - SVM -0.072 [-0.149, +0.005]).
"""

from dataclasses import replace

from mmjax.data.augment import Flip, Shift
from mmjax.data.stamps.dataset import Stamps
from mmjax.encoders import CNN, FrameRNN, TextRNN, resnet50
from mmjax.experiment import Experiment, main
from mmjax.fusion import Parallel, Serial, WeightedSum
from mmjax.heads import Classifier
from mmjax.losses import On, SquaredError, WeightedLosses
from mmjax.nn import RNN
from mmjax.nn.mel import LogMel
from mmjax.tasks import Classify
from mmjax.train.optim import Adam
from mmjax.train.stages import Stage

CLASSES = 9
MODALITIES = ("audio", "image", "text")
SUM = WeightedSum(width=32)
SERIAL = Serial(("image", "text"), WeightedSum(width=32), WeightedSum(width=32))
HYBRID = Parallel({"all": WeightedSum(width=32), "serial": SERIAL}, WeightedSum(width=32))

EACH_ALONE = WeightedLosses({f"{name}.label": (On(f"{name}.label", SquaredError()), 1.0) for name in MODALITIES})
ALONE = Stage(1.0, learns=("encoders", "unimodal_heads"), loss=EACH_ALONE)
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
    tasks={"label": Classify("label")},
    groups=("language",),
    unimodal_heads={name: {"label": Classifier(CLASSES)} for name in MODALITIES},
    loss=On("label", SquaredError()),
    stages=(ALONE, FUSED, JOINT),
    steps=240,
    optim=Adam(lr=3e-3),
    augment={"shift": Shift(2), "flip": Flip(0.5)},
)


def jointly(cell: Experiment) -> Experiment:
    """Trains all parameters jointly from the start, for the same number of steps."""
    return replace(cell, stages=(), unimodal_heads={})


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
