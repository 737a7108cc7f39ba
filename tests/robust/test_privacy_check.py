"""An experiment with DP-SGD is refused, by name and before training, if anything would break its guarantee."""

import dataclasses
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.data.augment.mix import MixUp
from mmjax.data.components import PrincipalComponents
from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.equal_classes import EqualClasses
from mmjax.data.fixed_scale import FixedScale
from mmjax.data.inputs import TextInput
from mmjax.data.order import Poisson
from mmjax.data.scale import Scaled, Standardize, UnitLength
from mmjax.data.text import TrainedTokenizer
from mmjax.encoders import Features
from mmjax.experiment import Experiment
from mmjax.experiment.check import check
from mmjax.experiment.privacy import check_privacy, guarantee_of, with_noise
from mmjax.experiment.value import ExperimentError
from mmjax.fusion import Concat
from mmjax.heads import Classifier, Projection
from mmjax.losses import SigmoidPairs
from mmjax.nn import BatchNorm
from mmjax.robust.adversarial import AdversarialTraining
from mmjax.robust.attacks import FGSM
from mmjax.robust.budgets import Linf
from mmjax.robust.privacy import DPSGD, ClassicRDP
from mmjax.tasks import Classify
from mmjax.train.optim import SGD
from mmjax.types import Tokens

N, WIDTH = 12, 3
X = {name: np.random.default_rng(k).normal(size=(N, WIDTH)).astype(np.float32) for k, name in enumerate(("a", "b"))}
LABEL = (np.arange(N) % 3).astype(np.int32)
ROWS = Rows({name: np.arange(N, dtype=np.int32) for name in X}, {"label": LABEL}, np.ones(N, np.float32))
DATA = Dataset(
    columns={name: Column(N, x.__getitem__, identity) for name, x in X.items()},
    splits=dict.fromkeys(("train", "validation", "test"), ROWS),
    metadata={split: {"id": np.array([f"{split} {i}" for i in range(N)])} for split in ("train", "validation", "test")},
    fingerprint="",
    classes={"label": tuple("xyz")},
)
PRIVATE = DPSGD(noise_multiplier=2.0, delta=1e-2)
GOOD = Experiment(
    data=None,
    encoders={name: Features(width=None) for name in X},
    fusion=Concat(width=4),
    heads={"label": Classifier(3)},
    tasks={"label": Classify("label")},
    optim=SGD(),
    gradient=PRIVATE,
    sampling=Poisson(),
    batch=4,
    steps=6,
)


def test_a_valid_experiment_passes():
    check(GOOD, DATA)
    check_privacy(replace(GOOD, gradient=None, sampling=None, skip_nonfinite=True), DATA)  # not private


def test_the_noise_is_of_the_rows_batch_and_steps():
    target = replace(GOOD, gradient=DPSGD(epsilon=4.0, delta=1e-2, accountant=ClassicRDP()))
    known = with_noise(target, N).gradient
    assert known.expected == 4.0 and known.epsilon is None
    assert with_noise(replace(target, steps=12), N).gradient.noise_multiplier > known.noise_multiplier
    found = guarantee_of(target, N)
    assert 3.96 < found["epsilon"] <= 4 and found["noise_multiplier"] == known.noise_multiplier and found["steps"] == 6
    assert guarantee_of(replace(GOOD, gradient=None), N) is None
    nested = replace(GOOD, gradient=AdversarialTraining(FGSM({"a": Linf(0.1)}), inner=PRIVATE))
    assert with_noise(nested, N).gradient.inner == replace(PRIVATE, expected=4.0)


def refused(experiment, data=DATA):
    with pytest.raises(ExperimentError) as error:
        check(experiment, data)
    assert "\n" not in str(error.value)
    return str(error.value)


def with_column(column):
    return replace(DATA, columns={**DATA.columns, "a": column})


def test_settings():
    assert "sampling is Epochs()" in refused(Experiment(**{**vars(GOOD), "sampling": Experiment.sampling}))
    assert "skip_nonfinite" in refused(replace(GOOD, skip_nonfinite=True))
    assert "delta is 0.1; it must be below 1 / 12" in refused(replace(GOOD, gradient=replace(PRIVATE, delta=0.1)))
    assert "batch is 13" in refused(replace(GOOD, batch=13))
    two = AdversarialTraining(PRIVATE, inner=PRIVATE)
    assert "two DPSGD" in refused(replace(GOOD, gradient=two))


