"""The same from arrays: images, waves, labels and speakers that another program has loaded."""

import numpy as np

import mmjax
from mmjax.data import from_arrays
from mmjax.encoders import CNN, SpectrogramCNN
from mmjax.experiment import Experiment
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.tasks import Classify

found = np.load("clips.npz")  # images uint8 [n h w 3], waves int16 [n t] at 16 kHz, labels and speakers [n]
inputs = {"image": found["images"], "audio": found["waves"]}
data = from_arrays(inputs, {"label": found["labels"]}, groups=found["speakers"], split={"test": ["eva", "finn"]})
both = Experiment(
    data=data,  # the clips of Eva and Finn are the test split
    encoders={"image": CNN(widths=(8, 16)), "audio": SpectrogramCNN(widths=(8, 16))},
    fusion=Concat(width=16),
    heads={"label": Classifier(2)},
    tasks={"label": Classify("label")},
)
results = mmjax.run({"both": both}, seeds=3, out="runs/clips")  # writes runs/clips/report.html
