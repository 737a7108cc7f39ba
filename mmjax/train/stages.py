"""Training in stages: which parameters learn, by which loss and optimiser, in which share of the steps."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tyro
from flax.traverse_util import flatten_dict, unflatten_dict

GROUPS = ("encoders", "heads", "unimodal_heads")  # of a model's parts: "encoders_image", "heads_label", ...


@dataclass(frozen=True)
class Stage:
    """One stage of training, with an optimiser and a schedule of its own.

    share: of all steps, relative to the other stages' shares. learns: which parameters learn, by the beginning of their
    paths: whole names between "/", each a regular expression, where "encoders", "heads" and "unimodal_heads" stand for all of theirs:
    "fusion", "encoders_image", "encoders_text/transformer/block(4|5)", "" for all; the others are frozen, and have no
    optimiser's state. loss, optim: of this stage, None for the experiment's.
    """

    share: float
    learns: tuple[str, ...] = ("",)
    loss: tyro.conf.Suppress[Callable | None] = None
    optim: tyro.conf.Suppress[Any] = None

    def __post_init__(self):
        if self.share <= 0:
            raise ValueError(f"Stage.share is {self.share}; it must be above 0")
        if not self.learns:
            raise ValueError("Stage.learns is empty; name what learns, or leave it out for everything")


def gradually(shares: Sequence[float], first: Sequence[str], then: Sequence[str]) -> tuple[Stage, ...]:
    """Gradual unfreezing (Howard and Ruder, 2018, "Universal language model fine-tuning"): `first` learns from the beginning,
    and each of `then`, such as the blocks of an encoder from the last to the first, from one stage later on.

    shares: one for each stage."""
    if len(shares) != len(then) + 1:
        raise ValueError(f"gradually has {len(shares)} shares for {len(then) + 1} stages")
    return tuple(Stage(share, (*first, *then[:number])) for number, share in enumerate(shares))


def does_learn(path: str, learns: Sequence[str] | None) -> bool:
    """Whether the parameter of this path learns, such as "encoders_text/word/embedding"; None: all do."""
    return learns is None or any(begins(path, beginning) for beginning in learns)


def begins(path: str, beginning: str) -> bool:
    """Whether a path begins so, by the rules of `Stage.learns`."""
    whole = rf"(?:{beginning})(?=/|$)" if beginning not in ("", *GROUPS) else f"{beginning}(?=_)" if beginning else ""
    return re.match(whole, path) is not None


def split(params: Mapping[str, Any], learns: Sequence[str] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the parameters that learn, the others), each a tree with fewer leaves; `merged` puts them together again."""
    flat = flatten_dict(dict(params), sep="/")
    chosen = {path for path in flat if does_learn(path, learns)}
    parts = ({path: leaf for path, leaf in flat.items() if (path in chosen) == which} for which in (True, False))
    return tuple(unflatten_dict(part, sep="/") for part in parts)


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two trees without a leaf in common as one."""
    return unflatten_dict(flatten_dict(dict(one), sep="/") | flatten_dict(dict(other), sep="/"), sep="/")


@dataclass(frozen=True)
class Part:
    """A stage as steps: from `first` up to and without `end`; stage None is the whole training in one piece."""

    first: int
    end: int
    stage: Stage | None = None

    @property
    def learns(self) -> tuple[str, ...] | None:
        """None where everything does."""
        return self.stage.learns if self.stage else None


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
