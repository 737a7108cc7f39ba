"""Texts that do not fit the frames of their own recordings are counted before training, and explained if training meets one."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.encoders import Features
from mmjax.experiment import Experiment, ExperimentError
from mmjax.experiment.impossible import check_targets_fit, impossible_rows
from mmjax.fusion import Append, Concat
from mmjax.heads import Classifier, TokenLogits
from mmjax.losses import CTC, On
from mmjax.train.finite import diagnose
from mmjax.types import Batch, Padded

# (ids of the text, number of frames): equal ids in a row need a blank between them
ROWS = (((1, 2, 3), 3), ((1, 2, 3), 2), ((2, 2), 2), ((2, 2), 3), ((1,), 5), ((1, 1, 1), 4), ((), 1))
IMPOSSIBLE = [1, 2, 5]


def feed(numbers):
    """A batch of these rows; -1 is padding."""
    text, length = np.full((len(numbers), 4), -1), np.zeros(len(numbers), np.int32)
    for place, number in enumerate(numbers):
        if number >= 0:
            ids, length[place] = ROWS[number]
            text[place, : len(ids) + 1] = [*ids, 0]
    real = np.asarray(numbers) >= 0
    frames = Padded(jnp.ones((len(numbers), 5, 2)), jnp.asarray(length))
    targets = {"text": jnp.asarray(text), "label": jnp.zeros(len(numbers), jnp.int32)}
    return Batch({"speech": frames}, {"speech": jnp.asarray(real)}, targets, jnp.asarray(real, jnp.float32))


RECOGNISER = Experiment(
    data=None,
    encoders={"speech": Features(width=4)},
    fusion=Append(),
    heads={"text": TokenLogits(5)},
    loss=On("text", CTC()),
    batch=4,
)


def test_impossible_texts_are_counted_before_training():
    assert impossible_rows(RECOGNISER, feed, len(ROWS)).tolist() == IMPOSSIBLE
    with pytest.raises(ExperimentError, match=r"the loss of 3 of 7 training rows is infinite .*\(rows 1, 2, 5\): their texts"):
        check_targets_fit(RECOGNISER, feed, len(ROWS))
    check_targets_fit(RECOGNISER, feed, 1)
    left_out = dataclasses.replace(RECOGNISER, loss=On("text", CTC(zero_infinity=True)))
    check_targets_fit(left_out, feed, len(ROWS))


def test_other_models_are_not_checked():
    def never(outputs, batch):
        raise AssertionError("the loss is not needed")

    label = dataclasses.replace(RECOGNISER, fusion=Concat(4), heads={"label": Classifier(2)}, loss=never)
    assert impossible_rows(label, feed, len(ROWS)).tolist() == []


def test_an_infinite_loss_is_not_divergence():
    metrics = {"loss": np.inf, "gradient_norm": 2.0, "update_norm": 0.1, "finite": False}
    message = diagnose("step 1 of 9, seed 0", metrics, feed([1]))
    assert message.startswith("step 1 of 9, seed 0: not finite: loss. The loss is infinite but its gradient is finite")
    assert "ShortClips" in message and "lower optim.lr" not in message
    diverged = diagnose("step 1 of 9, seed 0", metrics | {"gradient_norm": np.inf}, feed([1]))
    assert "training diverged: lower optim.lr" in diverged
