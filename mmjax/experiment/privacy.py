"""DP-SGD in an experiment: its noise, its guarantee, and the refusal of whatever would break the guarantee."""

import dataclasses
from typing import Any

import numpy as np

from mmjax.data.dataset import Dataset
from mmjax.data.feed import HostFeed
from mmjax.data.order import Poisson
from mmjax.experiment.training import training_of
from mmjax.experiment.value import Experiment
from mmjax.robust.distill import TEACHER
from mmjax.robust.privacy.accounting import calibrated_noise, guarantee
from mmjax.robust.privacy.data import fitted, shared_item
from mmjax.robust.privacy.mixing import what_mixes
from mmjax.robust.privacy.nested import find, with_inner

__all__ = ["PROBED", "check_privacy", "guarantee_of", "with_noise"]

PROBED = 4  # rows of the batch that is tested for dependence


def with_noise(experiment: Experiment, rows: int) -> Experiment:
    """The experiment whose DP-SGD, if it has one, knows its noise multiplier and the expected batch.

    rows: of the training split. ValueError if no noise reaches the epsilon.
    """
    private = find(experiment.gradient)
    if private is None:
        return experiment
    noise = private.noise_multiplier
    if noise is None:
        settings = rows, experiment.batch, experiment.steps, private.delta, _poisson(experiment)
        noise = calibrated_noise(private.accountant, private.epsilon, *settings)
    expected = float(experiment.batch) if private.expected is None else private.expected
    known = dataclasses.replace(private, noise_multiplier=noise, epsilon=None, expected=expected)
    return dataclasses.replace(experiment, gradient=with_inner(experiment.gradient, known))


def guarantee_of(experiment: Experiment, rows: int) -> dict[str, Any] | None:
    """The `Guarantee` of each trained model as JSON; None without DP-SGD."""
    private = find(with_noise(experiment, rows).gradient)
    if private is None:
        return None
    settings = rows, experiment.batch, experiment.steps, private.delta, _poisson(experiment)
    return guarantee(private.accountant, private.noise_multiplier, *settings)._asdict()


def check_privacy(experiment: Experiment, data: Dataset) -> None:
    """ValueError, which names the field, if an experiment with DP-SGD would not have its guarantee; nothing without DP-SGD."""
    private = find(experiment.gradient)
    if private is None:
        return
    rows = data.splits["train"]
    _poisson(experiment)
    if experiment.skip_nonfinite:
        raise ValueError("skip_nonfinite skips steps by their training loss, which is not private; leave it out with DPSGD")
    if private.delta * len(rows) >= 1:
        raise ValueError(f"gradient: DPSGD.delta is {private.delta:g}; it must be below 1 / {len(rows)}, the training rows")
    if data.training_weight is not None:
        raise ValueError("data: weights or rows come from other training rows without noise (EqualClasses, GeneratedRows)")
    if TEACHER in rows.targets:
        raise ValueError("data: the target 'teacher' is of a model that was trained on these rows without noise")
    modalities = sorted(experiment.encoders)
    pointer = {name: np.asarray(rows.pointer[name]) for name in modalities}
    if (shared := shared_item(pointer, data.metadata["train"]["id"])) is not None:
        raise ValueError(
            f"data: {shared}; DPSGD protects one row, so use data with one row per example, such as Stamps(speech_languages=())"
        )
    for name in modalities:
        if (found := fitted(data.columns[name])) is not None:
            raise ValueError(
                f"data: {name!r} has {found}, computed from the training rows without noise; use FixedScale, UnitLength or a "
                "published tokenizer"
            )
    guarantee_of(experiment, len(rows))
    _check_mixing(with_noise(experiment, len(rows)), data)


def _check_mixing(experiment: Experiment, data: Dataset) -> None:
    """ValueError if an example of a real batch influences more than its own loss, in any stage."""
    counted = np.flatnonzero(np.asarray(data.splits["train"].weight) > 0)
    chosen = counted[np.linspace(0, len(counted) - 1, 2 * PROBED).round().astype(int)]
    feed = HostFeed(data, data.splits["train"], experiment.encoders)
    batch, others = feed(chosen[::2]), feed(chosen[1::2])
    training = training_of(experiment)
    for number in range(len(training.resolved)):
        if (reason := what_mixes(training, number, batch, others)) is not None:
            parts = {
                "gradient": type(experiment.gradient).__name__,
                "loss": getattr(experiment.loss, "__name__", type(experiment.loss).__name__),
                "augment": ", ".join(experiment.augment) or "none",
                "encoders": ", ".join(f"{name} {type(module).__name__}" for name, module in experiment.encoders.items()),
            }
            stage = f"stages.{number}: " if experiment.stages else ""
            raise ValueError(
                f"{stage}DPSGD needs losses of single examples, but {reason}. Replace batch norm, contrastive losses, mixing "
                f"augmentations or gradients with a state ({'; '.join(f'{name}: {part}' for name, part in parts.items())})"
            )


def _poisson(experiment: Experiment) -> Poisson:
    """The sampling; ValueError if it is not Poisson sampling."""
    if not isinstance(experiment.sampling, Poisson):
        name = type(experiment.sampling).__name__
        raise ValueError(f"sampling is {name}(); the accountants of DPSGD hold for Poisson sampling: give sampling=Poisson()")
    return experiment.sampling
