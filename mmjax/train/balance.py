"""Balances: combine the gradients of several losses, or of several modalities, into one.

Each is a `types.Gradient`: a value, whose state is a pytree. All run under `vmap` over seeds, and give the same results inside
`pmap` over `SHARD` as on one device.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from mmjax.shards import sum_over_shards
from mmjax.types import Batch, Objective

__all__ = ["OGMGE", "TINY", "GradNorm", "blend_weights", "ogm_ge"]

TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class OGMGE:
    """On-the-fly gradient modulation with generalisation enhancement (Peng et al., CVPR 2022): slows dominant modalities down.

    The gradient is that of the sum of the losses; then, for each modality u, the gradient of its encoder becomes

        g_u <- k_u g_u + noise * std(g_u) * N(0, 1),    k_u = 1 - tanh(alpha * rho_u) if rho_u > 1, else 1,
        rho_u = s_u / mean of the other s_v,            s_u = mean of softmax(logits_u)[target],

    with logits_u the output "u.target" of a unimodal head, and the mean over the examples of the whole batch that have u, by
    weight. If nothing is absent and there are two modalities, rho is the ratio of sums in the paper; with sums, a rare modality
    would count as weak. k_u = 1 if no example has u, or none has another modality. std is taken over each array. The unimodal
    heads learn from losses of their own, or keep their initial values. `ogm_ge` has the logits and arrays of the authors' code.

    alpha: strength, >= 0, dimensionless. noise: scale of the noise, 1 as published, 0 for OGM without noise. target: the name
    of a target of classes. dimensions: of the arrays that are modulated, None for all arrays; the authors' code modulates
    those with 4, the kernels of convolutions. ValueError if fewer than two modalities have such an output.
    """

    alpha: float = 0.5
    noise: float = 1.0
    target: str = "label"
    dimensions: int | None = None

    def init(self, params: Any) -> tuple[()]:
        """No state."""
        return ()

    def __call__(self, objective: Objective, params: Any, state: Any, batch: Batch, key: Key[Array, ""]) -> tuple:
        def total(params):
            losses, aux = objective(params, batch, key)
            return sum(losses.values()), aux

        (value, aux), gradient = jax.value_and_grad(total, has_aux=True)(params)
        value, gradient = sum_over_shards((value, gradient))
        gradient, noise_key = dict(gradient), jax.random.fold_in(key, 1)
        for number, (name, k) in enumerate(self.coefficients(aux.outputs, batch).items()):
            encoder = f"encoders_{name}"
            if encoder in gradient:  # an encoder may have no parameters
                gradient[encoder] = self.modulate(gradient[encoder], k, jax.random.fold_in(noise_key, number))
        return value, gradient, aux, state

    def coefficients(self, outputs: Mapping[str, Array], batch: Batch) -> dict[str, Float[Array, ""]]:
        """{modality: k} of the whole batch."""
        names = [name for name in sorted(batch.present) if f"{name}.{self.target}" in outputs]
        if len(names) < 2:
            raise ValueError(
                f"OGMGE compares the outputs 'modality.{self.target}' of at least two modalities; the outputs are "
                f"{sorted(outputs)}: give unimodal_heads={{modality: {{{self.target!r}: head}}}}"
            )

        def score(name):
            probabilities = jax.nn.softmax(outputs[f"{name}.{self.target}"].astype(jnp.float32))
            of_target = jnp.take_along_axis(probabilities, batch.targets[self.target][:, None], axis=1)[:, 0]
            weight = batch.weight * batch.present[name]
            return jnp.sum(jnp.where(weight > 0, of_target * weight, 0)), jnp.sum(weight)

        scores = sum_over_shards({name: score(name) for name in names})
        mean = {name: total / jnp.maximum(weight, TINY) for name, (total, weight) in scores.items()}
        present = {name: (weight > 0).astype(jnp.float32) for name, (_, weight) in scores.items()}

        def coefficient(name):
            others = [other for other in names if other != name]
            rival = sum(mean[other] for other in others) / jnp.maximum(sum(present[other] for other in others), 1)
            rho = mean[name] / jnp.maximum(rival, TINY)
            return jnp.where((rho > 1) & (rival > 0), 1 - jnp.tanh(self.alpha * rho), 1.0)

        return {name: coefficient(name) for name in names}

    def modulate(self, gradient: Any, k: Float[Array, ""], key: Key[Array, ""]) -> Any:
        """The gradient of one encoder times k, plus noise that is equal on all shards."""
        leaves, tree = jax.tree.flatten(gradient)
        ends = np.cumsum([leaf.size for leaf in leaves])
        drawn = jnp.split(jax.random.normal(key, (int(ends[-1]),)), ends[:-1])  # one draw compiles faster than many
        noise = [self.noise * _deviation(leaf) * part.reshape(leaf.shape) for leaf, part in zip(leaves, drawn)]
        changed = [self.dimensions in (None, leaf.ndim) for leaf in leaves]
        modulated = [k * leaf + extra if change else leaf for leaf, extra, change in zip(leaves, noise, changed)]
        return jax.tree.unflatten(tree, modulated)


def _deviation(x: Float[Array, "..."]) -> Float[Array, ""]:
    """The standard deviation of n values, estimated with n - 1 as in torch; 0 for one value."""
    return jnp.std(x) * np.float32(np.sqrt(x.size / max(x.size - 1, 1)))


def ogm_ge(alpha: float, target: str = "label", noise: float = 1.0) -> OGMGE:
    """OGM-GE as in its authors' code, for the fusion `SumLogits`, their concatenation, with the heads of
    `fusion.published.logit_heads`, and the loss On(target).

    Only the kernels of convolutions are modulated, and a modality's logits are its term of the linear classifier. The code has
    two modalities, and modulates in the first epochs only, which is left to the experiment. alpha: the code has no default.
    noise: 0 for OGM.
    """
    return OGMGE(alpha, noise, target, dimensions=4)


@dataclass(frozen=True)
class GradNorm:
    """Loss weights that equalise gradient norms, adjusted by training rates (Chen et al., ICML 2018, algorithm 1).

    The gradient is that of sum_i w_i L_i; then, with the norm G_i = w_i ||grad L_i|| over the shared parameters,

        w_i <- w_i - lr * d/dw_i |G_i - mean(G) r_i^alpha|,    r_i = (L_i / L_i(0)) / mean_j (L_j / L_j(0)),

    where the target mean(G) r_i^alpha is constant (equations 1 and 2), and the w_i are scaled so that they sum to the number of
    losses. L_i(0) is the loss at the first step that has an example of loss i. Weights are at least 1e-3 before scaling, so
    that they stay positive. Each step takes one backward pass per loss.

    losses: the names of the losses. alpha: strength of the adjustment by training rates, 0 for equal norms. lr: step size of
    the weights. shared: prefixes of the names of the parameters whose norm counts, such as "encoders", "encoders_image" or
    "fusion". ValueError if the loss has other names, or no parameter has such a prefix.
    """

    losses: tuple[str, ...]
    alpha: float = 1.5
    lr: float = 0.025
    shared: tuple[str, ...] = ("encoders",)

    def init(self, params: Any) -> dict[str, Any]:
        """{"weights": of the next step, "first": L_i(0), 0 until it is known}, each {loss name: Float[]}."""
        self.shared_part(params)
        return {"weights": {name: jnp.ones(()) for name in self.losses}, "first": {name: jnp.zeros(()) for name in self.losses}}

    def shared_part(self, tree: Any) -> dict[str, Any]:
        """The shared parameters, or their gradients."""
        found = {name: tree[name] for name in tree if name.startswith(self.shared)}
        if not found:
            raise ValueError(f"GradNorm.shared is {self.shared}, but the parameters that learn are {sorted(tree)}")
        return found

    def __call__(self, objective: Objective, params: Any, state: Any, batch: Batch, key: Key[Array, ""]) -> tuple:
        losses, pull_back, aux = jax.vjp(lambda params: objective(params, batch, key), params, has_aux=True)
        if set(losses) != set(self.losses):
            raise ValueError(f"GradNorm.losses is {self.losses}, but the losses are {sorted(losses)}")
        one_hot = {name: {other: jnp.float32(other == name) for other in losses} for name in self.losses}
        gradients = sum_over_shards({name: pull_back(one_hot[name])[0] for name in self.losses})
        losses, weights = sum_over_shards(losses), state["weights"]
        value = sum(weights[name] * losses[name] for name in self.losses)
        scaled = [jax.tree.map(lambda g, w=weights[name]: w * g, gradients[name]) for name in self.losses]
        gradient = jax.tree.map(lambda *parts: sum(parts), *scaled)

        first = {name: jnp.where(state["first"][name] > 0, state["first"][name], losses[name]) for name in self.losses}
        norms = {name: optax.tree.norm(self.shared_part(gradients[name])) for name in self.losses}
        left = {name: jnp.where(first[name] > 0, losses[name] / jnp.maximum(first[name], TINY), 1.0) for name in self.losses}
        return value, gradient, aux, {"weights": self.reweigh(weights, norms, left), "first": first}

    def reweigh(self, weights: Mapping[str, Any], norms: Mapping[str, Any], left: Mapping[str, Any]) -> dict[str, Any]:
        """The next weights. norms: ||grad L_i||, without weights; left: L_i / L_i(0). All are {loss name: Float[]}."""
        w, norm, share = (jnp.stack([values[name] for name in self.losses]) for values in (weights, norms, left))
        rate = share / jnp.maximum(share.mean(), TINY)
        target = (w * norm).mean() * rate**self.alpha
        w = jnp.maximum(w - self.lr * jnp.sign(w * norm - target) * norm, 1e-3)
        w = w * (len(self.losses) / w.sum())
        return {name: w[number] for number, name in enumerate(self.losses)}


def blend_weights(train: Mapping[str, Any], validation: Mapping[str, Any]) -> dict[str, float]:
    """Offline Gradient-Blending (Wang et al., CVPR 2020, "What makes training multi-modal classification networks hard?"): the
    weights of losses, which sum to 1.

        w_i = G_i / O_i^2 / Z,   G_i = V_i(start) - V_i(end),   O_i = (V_i - L_i)(end) - (V_i - L_i)(start)

    with L the training and V the validation loss: generalisation over squared overfitting. w_i = 0 if the validation loss did
    not fall (the paper leaves this case open); |O_i| is at least 1e-6.

    train, validation: {loss name: (loss at the start, loss at the end)}, each from a model trained with this loss alone: one
    per modality ("image.label", ...) and one of all modalities ("label"). The weights are for `WeightedLosses` of a model
    with unimodal and fused heads. ValueError if the names differ, or no validation loss fell.
    """
    if set(train) != set(validation):
        raise ValueError(f"train has the losses {sorted(train)}, but validation {sorted(validation)}")

    def ratio(name):
        losses, held_out = (np.asarray(both[name], np.float64) for both in (train, validation))
        generalised = held_out[0] - held_out[1]
        overfitted = (held_out[1] - losses[1]) - (held_out[0] - losses[0])
        return max(generalised, 0.0) / max(abs(overfitted), 1e-6) ** 2

    ratios = {name: ratio(name) for name in sorted(train)}
    total = sum(ratios.values())
    if total == 0:
        raise ValueError(f"no validation loss fell: {dict(validation)}")
    return {name: float(value / total) for name, value in ratios.items()}
