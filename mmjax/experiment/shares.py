"""Cells with shares of their training data, for a learning curve (`--shares`)."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mmjax.data.few import Few
from mmjax.experiment.value import Experiment

__all__ = ["fewer", "with_shares"]


def with_shares(cells: Mapping[str, Experiment], shares: Sequence[float]) -> dict[str, Experiment]:
    """The cells, each after its copies with these shares of the training groups: "concat.0.25" before "concat"."""
    found = {}
    for name, experiment in cells.items():
        targets = [getattr(task, "name", None) for task in experiment.tasks.values()]
        target = next((name for name in targets if isinstance(name, str)), "")  # tasks such as retrieval have no target
        for share in sorted(shares):
            found[f"{name}.{share:g}"] = dataclasses.replace(experiment, data=fewer(experiment.data, share, target))
        found[name] = experiment
    return found


def fewer(data: Any, share: float, stratify: str) -> Any:
    """The data with a share of the training groups; inside wrappers, so that their statistics are those of the kept rows."""
    if hasattr(getattr(data, "data", None), "load"):
        return dataclasses.replace(data, data=fewer(data.data, share, stratify))
    return Few(data, share, stratify)
