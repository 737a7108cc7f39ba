"""A user's own data from NumPy arrays, with an experiment of three tasks: what is in this file is all that a run needs."""

import dataclasses

import numpy as np

from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.image import to_unit
from mmjax.data.inputs import ImageInput, TextInput, VectorInput
from mmjax.data.scale import standardized
from mmjax.data.text import Words
from mmjax.encoders import CNN, BagOfEmbeddings, Features
from mmjax.experiment import Experiment
from mmjax.fusion import Concat
from mmjax.heads import Classifier, MultiLabel, Regressor
from mmjax.losses import On, SigmoidCrossEntropy, SquaredError, WeightedLosses
from mmjax.tasks import Classify, MultiLabelClassify, Regress

COUNT = 48
KINDS, TAGS = ("cat", "dog"), ("small", "brown", "old")


@dataclasses.dataclass(frozen=True)
class Pets:
    """Images uint8 [6 5 3], texts, and vectors [3]; every fifth row lacks its vector."""

    def originals(self):
        rng = np.random.default_rng(0)
        kind = rng.integers(0, 2, COUNT).astype(np.int32)
        images = rng.integers(0, 256, (COUNT, 6, 5, 3)).astype(np.uint8)
        texts = [f"a {['quiet', 'loud'][k]} animal {n % 3}" for n, k in enumerate(kind)]
        return kind, images, texts, rng.normal(3, 2, (COUNT, 3)).astype(np.float32)

    def load(self):
        kind, images, texts, vectors = self.originals()
        split_of = np.arange(COUNT) % 4
        at = {name: np.flatnonzero(np.isin(split_of, which)) for name, which in SPLITS.items()}
        tokenizer = Words().train(texts[i] for i in at["train"])
        parse = {"image": ImageInput(8), "text": TextInput(tokenizer, 6), "vector": VectorInput(3)}
        original = {"image": images.__getitem__, "text": texts.__getitem__, "vector": vectors.__getitem__}
        preprocess = {"image": to_unit, "text": identity, "vector": identity}
        columns = {
            name: Column(COUNT, lambda i, n=name: parse[n](original[n](i)), preprocess[name], parse=parse[name])
            for name in parse
        }
        columns["text"] = dataclasses.replace(columns["text"], original=original["text"])
        columns |= {name: standardized(columns[name], at["train"]) for name in ("image", "vector")}
        rng = np.random.default_rng(1)
        age, tags = rng.normal(5, 2, COUNT).astype(np.float32), rng.integers(0, 2, (COUNT, 3)).astype(np.int32)

        def rows(of):
            pointer = {"image": of.astype(np.int32), "text": of.astype(np.int32)}
            pointer["vector"] = np.where(of % 5 == 0, -1, of).astype(np.int32)
            return Rows(pointer, {"kind": kind[of], "age": age[of], "tags": tags[of]}, np.ones(len(of), np.float32))

        return Dataset(
            columns=columns,
            splits={name: rows(of) for name, of in at.items()},
            metadata={name: {"id": np.array([f"pet{i}" for i in of]), "group": of} for name, of in at.items()},
            fingerprint="pets",
            classes={"kind": KINDS, "tags": TAGS},
        )


SPLITS = {"train": (0, 1), "validation": (2,), "test": (3,)}
EXPERIMENT = Experiment(
    data=Pets(),
    encoders={
        "image": CNN(widths=(4,), dropout=0.0),
        "text": BagOfEmbeddings(vocabulary=20, embedding=4),
        "vector": Features(width=4),
    },
    fusion=Concat(width=8, dropout=0.0),
    heads={"kind": Classifier(2), "age": Regressor(), "tags": MultiLabel(3)},
    loss=WeightedLosses(
        {"kind": 1.0, "age": (On("age", SquaredError()), 0.1), "tags": On("tags", SigmoidCrossEntropy())}
    ),
    tasks={"kind": Classify("kind"), "age": Regress("age"), "tags": MultiLabelClassify("tags")},
    steps=8,
    evaluate_every=8,
    batch=8,
)
