"""Step sizes that differ by parameter: wrappers of an optimiser that scale its steps by a label of each path."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from mmjax.train.stages import does_learn


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
        def factor(path):
            return next((factor for beginning, factor in self.factors.items() if does_learn(path, (beginning,))), 1.0)

        return optax.chain(self.optim(steps), _scale_by_path(lambda paths: {path: factor(path) for path in paths}))


@dataclass(frozen=True)
class LayerWise:
    """Another optimiser's steps times factor^k in the k-th block from the top of each encoder, 1 above the encoders.

    Discriminative rates (Howard and Ruder, 2018, whose factor is 1 / 2.6; 0.65 to 0.95 are usual for Transformers). A block
    is what `blocks` finds in a path, and its number is the expression's group; the top one has k = 1, and what has no number,
    such as embeddings, the largest k.
    """

    optim: Any
    factor: float = 0.8
    blocks: str = r"(?:block|stage)(\d+)"

    def __call__(self, steps: int) -> optax.GradientTransformation:
        if not 0 < self.factor <= 1:
            raise ValueError(f"LayerWise.factor is {self.factor}; it must be above 0 and at most 1")
        return optax.chain(self.optim(steps), _scale_by_path(self.factors))

    def factors(self, paths: Iterable[str]) -> dict[str, float]:
        """{path: factor}."""
        encoders = [path for path in paths if path.startswith("encoders_")]
        numbers = {path: [int(n) for n in re.findall(self.blocks, path)[:1]] for path in encoders}
        most = {}
        for path in encoders:
            most.setdefault(path.split("/")[0], set()).update(numbers[path])

        def depth(path):
            known = sorted(most[path.split("/")[0]], reverse=True)
            return known.index(numbers[path][0]) + 1 if numbers[path] else len(known) + 1

        return {path: self.factor ** depth(path) if path in numbers else 1.0 for path in paths}


def _scale_by_path(factors_of: Callable[[list[str]], Mapping[str, float]]) -> optax.GradientTransformation:
    """factors_of: all paths -> {path: factor of its update}."""

    def scale(updates, params=None):
        flat = flatten_dict(dict(updates), sep="/")
        factors = factors_of(list(flat))
        return unflatten_dict({path: factors[path] * update for path, update in flat.items()}, sep="/")

    return optax.stateless(scale)
