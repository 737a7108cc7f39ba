"""Defaults for the optional methods of a task."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmjax.tasks.subsets import subsets_of
from mmjax.types import Metric, Outcomes, Subset, Units


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