def test_data():
    assert "EqualClasses" in refused(GOOD, EqualClasses(_Given()).load())
    shared = replace(ROWS, pointer={**ROWS.pointer, "b": np.array([0, 1, 2, 1, *range(4, N)], np.int32)})
    message = refused(GOOD, replace(DATA, splits={**DATA.splits, "train": shared}))
    assert "training rows 1 and 3 have the same item of 'b'" in message
    twice = {"id": np.array(["x", "y", "x", *map(str, range(N - 3))])}
    assert "training rows 0 and 2 have the same id" in refused(GOOD, replace(DATA, metadata={**DATA.metadata, "train": twice}))
    taught = replace(ROWS, targets={**ROWS.targets, "teacher": np.zeros((N, 3), np.float32)})
    assert "teacher" in refused(GOOD, replace(DATA, splits={**DATA.splits, "train": taught}))


def test_statistics_of_the_training_rows():
    column = DATA.columns["a"]
    scaled = Standardize()(column, np.arange(N))
    assert isinstance(scaled.preprocess, Scaled)
    assert "'a' has means and deviations, computed from the training rows" in refused(GOOD, with_column(scaled))
    assert "'a' has principal components" in refused(GOOD, with_column(PrincipalComponents(1)(column, np.arange(N))))
    own = replace(column, preprocess=partial(jnp.subtract, np.ones((1, 3), np.float32)))
    assert "'a' has an array of numbers" in refused(GOOD, with_column(own))
    vocabulary = replace(column, parse=TextInput(TrainedTokenizer("{}"), 4))
    assert "'a' has a trained vocabulary" in refused(GOOD, with_column(vocabulary))
    check_data_only(with_column(UnitLength()(column, np.arange(N))))
    fixed = FixedScale(_Given(with_column(scaled)), (("a", 0.5, 2.0),)).load()
    np.testing.assert_allclose(fixed.columns["a"].preprocess(X["a"]), (X["a"] - 0.5) / 2)
    check_data_only(fixed)


def check_data_only(data):
    """No refusal by the columns: the error is a later one."""
    with pytest.raises(ValueError, match="sampling"):
        check_privacy(replace(GOOD, sampling=None), data)
    from mmjax.robust.privacy.data import fitted

    assert [fitted(column) for column in data.columns.values()] == [None, None]


@dataclass(frozen=True)
class _Given:
    data: Any = DATA

    def load(self):
        return self.data


class Normalised(nn.Module):
    """Batch norm of a vector."""

    takes_present = True

    @nn.compact
    def __call__(self, x, *, present=None, train=False):
        return Tokens(BatchNorm()(x, present=present, train=train)[:, None], jnp.ones((x.shape[0], 1), bool))


@dataclass(frozen=True)
class Remembering:
    """Adds the mean input of the last batch to the inputs, then delegates: its state is private."""

    inner: Any

    def init(self, params):
        return jnp.zeros(WIDTH), self.inner.init(params)

    def __call__(self, objective, params, state, batch, key):
        moved = {**batch.inputs, "a": batch.inputs["a"] + state[0][None]}
        value, gradient, aux, inner = self.inner(objective, params, state[1], batch.replace(inputs=moved), key)
        return value, gradient, aux, (batch.inputs["a"].mean(axis=0), inner)


@dataclass(frozen=True)
class Confident(Remembering):
    """Scales the private gradient by a statistic of the batch, as OGM-GE does."""

    def init(self, params):
        return self.inner.init(params)

    def __call__(self, objective, params, state, batch, key):
        value, gradient, aux, state = self.inner(objective, params, state, batch, key)
        return value, jax.tree.map(lambda g: g * jnp.tanh(batch.inputs["a"].mean()), gradient), aux, state


EMBEDDINGS = {name: {"embedding": Projection(4)} for name in X}
OTHERS = "the loss of an example depends on other examples of the batch"
MIXING = {
    "batch norm": (replace(GOOD, encoders={**GOOD.encoders, "a": Normalised()}), OTHERS),
    "siglip": (replace(GOOD, unimodal_heads=EMBEDDINGS, loss=SigmoidPairs("a.embedding", "b.embedding")), OTHERS),
    "mixup": (replace(GOOD, augment={"mix": MixUp(3, modalities=("a",))}), OTHERS),
    "state": (replace(GOOD, gradient=Remembering(PRIVATE)), "its state keeps values computed from the examples"),
    "scale": (replace(GOOD, gradient=Confident(PRIVATE)), "its update depends on the examples, beyond the private gradient"),
}


@pytest.mark.parametrize("name", MIXING)
def test_what_mixes_examples_is_refused(name):
    experiment, message = MIXING[name]
    with pytest.raises(ValueError, match="DPSGD needs losses of single examples") as error:
        check_privacy(experiment, DATA)
    assert message in str(error.value)


def test_an_attack_on_each_example_is_private():
    attacked = AdversarialTraining(FGSM({"a": Linf(0.3)}), inner=PRIVATE)
    check_privacy(dataclasses.replace(GOOD, gradient=attacked), DATA)
