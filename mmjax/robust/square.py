"""The Square attack: random search with losses alone, for models without useful gradients."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from mmjax.robust.attacks import active, better, changed
from mmjax.robust.budgets import Budget, Linf, require
from mmjax.robust.changes import norms
from mmjax.robust.square_windows import (
    Canvas,
    canvas_of,
    corner,
    patterns,
    placed,
    random_signs,
    sides,
    stages,
    tiles,
    valid_rows,
    window,
)
from mmjax.shards import example_keys
from mmjax.types import Batch, Values

__all__ = ["TINY", "Square", "first", "proposed"]

TINY = 1e-12


@dataclass(frozen=True)
class Square:
    """Square attack (Andriushchenko et al., ECCV 2020): proposes changes of random windows and keeps those that raise the loss.

    It evaluates losses alone, never gradients. The windows start with `share` of the input and shrink as in the paper. With
    several modalities, proposals alternate between them. In `Padded` inputs, windows start within the length.

    `Linf` (algorithm 2): starts with a random sign for each column and channel; a proposal gives each channel of a window
    plus or minus epsilon. Other budgets (algorithm 3): a proposal moves the norm of two windows into the first one, with a
    pattern of a bright and a dark half. If there is one column, as in vectors and sequences, windows are intervals. The paper
    draws again if a proposal changes nothing; here such a proposal counts as a query. The loss is that of the experiment, such
    as the cross-entropy, where the paper takes the margin of the logits.

    budgets: {modality: budget}. queries: number of evaluations of the loss, the start included. share: of the first windows.
    """

    budgets: Mapping[str, Any]
    queries: int = 500
    share: float = 0.8

    def __post_init__(self):
        require(self.queries >= 0, f"Square.queries is {self.queries}; it must be at least 0")
        require(0 < self.share <= 1, f"Square.share is {self.share}; it must be above 0 and at most 1")

    def __call__(self, values: Values, batch: Batch, key: Key[Array, ""]) -> Batch:
        budgets = active(self.budgets, batch)
        if not budgets or self.queries == 0:
            return batch
        names, examples, stage = tuple(budgets), batch.weight.shape[0], jnp.asarray(stages(self.queries))

        def keys(number, turn):
            return example_keys(jax.random.fold_in(jax.random.fold_in(key, number), turn), examples)

        def scored(changes):
            return changes, values(changed(batch, budgets, changes))

        def query(number, best):
            def proposal(turn, name):
                change = best[0][name]
                new = proposed(budgets[name], batch.inputs[name], change, keys(number, turn), stage[number], self.share)
                return jnp.where(number % len(names) == turn, new, change)

            return better(scored({name: proposal(turn, name) for turn, name in enumerate(names)}), best)

        start = scored({name: first(budgets[name], batch.inputs[name], keys(0, turn)) for turn, name in enumerate(names)})
        return changed(batch, budgets, jax.lax.fori_loop(1, self.queries, query, start)[0])


def first(budget: Budget, x: Any, keys: Key[Array, " b"]) -> Array:
    """The change at the start."""
    nothing = budget.zeros(x)
    canvas = canvas_of(nothing.shape)
    if isinstance(budget, Linf):
        lines = (1, canvas.columns, canvas.channels) if canvas.columns > 1 else canvas
        signs = jax.vmap(lambda key: random_signs(key, tuple(lines)))(keys)
        direction = jnp.broadcast_to(signs, (len(keys), *canvas))
    else:
        direction = jax.vmap(lambda key: tiles(canvas, key))(keys)
    return budget.project(x, budget.steepest(x, direction.reshape(nothing.shape), 1.0))


def proposed(budget: Budget, x: Any, change: Array, keys: Key[Array, " b"], stage: Int[Array, ""], share: float) -> Array:
    """A proposal for each example. stage: how often the share has been halved."""
    canvas = canvas_of(change.shape)
    images, rows = change.reshape(len(keys), *canvas), valid_rows(x, canvas)
    if isinstance(budget, Linf):
        side = jnp.asarray(sides(canvas, share, 1))[stage]
        signs, inside = jax.vmap(lambda key, rows: _signs(key, canvas, rows, side))(keys, rows)
        largest = budget.steepest(x, jnp.broadcast_to(signs, images.shape).reshape(change.shape), 1.0)
        inside = jnp.broadcast_to(inside, images.shape).reshape(change.shape)
        return budget.project(x, jnp.where(inside, largest, change))
    sizes = sides(canvas, share, 3 if canvas.columns > 1 else 1)
    side, both = jnp.asarray(sizes)[stage], jnp.asarray(patterns(sizes))[stage]
    radius = norms(budget.steepest(x, jnp.ones(change.shape), 1.0)).reshape(-1)
    move = lambda key, rows, image, radius: _moved(key, canvas, rows, side, both, image, radius)
    moved = jax.vmap(move)(keys, rows, images, radius).reshape(change.shape)
    return budget.project(x, budget.steepest(x, moved, 1.0))


def _signs(key: Key[Array, ""], canvas: Canvas, rows: Array, side: Array) -> tuple[Array, Array]:
    """(sign of each channel [1 1 c], a window) of one example."""
    place, sign = jax.random.split(key)
    return random_signs(sign, (1, 1, canvas.channels)), window(canvas, corner(place, canvas, rows, side), side)


def _moved(key: Key[Array, ""], canvas: Canvas, rows: Array, side: Array, both: Array, image: Array, radius: Array) -> Array:
    """The change of one example after the norm of two windows has moved into the first, before normalisation.

    both: the pattern in two orientations, [2 r c]. image: the change as a canvas. radius: of the budget.
    """
    first_key, second_key, sign, turn = jax.random.split(key, 4)
    at = corner(first_key, canvas, rows, side)
    one, other = window(canvas, at, side), window(canvas, corner(second_key, canvas, rows, side), side)
    norm = lambda part: jnp.sqrt(jnp.sum(jnp.square(part), axis=(0, 1), keepdims=True))  # of each channel
    new = placed(canvas, both[jax.random.bernoulli(turn).astype(jnp.int32)], at) * random_signs(sign, (1, 1, canvas.channels))
    new = (new + jnp.where(one, image, 0) / (TINY + norm(jnp.where(one, image, 0)))) * one
    unused = jnp.maximum(jnp.square(radius) - jnp.sum(jnp.square(image)), 0) / canvas.channels
    available = jnp.sqrt(unused + jnp.square(norm(jnp.where(one | other, image, 0))))
    return jnp.where(one, new / (TINY + norm(new)) * available, jnp.where(other, 0, image))
