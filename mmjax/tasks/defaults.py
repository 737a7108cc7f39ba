"""Defaults for the optional methods of a task."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmjax.tasks.subsets import subsets_of
from mmjax.types import Metric, Outcomes, Subset, Units

__all__ = ["TaskDefaults", "each_seed"]


class TaskDefaults:
    """Base class of tasks without checks, baselines, details and panels, which are scored for every subset of modalities.

    A subclass defines `metrics`, `units`, `predict` and `outcomes`.
    """

    def check(self, outputs: Mapping[str, Any], data: Any) -> None:
        return None

    def subsets(self, modalities: Sequence[str]) -> tuple[Subset, ...]:
        return subsets_of(modalities)

    def baselines(self, data: Any) -> Mapping[str, Any]:
        return {}

    def details(self, units: Units) -> Mapping[str, Metric]:
        return {}

    def panels(self, outcomes: Outcomes, units: Units) -> list[Mapping[str, Any]]:
        return []

    def show(self, predicted: Any, units: Units, unit: int) -> Mapping[str, Any]:
        """The reference answer alone, as text."""
        target = ", ".join(str(values[unit]) for values in units.target.values())
        return {"target": target, "predicted": "", "correct": None, "score": None}

    def answers(self, predicted: Any, classes: Mapping[str, tuple[str, ...]]) -> Mapping[str, np.ndarray]:
        """The predictions of each seed, [n s ...], since a mean may have no meaning."""
        return each_seed(predicted)


def each_seed(predicted: Any) -> dict[str, np.ndarray]:
    """Predictions [s n ...] -> {"predicted": [n s ...]}, or the same for each entry of a mapping."""
    named = predicted if isinstance(predicted, Mapping) else {"predicted": predicted}
    return {name: np.moveaxis(np.asarray(values), 0, 1) for name, values in named.items()}
