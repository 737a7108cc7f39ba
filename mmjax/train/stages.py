"""Stages of training, each with its own learning parameters, loss, optimiser and share of the steps."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tyro
from flax.traverse_util import flatten_dict, unflatten_dict

__all__ = [
    "EVERYTHING", "GROUPS", "Stage", "does_learn", "frozen_paths", "gradual_unfreezing", "has_prefix", "merged", "resolve",
    "restricted", "split",
]

GROUPS = ("encoders", "heads", "unimodal_heads", "loss_parameters", "decoders")  # prefixes of "encoders_image", ...
EVERYTHING = ("",)


@dataclass(frozen=True)
class Stage:
    """One stage of training, with its own optimiser and schedule.

    share: of all steps, relative to the shares of the other stages, > 0. learns: the parameters that learn, as prefixes of
    their paths. A prefix is a regular expression that must end at a "/" or at the end of the path. "encoders", "heads",
    "unimodal_heads", "loss_parameters" and "decoders" stand for all modules of that group, "" for everything. Examples:
    "fusion", "encoders_image", "encoders_text/transformer/block(4|5)". All other parameters are frozen and have no optimiser
    state. loss, optim: of this stage; None for those of the experiment. ValueError if share is out of range or learns is empty.
    """

    share: float = 1.0
    learns: tuple[str, ...] = EVERYTHING
    loss: tyro.conf.Suppress[Callable | None] = None
    optim: tyro.conf.Suppress[Any] = None

    def __post_init__(self):
        if not 0 < self.share < float("inf"):
            raise ValueError(f"Stage.share is {self.share}; it must be finite and above 0")
        if not self.learns:
            raise ValueError("Stage.learns is empty; name the parameters that learn, or leave it out for everything")


def resolve(stages: Sequence[Stage], steps: int) -> tuple[tuple[Stage, range], ...]:
    """Each stage with its range of steps, at least one. Without stages: one stage in which everything learns.

    ValueError if there are fewer steps than stages.
    """
    if not stages:
        return ((Stage(), range(steps)),)
    if steps < len(stages):
        raise ValueError(f"steps is {steps}, but there are {len(stages)} stages; give at least one step per stage")
    total, done, ends = sum(stage.share for stage in stages), 0.0, []
    for number, stage in enumerate(stages):
        done += stage.share
        low, high = (ends[-1] if ends else 0) + 1, steps - (len(stages) - 1 - number)
        ends.append(min(max(round(steps * done / total), low), high))
    return tuple((stage, range(first, end)) for stage, first, end in zip(stages, [0, *ends], ends))


def gradual_unfreezing(shares: Sequence[float], first: Sequence[str], then: Sequence[str]) -> tuple[Stage, ...]:
    """Gradual unfreezing (Howard and Ruder, 2018, "Universal language model fine-tuning for text classification").

    `first` learns in all stages; each entry of `then`, such as the blocks of an encoder from last to first, joins one stage
    later. shares: one per stage, one more than entries of `then`; otherwise ValueError.
    """
    if len(shares) != len(then) + 1:
        raise ValueError(f"gradual_unfreezing has {len(shares)} shares for {len(then) + 1} stages")
    return tuple(Stage(share, (*first, *then[:number])) for number, share in enumerate(shares))


def does_learn(path: str, learns: Sequence[str]) -> bool:
    """Whether the parameter with this path, such as "encoders_text/word/embedding", learns (see `Stage.learns`)."""
    return any(has_prefix(path, prefix) for prefix in learns)


def has_prefix(path: str, prefix: str) -> bool:
    """Whether a path starts with a prefix, by the rules of `Stage.learns`."""
    whole = rf"(?:{prefix})(?=/|$)" if prefix not in ("", *GROUPS) else f"{prefix}(?=_)" if prefix else ""
    return re.match(whole, path) is not None


def split(params: Mapping[str, Any], learns: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(parameters that learn, the others): two trees with disjoint leaves, which `merged` joins."""
    flat = flatten_dict(dict(params), sep="/")
    chosen = {path for path in flat if does_learn(path, learns)}
    parts = ({path: leaf for path, leaf in flat.items() if (path in chosen) == which} for which in (True, False))
    return tuple(unflatten_dict(part, sep="/") for part in parts)


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The union of two trees with disjoint leaves."""
    return unflatten_dict(flatten_dict(dict(one), sep="/") | flatten_dict(dict(other), sep="/"), sep="/")


def restricted(tree: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of `tree` whose paths are also in `like`."""
    flat, kept = flatten_dict(dict(tree), sep="/"), flatten_dict(dict(like), sep="/")
    return unflatten_dict({path: leaf for path, leaf in flat.items() if path in kept}, sep="/")


def frozen_paths(shapes: Mapping[str, Any], pretrained: Iterable[str], stages: Iterable[Stage]) -> frozenset[str]:
    """Paths of variables that are the same in all seeds throughout training, and so are stored once.

    These are the pretrained parameters that learn in no stage, and the pretrained batch statistics of encoders that are fully
    frozen in all stages, since such encoders run in inference mode.

    shapes: the variables of the model, such as `jax.eval_shape(model.init, key, batch)`. pretrained: paths such as
    "params/encoders_text/word/embedding" and "batch_stats/encoders_image/norm/mean".
    """
    learns = [prefix for stage in stages for prefix in stage.learns]
    learning = {path for path in flatten_dict(dict(shapes["params"]), sep="/") if does_learn(path, learns)}
    learning_modules = {path.partition("/")[0] for path in learning}

    def is_frozen(path):
        collection, _, rest = path.partition("/")
        return rest not in learning if collection == "params" else rest.partition("/")[0] not in learning_modules

    return frozenset(path for path in pretrained if is_frozen(path))
