"""Balances: how the losses of several tasks, or the gradients of several modalities, become one gradient.

Each is a `types.Balance`, a value that a step is made with; whatever changes in training is in its state, a pytree. All run
under `vmap` over seeds, and give the same inside `pmap` over `SHARD` as on one device.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from mmjax.shards import sum_over_shards
from mmjax.types import Batch

TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class OGMGE:
    """On-the-fly gradient modulation with generalisation enhancement (Peng et al., 2022): the modality that is ahead learns
    more slowly. The gradient is that of the sum of the tasks; then, for each modality u, in the parameters of its encoder,

        g_u <- k_u g_u + noise * std(g_u) * N(0, 1),    k_u = 1 - tanh(alpha * rho_u) if rho_u > 1, else 1,
        rho_u = s_u / mean of the other s_v,            s_u = mean of softmax(logits_u)[target],

    with logits_u the output "u.target" of a head on that modality alone (`Multimodal.unimodal_heads`), and the mean over the examples
    of the whole batch that have u, by weight. With nothing absent and two modalities this is the paper's ratio of sums; a
    sum would call a modality weak for being rare. A modality that no example has, or without any other, has k = 1. The
    heads learn by losses of their own, or stay as they were initialised. The deviation is each array's own.

    alpha: strength, >= 0. noise: scale of the noise, 1 as published, 0 for OGM alone; both dimensionless. target: the name of
    the class numbers. ValueError where fewer than two modalities have such an output.
    """

    alpha: float = 0.5
    noise: float = 1.0
    target: str = "label"

    def init(self, params: Any) -> tuple[()]:
        return ()

    def __call__(self, objective: Callable, params: Any, state: Any, batch: Batch, key: Key[Array, ""]) -> tuple:
        def total(params):
            tasks, aux = objective(params)
            return sum(tasks.values()), aux

        (value, aux), gradient = jax.value_and_grad(total, has_aux=True)(params)
        value, gradient = sum_over_shards((value, gradient))
        gradient = dict(gradient)
        for number, (name, slowed) in enumerate(self.coefficients(aux[0], batch).items()):
            branch = f"encoders_{name}"
            if branch in gradient:  # an encoder may have no parameters
                gradient[branch] = self.modulate(gradient[branch], slowed, jax.random.fold_in(key, number))
        return value, gradient, aux, state

    def coefficients(self, outputs: Mapping[str, Array], batch: Batch) -> dict[str, Float[Array, ""]]:
        """{modality: k} of the whole batch."""
        names = [name for name in sorted(batch.present) if f"{name}.{self.target}" in outputs]
        if len(names) < 2:
            raise ValueError(
                f"OGMGE compares the outputs 'modality.{self.target}' of two modalities or more; the model gives "
                f"{sorted(outputs)}: give it unimodal_heads={{modality: {{{self.target!r}: head}}}}"
            )

        def score(name):
            probabilities = jax.nn.softmax(outputs[f"{name}.{self.target}"].astype(jnp.float32))
            right = jnp.take_along_axis(probabilities, batch.targets[self.target][:, None], axis=1)[:, 0]
            weight = batch.weight * batch.present[name]
            return jnp.sum(jnp.where(weight > 0, right * weight, 0)), jnp.sum(weight)

        scores = sum_over_shards({name: score(name) for name in names})
        mean = {name: total / jnp.maximum(weight, TINY) for name, (total, weight) in scores.items()}
        there = {name: (weight > 0).astype(jnp.float32) for name, (_, weight) in scores.items()}

        def coefficient(name):
            rest = [other for other in names if other != name]
            others = sum(mean[other] for other in rest) / jnp.maximum(sum(there[other] for other in rest), 1)
            ratio = mean[name] / jnp.maximum(others, TINY)
            return jnp.where((ratio > 1) & (others > 0), 1 - jnp.tanh(self.alpha * ratio), 1.0)

        return {name: coefficient(name) for name in names}

    def modulate(self, gradient: Any, slowed: Float[Array, ""], key: Key[Array, ""]) -> Any:
        """One encoder's gradient times k, with noise that is the same on every shard."""
        leaves, tree = jax.tree.flatten(gradient)
        ends = np.cumsum([leaf.size for leaf in leaves])
        drawn = jnp.split(jax.random.normal(key, (int(ends[-1]),)), ends[:-1])  # one draw compiles sooner than one for each
        noise = [self.noise * jnp.std(leaf) * part.reshape(leaf.shape) for leaf, part in zip(leaves, drawn)]
        return jax.tree.unflatten(tree, [slowed * leaf + extra for leaf, extra in zip(leaves, noise)])


