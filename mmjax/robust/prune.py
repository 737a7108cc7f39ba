"""Pruning as an optimiser, and of a trained model: the masks are part of the optimiser state, so checkpoints keep them.

The update of a pruned weight is minus the weight, once, and zero ever after; its gradient is zero before the inner optimiser
sees it. So zeros stay exactly zero under momentum, weight decay and adaptive steps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.custom_batching import custom_vmap

from mmjax.robust.prune_criteria import Magnitude, prunable
from mmjax.robust.prune_schedules import Gradual
from mmjax.robust.quantize import SCALES
from mmjax.train.optim import AdamW
from mmjax.train.stages import EVERYTHING, Stage

__all__ = ["LotteryTicket", "Prune", "Pruned", "PrunedState", "select_after", "sparsity_of"]


class PrunedState(NamedTuple):
    """count: Int[], updates so far. masks: {path: Bool[...]}, True for weights that remain. scores: of the criterion. inner:
    the state of the inner optimiser. early: the weights to rewind to, () without rewinding."""

    count: Any
    masks: Any
    scores: Any
    inner: Any
    early: Any = ()


@dataclass(frozen=True)
class Pruned:
    """An optimiser that trains with another one and prunes weights. The inner optimiser itself if the sparsity is 0.

    optim: the inner optimiser. select: which weights are pruned, and how many: `Magnitude`, `Movement`, `NofM`, `Channels` or
    `Heads`. schedule: `Gradual` or `OneShot`. weights: prefixes of the paths of pruned modules, as in `Stage.learns`; only
    their kernels are pruned (with `Channels` and `Heads`, biases of pruned units too). The best step is selected among the
    evaluations at full sparsity.
    ValueError if a field is out of range, no kernel matches, or shapes do not fit.
    """

    optim: Any = field(default_factory=AdamW)
    select: Any = Magnitude()
    schedule: Any = Gradual()
    weights: tuple[str, ...] = EVERYTHING

    def select_after(self, steps: int) -> int:
        """The number of steps after which the sparsity is final, minus one."""
        return self.schedule.last(steps) - 1 if self.select.sparsity else 0

    def __call__(self, steps: int) -> optax.GradientTransformation:
        self.select.check()
        self.schedule.check()
        inner = self.optim(steps)
        if not self.select.sparsity:
            return inner

        def update(gradient, state, params):
            count, masked = state.count + 1, _masked(gradient, state.masks)
            sparsity, now = self.schedule.sparsity(self.select.sparsity, steps, count), self.schedule.prunes(steps, count)
            scores, masks = _new_masks(self.select, masked, params, state, sparsity, now)
            updates, inner_state = inner.update(masked, state.inner, params)
            return _prune(updates, params, masks), PrunedState(count, masks, scores, inner_state)

        return optax.GradientTransformation(lambda params: _initial(inner, self.select, self.weights, params), update)


@dataclass(frozen=True)
class LotteryTicket:
    """Iterative magnitude pruning with rewinding (Frankle and Carbin, 2019, "The lottery ticket hypothesis"; Frankle et al.,
    2020, "Linear mode connectivity and the lottery ticket hypothesis").

    The steps are divided into rounds + 1 equal phases. After each of the first `rounds` phases, weights are pruned, so that the
    remaining fraction falls geometrically to 1 - sparsity; the others are set back to their early values, and the inner
    optimiser starts again with its schedule. Batch statistics are not rewound. The best step is selected in the last phase.

    optim: the inner optimiser, of one phase. select: as in `Pruned`, without scores that need gradients. rounds: at least 1.
    rewind: the early step, a fraction of a phase in [0, 1); 0 for the initial weights. weights: as in `Pruned`.
    """

    optim: Any = field(default_factory=AdamW)
    select: Any = Magnitude()
    rounds: int = 3
    rewind: float = 0.0
    weights: tuple[str, ...] = EVERYTHING

    def phase(self, steps: int) -> int:
        """Steps of each phase but the last, which may be up to `rounds` steps longer."""
        return steps // (self.rounds + 1)

    def select_after(self, steps: int) -> int:
        """The steps of all phases but the last."""
        return self.rounds * self.phase(steps) if self.select.sparsity else 0

    def _check(self, steps: int) -> None:
        self.select.check()
        if self.rounds < 1:
            raise ValueError(f"LotteryTicket.rounds is {self.rounds}; it must be at least 1")
        if not 0 <= self.rewind < 1:
            raise ValueError(f"LotteryTicket.rewind is {self.rewind}; it must be a fraction of a phase, at least 0 and below 1")
        if self.phase(steps) < 1:
            raise ValueError(f"LotteryTicket.rounds is {self.rounds}, but there are {steps} steps; each phase needs one")

    def __call__(self, steps: int) -> optax.GradientTransformation:
        self._check(steps)
        if not self.select.sparsity:
            return self.optim(steps)
        length, final = self.phase(steps), self.select.sparsity
        inner, early_step = self.optim(steps - self.rounds * length), int(self.rewind * length)

        def init(params):
            return _initial(inner, self.select, self.weights, params)._replace(early=params)

        def update(gradient, state, params):
            count = state.count + 1
            round_number = jnp.minimum(count // length, self.rounds)
            ends = (count % length == 0) & (count // length <= self.rounds)
            remaining = (1 - final) ** (round_number / self.rounds)
            sparsity = jnp.where(round_number == self.rounds, final, 1 - remaining)
            early = _where(state.count == early_step, params, state.early)
            masked = _masked(gradient, state.masks)
            scores, masks = _new_masks(self.select, masked, params, state, sparsity, ends)
            updates, inner_state = inner.update(masked, state.inner, params)
            back = jax.tree.map(lambda then, now: then - now, early, params)
            updates = _prune(_where(ends, back, updates), params, masks)
            inner_state = _where(ends, inner.init(params), inner_state)
            return updates, PrunedState(count, masks, scores, inner_state, early)

        return optax.GradientTransformation(init, update)


@dataclass(frozen=True)
class Prune:
    """A `Compression`: prunes a trained model once, without further training. The identity if the sparsity is 0.

    select: `Magnitude`, `NofM`, `Channels` or `Heads`. weights: as in `Pruned`. Frozen published weights are not pruned.
    """

    select: Any = Magnitude()
    weights: tuple[str, ...] = EVERYTHING

    def module(self, model: Any) -> Any:
        """The model itself."""
        self.select.check()
        return model

    def variables(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The variables of one seed with zeros. ValueError if no kernel matches or shapes do not fit."""
        self.select.check()
        if SCALES in variables:
            raise ValueError("these variables are quantised; prune first: Chain((Prune(...), Quantize(...)))")
        if not self.select.sparsity:
            return dict(variables)
        flat = flatten_dict(dict(variables["params"]), sep="/")
        chosen = prunable(flat, self.weights)
        masks = self.select.keep(chosen, self.select.masks(chosen), {}, jnp.float32(self.select.sparsity))
        return {**variables, "params": _masked(variables["params"], masks)}


