"""The experiment of test_processes.py: dense layers over sensors, in two modalities."""

import numpy as np

from mmjax.data import from_arrays
from mmjax.encoders import Features
from mmjax.experiment import Experiment, main
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.tasks import Classify

rng = np.random.default_rng(0)
LABEL = rng.integers(0, 2, 200)
SENSORS = {name: rng.normal(LABEL[:, None], 1, (200, 64)).astype(np.float32) for name in ("arm", "leg")}

CELL = Experiment(
    data=from_arrays(SENSORS, {"label": np.array(["idle", "moving"])[LABEL]}),
    encoders={name: Features(64, dropout=0.2) for name in SENSORS},
    fusion=Concat(width=64),
    heads={"label": Classifier(2)},
    tasks={"label": Classify("label")},
    steps=12,
    batch=8,
    evaluate_every=4,
    checkpoint_every=4,
)

if __name__ == "__main__":
    main({"both": CELL})
