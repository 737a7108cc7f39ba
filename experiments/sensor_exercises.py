"""Sensors as modalities: which of seven shoulder exercises is it, from a watch's accelerometer and gyroscope?

Ten subjects do seven exercises with a watch on either wrist (the package seglearn; Burns et al., 2018). A row is a window of
4 s; no subject is in two splits, and five folds test each subject once. The sensors are fused at three levels:
    early    one Transformer over the patches (0.4 s) of both sensors
    joint    one Transformer per sensor; their features are concatenated
    late     the same, a classifier per sensor, and the mean of their logits
These are trained with modality dropout, which removes a fifth of the sensors, and are also scored with one sensor missing.

Run: python experiments/sensor_exercises.py --folds all --seeds 10        (fetches 11 MB through pip once)
     python experiments/sensor_exercises.py --folds all --seeds 10 --against joint
Time: 171 CPU seconds, 11 min on 2 cores that other work kept busy; 1.3 GB
Expected: 2,229 test windows of 140 recordings and ten subjects, all five folds, mean of 10 seeds [95 % interval over subjects
and seeds]; recordings have equal weights. The last two columns are the accuracies with only this sensor present.
    cell            accuracy               macro F1   against accelerometer           accelerometer   gyroscope
    early           0.778 [0.721, 0.827]   0.779      better: +0.039 [+0.007, +0.071]   0.676           0.529
    joint           0.821 [0.765, 0.867]   0.821      better: +0.082 [+0.048, +0.116]   0.675           0.571
    late            0.820 [0.763, 0.866]   0.819      better: +0.081 [+0.046, +0.116]   0.668           0.584
    accelerometer   0.739 [0.667, 0.801]   0.739                                        0.739
    gyroscope       0.660 [0.612, 0.706]   0.659                                                        0.660
    majority        0.143 [0.143, 0.143]   0.063
Claim, "fusing sensors beats the best single one": reproduced at all three levels. Early fusion is worse than joint fusion
(-0.043 [-0.060, -0.026]); late - joint -0.001 [-0.013, +0.011] is inconclusive (0.017 would have been detected). With one
sensor missing, every fused model is below the model trained on the remaining sensor alone, by 0.06 to 0.13: modality dropout at
this rate does not make up for a model of its own (differences of means, without paired intervals). Most errors confuse
abduction with forward elevation, and internal with external rotation.
Burns et al. report 87.3 % for unseen subjects by a random forest in the first version of their preprint (ten subjects, as
here), and 88.9 % by a convolutional recurrent network in the second (20 subjects). 82.1 % is below both; .873 is just above the
interval. Their windows, features and folds differ, and they tuned each model. Test scores were seen twice before this table:
temporal convolutions with 2 seeds on fold 0 (.88 at best), and `joint` with dropout in the encoders, 200 steps and 3 seeds
(.833). The changes after that were made for speed.
"""

from dataclasses import replace

from mmjax.data.augment import DropModalities
from mmjax.data.exercises.dataset import Exercises
from mmjax.encoders.series import PatchTransformer
from mmjax.experiment import Experiment, main
from mmjax.fusion import Concat, EarlyTransformer, MeanLogits
from mmjax.heads import Classifier, Mean
from mmjax.tasks import Classify
from mmjax.train.optim import Adam

CLASSES, WIDTH, HIDDEN = 7, 32, 64
SENSORS = ("accelerometer", "gyroscope")


def encoders(depth: int, sensors: tuple[str, ...] = SENSORS) -> dict[str, PatchTransformer]:
    """A Transformer over patches of 0.4 s for each sensor. One module each, because one object in two places would share its
    parameters."""
    return {name: PatchTransformer(10, WIDTH, depth, heads=2, hidden=HIDDEN) for name in sensors}


BASE = Experiment(
    data=Exercises(),
    encoders=encoders(1),
    fusion=Concat(width=64, dropout=0.2),
    heads={"exercise": Classifier(CLASSES)},
    tasks={"exercise": Classify("exercise")},
    groups=("side",),
    steps=150,
    evaluate_every=50,
    optim=Adam(lr=3e-3),
    augment={"modalities": DropModalities(0.2)},
)
EARLY = replace(BASE, encoders=encoders(0), fusion=EarlyTransformer(WIDTH, depth=1, heads=2, hidden=HIDDEN))

ABLATIONS = {
    "early": EARLY,
    "joint": BASE,
    "late": replace(BASE, fusion=MeanLogits(CLASSES, width=64, dropout=0.2), heads={"exercise": Mean()}),
    "accelerometer": replace(BASE, encoders=encoders(1, SENSORS[:1]), augment={}),
    "gyroscope": replace(BASE, encoders=encoders(1, SENSORS[1:]), augment={}),
}

if __name__ == "__main__":
    main(ABLATIONS)
