"""A tiny training run with NaN or infinity in its data, for the tests and the scoreboard."""

import re
import tempfile
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from mmjax.encoders import Features
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.losses import cross_entropy
from mmjax.model import Multimodal
from mmjax.train.checkpoint import Checkpoints
from mmjax.train.finite import NonFiniteError
from mmjax.train.loop import TrainData, fit
from mmjax.train.optim import SGD
from mmjax.train.seeds import orders
from mmjax.train.training import Schedule, Training
from mmjax.types import Batch

ROWS, SIZE, SEEDS, STEPS = 24, 4, (0, 1), 6  # each row is drawn once in six steps
BAD = 13


def rows() -> Batch:
    random = np.random.default_rng(0)
    inputs = {name: random.normal(size=(ROWS, 3)).astype(np.float32) for name in ("image", "audio")}
    present = {"image": np.ones(ROWS, bool), "audio": np.arange(ROWS) % 5 != 0}
    return Batch(inputs, present, {"label": np.arange(ROWS) % 3}, np.ones(ROWS, np.float32))


def spoiled(value: float = np.nan, modality: str = "audio", row: int = BAD) -> Batch:
    data = rows()
    data.inputs[modality][row, 1] = value
    return data


def first_draw(row: int = BAD) -> tuple[int, int]:
    """(step from 1, seed) that first draws the row; of several seeds in one step the first."""
    order = orders(SEEDS, ROWS, SIZE)
    return next((step + 1, seed) for step in range(STEPS) for seed in range(len(SEEDS)) if row in order(step)[seed])


class Trainer:
    """Trains on given data. Each program is compiled once."""

    def __init__(self) -> None:
        self.compiled: dict[Any, Any] = {}

    @cached_property
    def training(self) -> Training:
        model = Multimodal({"image": Features(3), "audio": Features(3)}, Concat(width=3), {"label": Classifier(3)})
        return Training(model, cross_entropy, SGD(lr=0.1), Schedule(STEPS, 2, 1))

    @cached_property
    def start(self) -> Any:
        return self.training.init(SEEDS, jax.tree.map(lambda leaf: leaf[:SIZE], rows()))[0]

    def __call__(self, data: Batch, wrappers: tuple[Any, ...] = (), **schedule: int) -> tuple[Any, dict[int, Any]]:
        """(Fit or the error, parameters in the checkpoints by step)."""
        training = self.training
        changed = replace(training, schedule=replace(training.schedule, **schedule), wrappers=wrappers)
        if wrappers not in self.compiled:
            self.compiled[wrappers] = training.plan.train(changed.step(0))
        changed = replace(changed, plan=training.plan._replace(train=lambda step: self.compiled[wrappers]))
        order = orders(SEEDS, ROWS, SIZE)
        gather = lambda chunk: jax.tree.map(lambda leaf: jnp.asarray(leaf[np.stack([order(step) for step in chunk])]), data)
        given = TrainData(lambda chunks: map(gather, chunks), order)
        with tempfile.TemporaryDirectory() as folder:
            saved, checkpoints = {}, Checkpoints(Path(folder))
            save = checkpoints.save

            def spy(step, state, best, notes):
                save(step, state, best, notes)
                saved[step] = jax.tree.map(np.array, state.params)

            checkpoints.save = spy
            try:
                validate = lambda variables: {"score": np.zeros(2), "loss": np.zeros(2)}
                result = fit(changed, jax.tree.map(jnp.copy, self.start), {}, given, validate, checkpoints)
            except NonFiniteError as error:
                result = error
            checkpoints.close()
        return result, saved


def assert_stopped_at(row: int, modality: str, error: Any, saved: dict[int, Any]) -> None:
    """The error names the first step that draws the row, and no checkpoint of this step or a later one was saved."""
    step, seed = first_draw(row)
    assert isinstance(error, NonFiniteError), error
    expected = f"step {step} of {STEPS}, seed {seed}: not finite: gradient norm, (loss, )?update norm. The training data "
    expected += f"contain NaN or infinity: input '{modality}' in rows {row}. Repair or remove these rows"
    assert re.fullmatch(expected, str(error)), str(error)  # activations can hide -inf from the loss
    assert all(step_saved < step for step_saved in saved)
    chex.assert_tree_all_finite(saved)
