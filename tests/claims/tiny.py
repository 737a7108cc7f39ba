"""A tiny experiment: idle or moving, by sensors. The leg alone knows little.

Run: python experiments/tiny.py
"""

from dataclasses import replace

import numpy as np

from mmjax.data import from_arrays
from mmjax.encoders import Features
from mmjax.experiment import Experiment, main
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.tasks import Classify
from mmjax.train.optim import Adam

rng = np.random.default_rng(0)
LABEL = rng.integers(0, 2, 400)
SENSORS = {
    "arm": rng.normal(2 * LABEL[:, None], 1, (400, 4)).astype(np.float32),
    "leg": rng.normal(0, 1, (400, 4)).astype(np.float32),
}


class Motion(Classify):
    """A task of this file, whose class the run folder names."""


BOTH = Experiment(
    data=from_arrays(SENSORS, {"label": np.array(["idle", "moving"])[LABEL]}),
    encoders={name: Features(None) for name in SENSORS},
    fusion=Concat(width=8),
    heads={"label": Classifier(2)},
    tasks={"label": Motion("label")},
    steps=40,
    evaluate_every=20,
    optim=Adam(lr=0.05),
)
ABLATIONS = {"both": BOTH, "leg": replace(BOTH, encoders={"leg": BOTH.encoders["leg"]})}

if __name__ == "__main__":
    main(ABLATIONS)
