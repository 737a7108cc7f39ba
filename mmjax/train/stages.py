"""Training in stages: which parts of a model learn, by which loss, in which share of the steps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tyro


@dataclass(frozen=True)
class Stage:
    """One stage of training, with an optimiser and a schedule of its own.

    share: of all steps, relative to the other stages' shares. learns: the parts of the model whose parameters learn, by the
    beginning of their names: "encoders", "encoders_image", "fusion", "heads", "alone"; the others are frozen. loss: of this
    stage, None for the experiment's.
    """

    share: float
    learns: tuple[str, ...] = ("",)
    loss: tyro.conf.Suppress[Callable | None] = None

    def __post_init__(self):
        if self.share <= 0:
            raise ValueError(f"Stage.share is {self.share}; it must be above 0")


@dataclass(frozen=True)
class Part:
    """A stage as steps: from `first` up to and without `end`; stage None is the whole training in one piece."""

    first: int
    end: int
    stage: Any = None


def parts(stages: Sequence[Stage], steps: int) -> tuple[Part, ...]:
    """The stages one after another over `steps`, each with at least one step; a single part where there are none."""
    if not stages:
        return (Part(0, steps),)
    if steps < len(stages):
        raise ValueError(f"steps is {steps}, but there are {len(stages)} stages; give each at least one step")
    total, done, ends = sum(stage.share for stage in stages), 0.0, []
    for number, stage in enumerate(stages):
        done += stage.share
        low, high = (ends[-1] if ends else 0) + 1, steps - (len(stages) - 1 - number)
        ends.append(min(max(round(steps * done / total), low), high))
    return tuple(Part(first, end, stage) for first, end, stage in zip([0, *ends], ends, stages))
