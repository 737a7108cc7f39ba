"""Attacks and defences as fields of an experiment: their descriptions, errors before training, and scores of every subset."""

import dataclasses
import json
from math import inf

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.data.feed import example_batch
from mmjax.describe import as_json, from_json
from mmjax.encoders import BagOfEmbeddings
from mmjax.evaluate.predict import predict_attacked, predict_subsets
from mmjax.experiment.check import check
from mmjax.experiment.value import ExperimentError
from mmjax.losses import On
from mmjax.robust.adversarial import TRADES, AdversarialTraining
from mmjax.robust.apgd import APGD
from mmjax.robust.attacks import FGSM, PGD, InTurn
from mmjax.robust.budgets import L2, SNR, Linf
from mmjax.robust.embeddings import Embeddings, SoftTokens
from mmjax.robust.free import VILLA, FreeAdversarial
from mmjax.robust.hotflip import HotFlip, Substitutions
from mmjax.robust.square import Square
from tests.results.pets import EXPERIMENT

PETS = dataclasses.replace(
    EXPERIMENT,
    encoders={"text": SoftTokens(BagOfEmbeddings(20, 4)), "vector": EXPERIMENT.encoders["vector"]},
    heads={"kind": EXPERIMENT.heads["kind"]},
    loss=On("kind"),
    tasks={"kind": EXPERIMENT.tasks["kind"]},
)
FLIPS = HotFlip({"text": Substitutions(1, 5, keep=(0, 1))})


@pytest.fixture(scope="module")
def data():
    return PETS.data.load()


@pytest.mark.parametrize(
    "value",
    [
        InTurn((FLIPS, APGD({"vector": Linf((0.1, 0.2, 0.3), 0.0)}))),
        Square({"vector": L2(0.5), "wave": SNR(inf)}),
        AdversarialTraining(FGSM({"text": Embeddings(0.1, 4)}), inner=FreeAdversarial({})),
        TRADES(PGD({})),
        VILLA({"vector": L2(0.1)}),
        PETS.encoders["text"],
    ],
)
def test_values_are_described(value):
    assert from_json(json.loads(json.dumps(as_json(value)))) == value


def test_errors_come_before_training(data):
    attack, defence = FGSM({"sound": L2(0.1)}), FGSM({"vector": Linf((0.1, 0.1))})
    with pytest.raises(ExperimentError, match=r"^attack: budgets.sound: there is no modality 'sound'; .* are text, vector$"):
        check(dataclasses.replace(PETS, attack=attack), data)
    with pytest.raises(ExperimentError, match=r"^training: budgets.vector: Linf.epsilon has 2 entries, but .* input has 3$"):
        check(dataclasses.replace(PETS, gradient=AdversarialTraining(defence)), data)
    cached = dataclasses.replace(PETS, attack=HotFlip({"vector": Substitutions(1)}))
    with pytest.raises(ExperimentError, match=r"^attack or gradient: budgets.vector: the data have no tokenizer of 'vector'"):
        check(cached, data)
    check(dataclasses.replace(PETS, attack=HotFlip({"text": Substitutions(1)})), data)  # the tokenizer of the data is used
    plain = dataclasses.replace(PETS, encoders={**PETS.encoders, "text": BagOfEmbeddings(20, 4)}, attack=FLIPS)
    with pytest.raises((ExperimentError, TypeError), match=r"SoftTokens|MixedTokens"):  # TypeError: of the tests' type checks
        check(plain, data)


def test_subsets_without_the_attacked_modality_keep_their_predictions(data):
    model, subsets = PETS.model, {"kind": (("text",), ("vector",), ("text", "vector"))}
    batch = example_batch(data, PETS.encoders, 8)
    random = np.random.default_rng(0)
    vector = np.asarray(random.normal(size=(8, 3)), np.float32)
    text = batch.inputs["text"].replace(x=random.integers(2, 5, (8, 6)).astype(np.int32), length=np.full(8, 6, np.int32))
    present = {"text": np.ones(8, bool), "vector": np.arange(8) > 1}
    target = {"kind": random.integers(0, 2, 8).astype(np.int32)}
    batch = dataclasses.replace(
        batch, inputs={"text": text, "vector": vector}, present=present, targets=target, weight=np.ones(8, np.float32)
    )
    batch = jax.tree.map(jnp.asarray, batch)
    variables = jax.jit(model.init)(jax.random.key(0), batch)
    attack = lambda attack: predict_attacked(model, PETS.tasks, subsets, attack, PETS.loss)
    clean = jax.jit(predict_subsets(model, PETS.tasks, subsets))(variables, batch)["kind"]
    for value, changed in ((FGSM({"vector": L2(1.0)}), {1, 2}), (FLIPS, {0, 2})):
        found = jax.jit(attack(value))(variables, batch)["kind"]
        for number in range(3):
            difference = np.abs(np.asarray(found[number]) - np.asarray(clean[number])).max(axis=-1)
            if number in changed:
                assert (difference[2:] > 1e-4).sum() > 3
            else:
                assert difference.max() < 1e-6
        if changed == {1, 2}:
            np.testing.assert_allclose(found[2][:2], clean[2][:2], atol=1e-6)  # absent in the data
    for nothing in (FGSM({"vector": L2(0.0)}), HotFlip({"text": Substitutions(0)}), APGD({"vector": L2(1.0)}, steps=0)):
        np.testing.assert_array_equal(jax.jit(attack(nothing))(variables, batch)["kind"], clean)  # bit for bit