def select_after(stages: Sequence[tuple[Stage, range]], optim: Any) -> int:
    """The step after which the pruned weights of a training have their final sparsity; 0 without pruning.

    stages: with their ranges of steps. optim: of stages without an optimiser of their own. ValueError unless the stage that
    prunes is the last one: a new stage starts a new optimiser, without masks, and zeros would grow again.
    """
    after = 0
    for number, (stage, steps) in enumerate(stages):
        chosen = stage.optim or optim
        if not isinstance(chosen, (Pruned, LotteryTicket)) or not chosen.select.sparsity:
            continue
        if number < len(stages) - 1:
            raise ValueError(
                f"stages.{number} trains with {type(chosen).__name__}, but only the last stage can prune, since each stage "
                "starts a new optimiser; give the earlier stages another optim"
            )
        after = steps.start + chosen.select_after(len(steps))
    return after


def sparsity_of(params: Mapping[str, Any], weights: Sequence[str] = EVERYTHING) -> float:
    """The fraction of zeros among the kernels of parameters, of one seed or all. weights: as in `Pruned`."""
    found = Magnitude().masks(prunable(flat := flatten_dict(dict(params), sep="/"), weights))
    return float(sum((flat[path] == 0).sum() for path in found) / sum(flat[path].size for path in found))


def _initial(inner: Any, select: Any, prefixes: Sequence[str], params: Any) -> PrunedState:
    weights = prunable(flatten_dict(dict(params), sep="/"), prefixes)
    return PrunedState(jnp.zeros((), jnp.int32), select.masks(weights), select.scores(weights), inner.init(params))


def _new_masks(
    select: Any, gradient: Any, params: Any, state: PrunedState, sparsity: Any, now: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(scores, masks) at this sparsity. Masks only shrink, and only in updates that prune (now: Bool[])."""
    flat = flatten_dict(dict(params), sep="/")
    scores = select.accumulate(state.scores, flatten_dict(dict(gradient), sep="/"), flat)

    def change(weights, masks, scores, sparsity, now):
        kept = select.keep(weights, masks, scores, sparsity)
        return {path: mask & (kept[path] | ~now) for path, mask in masks.items()}

    weights = {path: flat[path] for path in state.masks}
    return scores, _rarely(now, change, weights, state.masks, scores, jnp.asarray(sparsity, jnp.float32), jnp.asarray(now))


def _rarely(now: Any, change: Callable, weights: Any, masks: Any, *rest: Any) -> Any:
    """change(weights, masks, *rest) if `now`, Bool[], else the masks.

    Under `vmap`, `lax.cond` would compute both in every step; this one computes `change` only if `now` is True for any seed.
    """
    keep = lambda weights, masks, *rest: masks

    @custom_vmap
    def run(now, arguments):
        return jax.lax.cond(now, change, keep, *arguments)

    @run.def_vmap
    def run_all(size, is_batched, now, arguments):
        axes = tuple(jax.tree.map(lambda batched: 0 if batched else None, part) for part in is_batched[1])
        of_all = lambda function: jax.vmap(function, axes, axis_size=size)
        changed = jax.lax.cond(jnp.any(now), of_all(change), of_all(keep), *arguments)
        return changed, jax.tree.map(lambda _: True, changed)

    return run(now, (weights, masks, *rest))


def _masked(tree: Any, masks: Mapping[str, Any]) -> dict[str, Any]:
    """The tree with zeros where a mask is False."""
    return _at(tree, masks, lambda path, leaf: jnp.where(masks[path], leaf, 0))


def _prune(updates: Any, params: Any, masks: Mapping[str, Any]) -> dict[str, Any]:
    """Updates that set pruned weights to zero."""
    flat = flatten_dict(dict(params), sep="/")
    return _at(updates, masks, lambda path, leaf: jnp.where(masks[path], leaf, -flat[path]))


def _at(tree: Any, masks: Mapping[str, Any], change: Callable[[str, Any], Any]) -> dict[str, Any]:
    flat = flatten_dict(dict(tree), sep="/")
    return unflatten_dict({path: change(path, leaf) if path in masks else leaf for path, leaf in flat.items()}, sep="/")


def _where(condition: Any, one: Any, other: Any) -> Any:
    """one where the condition, Bool[], is True, else other: pytrees of arrays."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
