"""Learning rates that differ between parameters: wrappers of an optimiser that scale its updates by parameter path."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from mmjax.train.stages import has_prefix

__all__ = ["LayerWise", "Rates"]


@dataclass(frozen=True)
class Rates:
    """Scales the updates of another optimiser by the paths of the parameters.

    optim: the other optimiser. factors: {prefix: factor}, with prefixes as in `Stage.learns`; the first prefix that matches
    applies, and the factor is 1 if none does. Weight decay is part of the update and is scaled too; clipping comes first.
    ValueError unless factors are finite and >= 0.

        Rates(AdamW(lr=1e-3), {"encoders": 0.1})
    """

    optim: Any
    factors: Mapping[str, float]

    def __hash__(self) -> int:
        return hash((self.optim, tuple(self.factors.items())))

    def __call__(self, steps: int) -> optax.GradientTransformation:
        if not all(math.isfinite(factor) and factor >= 0 for factor in self.factors.values()):
            raise ValueError(f"Rates.factors is {dict(self.factors)}; factors must be finite and at least 0")

        def factor(path):
            return next((factor for prefix, factor in self.factors.items() if has_prefix(path, prefix)), 1.0)

        return optax.chain(self.optim(steps), _scale_by_path(factor))


@dataclass(frozen=True)
class LayerWise:
    """Layer-wise decay: multiplies the updates in the k-th block from the top of an encoder by factor^k.

    Discriminative fine-tuning (Howard and Ruder, 2018, with factor 1 / 2.6; 0.65 to 0.95 are usual for Transformers).

    factor: of the learning rates of neighbouring blocks.
    depth: number of blocks of the encoders; block depth - 1 has k = 1, block 0 has k = depth, and encoder parameters outside
    blocks, such as embeddings, have k = depth + 1. blocks: regular expression whose group is the number of a block in a
    path. top: regular expression for encoder parameters with k = 0, such as a pooler; parameters outside encoders have k = 0
    too. ValueError unless 0 < factor <= 1 and depth is at least 1 and above all block numbers.
    """

    optim: Any
    depth: int
    factor: float = 0.8
    blocks: str = r"block(\d+)"
    top: str = r"/(pool|pooler)(/|$)"

    def __call__(self, steps: int) -> optax.GradientTransformation:
        if not 0 < self.factor <= 1 or self.depth < 1:
            raise ValueError(
                f"LayerWise.factor is {self.factor} and depth {self.depth}; it must be 0 < factor <= 1 and depth >= 1"
            )
        return optax.chain(self.optim(steps), _scale_by_path(self.factor_of))

    def factor_of(self, path: str) -> float:
        """The factor of one parameter."""
        if not path.startswith("encoders_") or re.search(self.top, path):
            return 1.0
        found = re.search(self.blocks, path)
        number = int(found.group(1)) if found else -1
        if number >= self.depth:
            raise ValueError(f"LayerWise.depth is {self.depth}, but the model has {path}")
        return self.factor ** (self.depth - number)


def _scale_by_path(factor_of: Callable[[str], float]) -> optax.GradientTransformation:
    """Multiplies each update by a factor. factor_of: path of a parameter -> its factor."""

    def scale(updates, params=None):
        flat = flatten_dict(dict(updates), sep="/")
        return unflatten_dict({path: factor_of(path) * update for path, update in flat.items()}, sep="/")

    return optax.stateless(scale)
