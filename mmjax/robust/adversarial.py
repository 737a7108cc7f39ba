"""Adversarial training: each step trains on inputs that an attack has changed against the present parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mmjax.losses.combine import counted, pick, zero_invalid
from mmjax.robust.apgd import APGD
from mmjax.robust.attacks import FGSM, PGD
from mmjax.robust.budgets import require
from mmjax.train.step import SumOfLosses, weighted_mean
from mmjax.types import Attack, Batch, Gradient, Objective, Values

__all__ = ["ATTACK", "TRADES", "AdversarialTraining", "attacked_values", "divergence"]

ATTACK = 101  # fold_in of the step's key for the randomness of attacks


def attacked_values(objective: Objective, params: Any, key: Key[Array, ""]) -> Values:
    """batch -> the sum of the losses of each example, in inference mode: without dropout, and with running batch statistics."""
    return lambda batch: sum(objective(jax.lax.stop_gradient(params), batch, key, train=False)[1].values.values())


@dataclass(frozen=True)
class AdversarialTraining:
    """Adversarial training (Madry et al., ICLR 2018, equation 2.1): the gradient at inputs that maximise the loss.

        loss = (1 - clean) loss(attacked) + clean loss(original)

    The attack runs in inference mode, as in the authors' code of TRADES, and the gradient in training mode; updated batch
    statistics are those of the attacked inputs. Only the modalities of the attack's budgets change.

    attack: an attack of `mmjax.robust`. clean: weight of the loss at the original inputs, in [0, 1). inner: how the gradient is
    computed from the attacked batch, None for that of the sum of the losses. If the attack changes nothing, the step is that of
    `inner`, bit for bit.
    """

    attack: Attack
    clean: float = 0.0
    inner: Gradient | None = None

    def __post_init__(self):
        require(0 <= self.clean < 1, f"AdversarialTraining.clean is {self.clean}; it must be at least 0 and below 1")

    def init(self, params: Any) -> Any:
        """The state of `inner`."""
        return (self.inner or SumOfLosses()).init(params)

    def __call__(self, objective: Objective, params: Any, state: Any, batch: Batch, key: Key[Array, ""]) -> tuple:
        inner = self.inner or SumOfLosses()
        attacked = self.attack(attacked_values(objective, params, key), batch, jax.random.fold_in(key, ATTACK))
        if attacked is batch or self.clean == 0:
            return inner(objective, params, state, attacked, key)

        def mixed(params, given, key, train=True):
            _same("AdversarialTraining.clean above 0", given, attacked)
            losses, aux = objective(params, attacked, key, train)
            original, of_original = objective(params, batch, key, train)
            mean = lambda a, b: (1 - self.clean) * a + self.clean * b
            losses = jax.tree.map(mean, dict(losses), dict(original))
            return losses, aux._replace(losses=losses, values=jax.tree.map(mean, dict(aux.values), dict(of_original.values)))

        return inner(mixed, params, state, attacked, key)


@dataclass(frozen=True)
class TRADES:
    """TRADES (Zhang et al., ICML 2019, equation 5): the loss plus a divergence of class probabilities,

        loss(original) + beta KL(p(original) || p(attacked)),

    where the attack maximises the divergence of each example, in inference mode. The divergence is the loss "trades".

    attack: such as PGD from a random start; without one, the divergence has no gradient at the original inputs. beta: weight of
    the divergence, 1 / lambda of the paper. outputs: names of outputs with class logits, whose divergences are added. inner: as
    in `AdversarialTraining`.
    """

    attack: Attack
    beta: float = 6.0
    outputs: tuple[str, ...] = ("label",)
    inner: Gradient | None = None

    def __post_init__(self):
        require(self.beta >= 0, f"TRADES.beta is {self.beta}; it must be at least 0")
        require(self.outputs, "TRADES.outputs is empty; name at least one output with class logits")
        fixed = isinstance(self.attack, FGSM) or (isinstance(self.attack, (PGD, APGD)) and not self.attack.random_start)
        message = "TRADES.attack starts at the original inputs, where the divergence has no gradient; give a random start"
        require(not fixed, message)

    def init(self, params: Any) -> Any:
        """The state of `inner`."""
        return (self.inner or SumOfLosses()).init(params)

    def __call__(self, objective: Objective, params: Any, state: Any, batch: Batch, key: Key[Array, ""]) -> tuple:
        inner = self.inner or SumOfLosses()
        if self.beta == 0:
            return inner(objective, params, state, batch, key)
        fixed = jax.lax.stop_gradient(params)
        outputs_at = lambda batch: objective(fixed, batch, key, train=False)[1].outputs
        original = outputs_at(batch)
        values = lambda changed: divergence(self.outputs, original, outputs_at(changed), changed)
        attacked = self.attack(values, batch, jax.random.fold_in(key, ATTACK))
        if attacked is batch:
            return inner(objective, params, state, batch, key)

        def with_divergence(params, given, key, train=True):
            _same("TRADES", given, batch)
            losses, aux = objective(params, batch, key, train)
            _, moved = objective(params, attacked, key, train)
            value = self.beta * divergence(self.outputs, aux.outputs, moved.outputs, batch)
            losses = {**losses, "trades": weighted_mean(value, batch.weight)}
            return losses, aux._replace(losses=losses, values={**aux.values, "trades": value})

        return inner(with_divergence, params, state, batch, key)


def divergence(
    names: tuple[str, ...], original: Mapping[str, Any], changed: Mapping[str, Any], batch: Batch
) -> Float[Array, " b"]:
    """The sum over outputs of KL(softmax(original) || softmax(changed)) in nats, per example; 0 where an output does not count.

    Of outputs [b n c], the mean over the n entries. ValueError if there is no such output.
    """

    def one(name):
        valid = counted(name, batch)
        p, q = (jax.nn.log_softmax(zero_invalid(pick(x, name), valid).astype(jnp.float32)) for x in (original, changed))
        nats = jnp.sum(jnp.exp(p) * (p - q), axis=-1)
        return jnp.mean(nats.reshape(len(valid), -1), axis=1)

    return sum(one(name) for name in names)


def _same(name: str, given: Batch, batch: Batch) -> None:
    """ValueError if an inner gradient changes the batch: its change would miss half of the loss."""
    message = f"{name} compares two versions of one batch, so its inner gradient must not change or split the batch"
    require(given is batch, message)
