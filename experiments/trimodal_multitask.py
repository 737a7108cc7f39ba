"""Several tasks at once: does a model that learns the category from words, the category from a picture and the language from
speech together generalise better than one that learns a single task?

The system of our fourth source: convolution, ReLU, max-pooling and flattening on the picture, embedding and LSTM on words, a
dense layer and LSTM on audio frames, concatenation, a dense layer of 64, softmax, Adam, batches of 32. Then its multi-task
form: one head and one loss for each task on the modality's own encoder, weighed equally, by learned uncertainty, or by the
norms of their gradients; beside it the category as the one task of every modality alone and fused (unimodal auxiliary
losses), without and with on-the-fly gradient modulation (OGM-GE). Four tables, one for each output: "label" is the category
from all three modalities. Departures: Adam at 3e-3 for 150 steps; the picture's last cells are pooled to 7 x 7 ahead of the
dense layer (VGG's); and never an evaluation on training data, which the source does.

Run: python experiments/trimodal_multitask.py --seeds 10
     python experiments/trimodal_multitask.py fused --full --costs --seeds 1 --batch 8       the source's widths at 224 px
Time: not measured yet with 10 seeds
Expected: not measured yet with 10 seeds: no table and no verdict, on several tasks at once or on fusion against one modality
"""

from dataclasses import replace

from mmjax.data.audio import LogMel
from mmjax.data.stamps_task import Stamps
from mmjax.encoders import VGG, FrameRNN, TextRNN
from mmjax.experiment import Experiment, main
from mmjax.fusion import Concat
from mmjax.heads import Classifier, LogVariances
from mmjax.losses import Tasks, Uncertainty
from mmjax.nn import LSTM
from mmjax.train.balance import OGMGE, GradNorm
from mmjax.train.optim import Adam

CLASSES, LANGUAGES = 9, 9
IMAGE = {"image": VGG(stages=((1, 32),), hidden=(64,), dropout=0.2)}
TEXT = {"text": TextRNN(vocabulary=1000, embedding=32, layer=LSTM(32), dropout=0.3)}
AUDIO = {"audio": FrameRNN(width=32, layer=LSTM(32), dropout=0.2)}

BASE = Experiment(
    data=Stamps(image_size=24, max_tokens=16, mel=LogMel(hop=0.04), seconds=1.6),
    encoders=IMAGE | TEXT | AUDIO,
    fusion=Concat(width=64, dropout=0.2),
    heads={"label": Classifier(CLASSES)},
    steps=150,
    optim=Adam(lr=3e-3),
)
ALONE = {
    "text": {"label": Classifier(CLASSES)},
    "image": {"label": Classifier(CLASSES)},
    "audio": {"language": Classifier(LANGUAGES)},
}
TASKS = Tasks({"label": 1.0, "text.label": 1.0, "image.label": 1.0, "audio.language": 1.0})
VARIANCES = LogVariances(("label", "text.label", "image.label", "audio.language"))

MULTI = replace(BASE, alone=ALONE, loss=TASKS)
CATEGORY_ALONE = {name: {"label": Classifier(CLASSES)} for name in ("audio", "image", "text")}
UNIMODAL = replace(
    BASE, alone=CATEGORY_ALONE, loss=Tasks({"label": 1.0} | {f"{name}.label": 1.0 for name in CATEGORY_ALONE})
)


def single(encoder: dict, modality: str, target: str) -> Experiment:
    """One task on one modality."""
    return replace(BASE, encoders=encoder, heads={}, alone={modality: ALONE[modality]}, score=f"{modality}.{target}")


ABLATIONS = {
    "fused": BASE,
    "tasks_equal": MULTI,
    "tasks_uncertainty": replace(MULTI, heads=BASE.heads | {"log_variance": VARIANCES}, loss=Uncertainty(TASKS)),
    "tasks_gradnorm": replace(MULTI, balance=GradNorm(tuple(TASKS.losses))),
    "unimodal_losses": UNIMODAL,
    "ogm_ge": replace(UNIMODAL, balance=OGMGE()),
    "image": replace(BASE, encoders=IMAGE),
    "text": replace(BASE, encoders=TEXT),
    "audio": replace(BASE, encoders=AUDIO),
    "words_single": single(TEXT, "text", "label"),
    "words_multi": replace(MULTI, score="text.label"),
    "picture_single": single(IMAGE, "image", "label"),
    "picture_multi": replace(MULTI, score="image.label"),
    "language_single": single(AUDIO, "audio", "language"),
    "language_multi": replace(MULTI, score="audio.language"),
}

FULL_BASE = replace(
    BASE,
    data=Stamps(image_size=224, max_tokens=32, seconds=4.0),
    encoders={
        "image": VGG(stages=((1, 32),), hidden=(64,), dropout=0.2),
        "text": TextRNN(vocabulary=1000, embedding=128, layer=LSTM(128), dropout=0.3),
        "audio": FrameRNN(width=128, layer=LSTM(128), dropout=0.2),
    },
    optim=Adam(lr=1e-3),
)
FULL = {"fused": FULL_BASE, "tasks_equal": replace(FULL_BASE, alone=ALONE, loss=TASKS)}

if __name__ == "__main__":
    main(ABLATIONS, FULL)
