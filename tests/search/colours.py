"""A small data set of six colours as images, words and tones, and two cells that learn to find one by another."""

import dataclasses
from functools import partial

import numpy as np

from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.image import to_unit
from mmjax.data.inputs import ImageInput, SoundInput, TextInput
from mmjax.data.scale import standardized
from mmjax.data.stamps.table import log_mel
from mmjax.data.text import Words
from mmjax.encoders import CNN, BagOfEmbeddings, FrameRNN, Pooled
from mmjax.experiment import Experiment
from mmjax.fusion import Append
from mmjax.heads import Projection, Temperature
from mmjax.losses import InfoNCE, WeightedLosses
from mmjax.nn import GRU, masked_mean
from mmjax.nn.mel import LogMel
from mmjax.tasks import Retrieve
from mmjax.train.optim import Adam

COLOURS = {"red": (220, 30, 30), "green": (30, 170, 40), "blue": (40, 60, 220), "yellow": (230, 220, 40),
           "black": (20, 20, 20), "pink": (240, 130, 200)}  # fmt: skip
RATE, SAMPLES, COUNT = 8000, 1600, 72
MEL = LogMel(rate=RATE, bands=16, high=4000.0)
NAMES = list(COLOURS)


def picture(number: int) -> np.ndarray:
    """uint8 [8 9 3] of a colour with noise."""
    noise = np.random.default_rng(number).integers(-15, 16, (8, 9, 3))
    return (np.array(COLOURS[NAMES[number % 6]]) + noise).clip(0, 255).astype(np.uint8)


def tone(number: int) -> tuple[np.ndarray, int]:
    """The tone of a colour, with noise: (float32 [t], Hz)."""
    time = np.arange(SAMPLES) / RATE
    wave = 0.5 * np.sin(2 * np.pi * 300 * 1.4 ** (number % 6) * time) + np.random.default_rng(number).normal(0, 0.01, SAMPLES)
    return wave.astype(np.float32), RATE


def phrase(number: int) -> str:
    return f"a {NAMES[number % 6]} {('square', 'field')[number % 2]}"


@dataclasses.dataclass(frozen=True)
class Colours:
    def load(self):
        split_of = np.arange(COUNT) // 6 % 4
        at = {"train": split_of < 2, "validation": split_of == 2, "test": split_of == 3}
        at = {name: np.flatnonzero(rows) for name, rows in at.items()}
        tokenizer = Words().train(phrase(i) for i in at["train"])
        kinds = {
            "image": (picture, ImageInput(8), to_unit),
            "text": (phrase, TextInput(tokenizer, 4), identity),
            "voice": (tone, SoundInput(RATE, SAMPLES), partial(log_mel, MEL)),
        }
        columns = {
            name: Column(COUNT, lambda i, of=of, parse=parse: parse(of(i)), preprocess, of, name, parse)
            for name, (of, parse, preprocess) in kinds.items()
        }
        columns |= {name: standardized(columns[name], at["train"]) for name in ("image", "voice")}

        def rows(of):
            pointer = {name: of.astype(np.int32) for name in kinds}
            return Rows(pointer, {"colour": of.astype(np.int32) % 6}, np.ones(len(of), np.float32))

        return Dataset(
            columns=columns,
            splits={name: rows(of) for name, of in at.items()},
            metadata={name: {"id": np.array([f"colour{i}" for i in of]), "group": of} for name, of in at.items()},
            fingerprint="colours",
        )


MODALITIES = ("image", "text", "voice")
PAIRS = (("image", "text"), ("image", "voice"), ("text", "voice"))
FUSED = Experiment(
    data=Colours(),
    encoders={
        "image": Pooled(CNN(widths=(8,), dropout=0.0), masked_mean),
        "text": BagOfEmbeddings(vocabulary=20, embedding=8),
        "voice": FrameRNN(width=8, layer=GRU(8)),
    },
    fusion=Append(),
    heads={"embedding": Projection(None)},
    unimodal_heads={name: {"embedding": Projection(None)} for name in MODALITIES},
    loss_parameters={"temperature": Temperature()},
    loss=WeightedLosses(
        {f"{a}-{b}": (InfoNCE(f"{a}.embedding", f"{b}.embedding", temperature="temperature"), 1.0) for a, b in PAIRS}
    ),
    tasks={f"to_{name}": Retrieve("embedding", f"{name}.embedding", match="colour", both=False) for name in ("image", "text")},
    steps=100,
    evaluate_every=100,
    batch=12,
    optim=Adam(lr=1e-2),
)
SUMMED = dataclasses.replace(
    FUSED,
    fusion=None,
    heads={},
    tasks={"image_text": Retrieve("image.embedding", "text.embedding", match="colour")},
)