@dataclass(frozen=True)
class GradNorm:
    """Task weights that bring the tasks' gradients to norms that suit their pace (Chen et al., 2018, algorithm 1). The gradient
    is that of sum_i w_i L_i; then, with the norm G_i = w_i ||grad L_i|| over the shared parameters,

        w_i <- w_i - lr * d/dw_i |G_i - mean(G) r_i^alpha|,    r_i = (L_i / L_i(0)) / mean_j (L_j / L_j(0)),

    the target mean(G) r_i^alpha being a constant there (equations 1, 2), and the w_i scaled to the sum T, the number of tasks.
    L_i(0) is the loss of the first step that has any example of the task. A weight stays above 1e-3 before scaling, lest it
    turn negative. Each step takes T backward passes.

    tasks: the names in the loss. alpha: how strongly a task that is behind is pulled forward, 0 for equal norms. lr: of the
    weights. shared: the parameters whose norm counts, by the beginning of their names, such as "encoders", "encoders_image"
    or "fusion". ValueError where the loss has other tasks, or no parameter has such a name.
    """

    tasks: tuple[str, ...]
    alpha: float = 1.5
    lr: float = 0.025
    shared: tuple[str, ...] = ("encoders",)

    def init(self, params: Any) -> dict[str, Any]:
        """weights, first: {task: Float[]}, the weights of the next step, and L_i(0), 0 until there is one."""
        self.of_shared(params)
        weights, first = {task: jnp.ones(()) for task in self.tasks}, {task: jnp.zeros(()) for task in self.tasks}
        return {"weights": weights, "first": first}

    def of_shared(self, tree: Any) -> dict[str, Any]:
        """The branches of parameters or gradients whose norm counts."""
        found = {name: tree[name] for name in tree if name.startswith(self.shared)}
        if not found:
            raise ValueError(f"GradNorm.shared is {self.shared}, of which nothing learns; what learns is in {sorted(tree)}")
        return found

    def __call__(self, objective: Callable, params: Any, state: Any, batch: Batch, key: Key[Array, ""]) -> tuple:
        losses, pull_back, aux = jax.vjp(objective, params, has_aux=True)
        if set(losses) != set(self.tasks):
            raise ValueError(f"GradNorm.tasks is {self.tasks}; the loss gives {sorted(losses)}")
        chosen = {task: {name: jnp.float32(name == task) for name in losses} for task in self.tasks}
        gradients = sum_over_shards({task: pull_back(chosen[task])[0] for task in self.tasks})
        losses, weights = sum_over_shards(losses), state["weights"]
        value = sum(weights[task] * losses[task] for task in self.tasks)
        scaled = [jax.tree.map(lambda g, w=weights[task]: w * g, gradients[task]) for task in self.tasks]
        gradient = jax.tree.map(lambda *parts: sum(parts), *scaled)

        first = {task: jnp.where(state["first"][task] > 0, state["first"][task], losses[task]) for task in self.tasks}
        norms = {task: optax.tree.norm(self.of_shared(gradients[task])) for task in self.tasks}
        left = {task: jnp.where(first[task] > 0, losses[task] / jnp.maximum(first[task], TINY), 1.0) for task in self.tasks}
        return value, gradient, aux, {"weights": self.reweigh(weights, norms, left), "first": first}

    def reweigh(self, weights: Mapping[str, Any], norms: Mapping[str, Any], left: Mapping[str, Any]) -> dict[str, Any]:
        """The next weights, from the norms of the gradients without weights and the shares L_i / L_i(0) left of the losses."""
        w, norm, share = (jnp.stack([values[task] for task in self.tasks]) for values in (weights, norms, left))
        pace = share / jnp.maximum(share.mean(), TINY)
        target = (w * norm).mean() * pace**self.alpha
        w = jnp.maximum(w - self.lr * jnp.sign(w * norm - target) * norm, 1e-3)
        w = w * (len(self.tasks) / w.sum())
        return {task: w[number] for number, task in enumerate(self.tasks)}


def blend_weights(train: Mapping[str, Any], validation: Mapping[str, Any]) -> dict[str, float]:
    """Offline Gradient-Blending (Wang et al., 2020, "What makes training multi-modal classification networks hard?"): the
    weight of each task, their sum being 1.

        w_i = G_i / O_i^2 / Z,   G_i = V_i(start) - V_i(end),   O_i = (V_i - L_i)(end) - (V_i - L_i)(start)

    with L the training and V the validation loss: what generalised, over the square of what was overfitted. A task whose
    validation loss did not fall gets 0 (the paper leaves that open); |O_i| counts as 1e-6 at least.

    train, validation: {task: (loss at the start, loss at the end)}, each task trained alone: one model for each modality
    ("image.label", ...) and one of all ("label"). Then train the whole with these as the weights of its tasks: the heads of
    `Multimodal.unimodal_heads` and the fused one. ValueError where the two name different tasks, or no validation loss fell.
    """
    if set(train) != set(validation):
        raise ValueError(f"train has the tasks {sorted(train)}, validation {sorted(validation)}")

    def worth(task):
        losses, held_out = (np.asarray(both[task], np.float64) for both in (train, validation))
        generalised = held_out[0] - held_out[1]
        overfitted = (held_out[1] - losses[1]) - (held_out[0] - losses[0])
        return max(generalised, 0.0) / max(abs(overfitted), 1e-6) ** 2

    worths = {task: worth(task) for task in sorted(train)}
    total = sum(worths.values())
    if total == 0:
        raise ValueError(f"no task's validation loss fell: {dict(validation)}")
    return {task: float(value / total) for task, value in worths.items()}
