"""Attacks and defences of an experiment that substitute tokens know the tokenizer of its data."""

import dataclasses

from mmjax.data.dataset import Dataset
from mmjax.experiment.value import Experiment
from mmjax.robust.special_tokens import with_tokens

__all__ = ["with_token_ids"]


def with_token_ids(experiment: Experiment, data: Dataset) -> Experiment:
    """The experiment with the vocabulary and special tokens of the data in its attack and gradient, where they are missing.

    ValueError if a column has no tokenizer.
    """
    known = {name: with_tokens(getattr(experiment, name), data.columns) for name in ("attack", "gradient")}
    changed = {name: value for name, value in known.items() if value is not getattr(experiment, name)}
    return dataclasses.replace(experiment, **changed) if changed else experiment
