"""Your own audio-visual clips from a folder and a CSV: training, a report, and answers for new clips."""

import mmjax
from mmjax.data import from_manifest
from mmjax.encoders import CNN, SpectrogramCNN
from mmjax.experiment import Experiment
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.tasks import Classify

data = from_manifest("clips/data.csv", inputs=("image", "audio"), targets=("label",), groups="speaker")
both = Experiment(
    data=data,  # no speaker of the test split is heard in training
    encoders={"image": CNN(widths=(8, 16)), "audio": SpectrogramCNN(widths=(8, 16))},
    fusion=Concat(width=16),
    heads={"label": Classifier(2)},
    tasks={"label": Classify("label")},
)
results = mmjax.run({"both": both}, seeds=3, out="runs/clips")  # writes runs/clips/report.html
print(results["both"].predict({"image": ["clips/new.png"], "audio": ["clips/new.wav"]})["label"]["predicted"])
