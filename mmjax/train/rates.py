"""Step sizes that differ by parameter: wrappers of an optimiser that scale its steps by a label of each path."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from mmjax.train.stages import begins


@dataclass(frozen=True)
class Rates:
    """Another optimiser's steps, longer or shorter by a factor where a parameter's path begins so (as in `Stage.learns`).

    factors: {beginning: factor}, of which the first that fits counts; 1 where none does. Weight decay, being a step, is scaled
    too; clipping comes before.

        Rates(AdamW(lr=1e-3), {"encoders": 0.1})
    """

    optim: Any
    factors: Mapping[str, float]

    def __hash__(self) -> int:
        return hash((self.optim, tuple(self.factors.items())))

    def __call__(self, steps: int) -> optax.GradientTransformation:
        if any(factor < 0 for factor in self.factors.values()):
            raise ValueError(f"Rates.factors is {dict(self.factors)}; no factor may be below 0")

        def factor(path):
            return next((factor for beginning, factor in self.factors.items() if begins(path, beginning)), 1.0)

        return optax.chain(self.optim(steps), _scale_by_path(lambda paths: {path: factor(path) for path in paths}))


@dataclass(frozen=True)
class LayerWise:
    """Another optimiser's steps times factor^k in the k-th block from the top of the encoders, 1 above them.

    Discriminative rates (Howard and Ruder, 2018, whose factor is 1 / 2.6; 0.65 to 0.95 are usual for Transformers). A block
    is what `blocks` finds in a path, and its number is the expression's group. depth: blocks of the encoders; the one of number
    depth - 1 has k = 1, number 0 has k = depth, and what has no number, such as embeddings, k = depth + 1, but for what `top`
    finds, which has k = 0.
    """

    optim: Any
    depth: int
    factor: float = 0.8
    blocks: str = r"block(\d+)"
    top: str = r"/(pool|pooler)(/|$)"

    def __call__(self, steps: int) -> optax.GradientTransformation:
        if not 0 < self.factor <= 1 or self.depth < 1:
            raise ValueError(f"LayerWise.factor is {self.factor}, .depth {self.depth}; above 0 and at most 1, and at least 1")
        return optax.chain(self.optim(steps), _scale_by_path(lambda paths: {path: self.of(path) for path in paths}))

    def of(self, path: str) -> float:
        """The factor of one parameter."""
        if not path.startswith("encoders_") or re.search(self.top, path):
            return 1.0
        found = re.search(self.blocks, path)
        number = int(found.group(1)) if found else -1
        if number >= self.depth:
            raise ValueError(f"LayerWise.depth is {self.depth}, but there is {path}")
        return self.factor ** (self.depth - number)


def _scale_by_path(factors_of: Callable[[list[str]], Mapping[str, float]]) -> optax.GradientTransformation:
    """factors_of: all paths -> {path: factor of its update}."""

    def scale(updates, params=None):
        flat = flatten_dict(dict(updates), sep="/")
        factors = factors_of(list(flat))
        return unflatten_dict({path: factors[path] * update for path, update in flat.items()}, sep="/")

    return optax.stateless(scale)
