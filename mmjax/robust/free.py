"""Training on perturbations that ascend with the gradients of the same backward passes: free adversarial training and VILLA."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mmjax.robust.adversarial import ATTACK, divergence
from mmjax.robust.attacks import active, ascended, changed, random_change
from mmjax.robust.budgets import require
from mmjax.shards import sum_over_shards
from mmjax.train.step import SumOfLosses, weighted_mean
from mmjax.types import Aux, Batch, Objective

__all__ = ["VILLA", "FreeAdversarial", "Total", "replayed"]

Total = Callable[[Any, Any], tuple[Any, Aux]]


def replayed(total: Total, params: Any, start: Any, ascend: Callable[[Any, Any], Any], replays: int) -> tuple[Any, Any, Aux]:
    """(mean loss, mean gradient, aux of the last replay) over replays between which the perturbation ascends.

    total: (params, perturbation) -> (loss, Aux). One backward pass per replay gives the gradients of both. ascend:
    (perturbation, its gradient) -> perturbation. Loss and gradient are summed over shards.
    """

    def replay(perturbation, _):
        (loss, aux), (gradient, slope) = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(params, perturbation)
        return ascend(perturbation, slope), (loss, gradient, aux)

    _, (loss, gradient, aux) = jax.lax.scan(replay, start, length=replays)
    mean = lambda leaf: jnp.mean(leaf, axis=0)
    loss, gradient = sum_over_shards((mean(loss), jax.tree.map(mean, gradient)))
    return loss, gradient, jax.tree.map(lambda leaf: leaf[-1], aux)


@dataclass(frozen=True)
class FreeAdversarial:
    """Free adversarial training (Shafahi et al., NeurIPS 2019): each minibatch is replayed, and the backward pass of a
    replay gives the gradients of both the parameters and the perturbation, so that the attack costs no passes of its own.

    The loop takes one optimiser step per minibatch. So, unlike algorithm 1 of the paper, the parameters move once, by the mean
    gradient of all replays (as in FreeLB, Zhu et al., ICLR 2020), and the perturbation starts at random instead of at that of
    the last minibatch. A step costs `replays` ordinary steps, as `replays` steps of the paper do.

    budgets: {modality: budget}. replays: m of the paper. step_size: of an ascent, as a share of the budget; the paper has 1.
    Without a budget that allows a change, the step is that of the sum of the losses, bit for bit.
    """

    budgets: Mapping[str, Any]
    replays: int = 4
    step_size: float = 1.0

    def __post_init__(self):
        require(self.replays >= 1, f"FreeAdversarial.replays is {self.replays}; it must be at least 1")
        require(self.step_size > 0, f"FreeAdversarial.step_size is {self.step_size}; it must be above 0")

    def init(self, params: Any) -> tuple[()]:
        """No state."""
        return ()

    def __call__(self, objective: Objective, params: Any, state: Any, batch: Batch, key: Key[Array, ""]) -> tuple:
        budgets = active(self.budgets, batch)
        if not budgets:
            return SumOfLosses()(objective, params, state, batch, key)

        def total(params, changes):
            losses, aux = objective(params, changed(batch, budgets, changes), key)
            return sum(losses.values()), aux

        start = random_change(batch, budgets, jax.random.fold_in(key, ATTACK))
        ascend = lambda changes, slope: ascended(batch, budgets, changes, slope, self.step_size)
        return *replayed(total, params, start, ascend, self.replays), state


@dataclass(frozen=True)
class VILLA:
    """Adversarial training on embeddings and features (VILLA, Gan et al., NeurIPS 2020, equation 3 and algorithm 1):

        loss(x) + sum_m [loss(x + d_m) + alpha (KL(p(x) || p(x + d_m)) + KL(p(x + d_m) || p(x)))],

    where d_m perturbs modality m alone and maximises its bracket. The perturbations start at random and ascend over `replays`
    passes; the parameters take the mean gradient of all passes. All passes of a step have the same dropout. The terms are the
    losses "adversarial" and "divergence".

    budgets: {modality: budget}: `Embeddings` for text (whose encoder is `SoftTokens(encoder)`), `L2` or `Linf` for features.
    replays: number of passes. step_size: of an ascent, as a share of the budget. alpha: weight of the divergences. outputs:
    names of outputs with class logits, which the divergences compare. Without a budget that allows a change, the step is that
    of the sum of the losses, bit for bit.
    """

    budgets: Mapping[str, Any]
    replays: int = 3
    step_size: float = 0.5
    alpha: float = 1.0
    outputs: tuple[str, ...] = ("label",)

    def __post_init__(self):
        require(self.replays >= 1, f"VILLA.replays is {self.replays}; it must be at least 1")
        require(self.step_size > 0, f"VILLA.step_size is {self.step_size}; it must be above 0")
        require(self.alpha >= 0, f"VILLA.alpha is {self.alpha}; it must be at least 0")

    def init(self, params: Any) -> tuple[()]:
        """No state."""
        return ()

    def __call__(self, objective: Objective, params: Any, state: Any, batch: Batch, key: Key[Array, ""]) -> tuple:
        budgets = active(self.budgets, batch)
        if not budgets:
            return SumOfLosses()(objective, params, state, batch, key)

        def total(params, changes):
            losses, aux = objective(params, batch, key)
            values = {"adversarial": 0.0, "divergence": 0.0}
            for name, budget in budgets.items():
                _, moved = objective(params, changed(batch, {name: budget}, {name: changes[name]}), key)
                values["adversarial"] += sum(moved.values.values())
                both = (aux.outputs, moved.outputs)
                values["divergence"] += self.alpha * sum(divergence(self.outputs, *pair, batch) for pair in (both, both[::-1]))
            losses = {**losses, **{name: weighted_mean(value, batch.weight) for name, value in values.items()}}
            return sum(losses.values()), aux._replace(losses=losses, values={**aux.values, **values})

        start = random_change(batch, budgets, jax.random.fold_in(key, ATTACK))
        ascend = lambda changes, slope: ascended(batch, budgets, changes, slope, self.step_size)
        return *replayed(total, params, start, ascend, self.replays), state
