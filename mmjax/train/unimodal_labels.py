"""A `Gradient` that generates a label of each modality for every training example: the self-supervision of Self-MM."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from mmjax.losses.combine import counted, pick
from mmjax.shards import gather_over_shards, sum_over_shards
from mmjax.types import Batch, Objective

__all__ = ["UnimodalLabels"]

_SMALL = 1e-8


def _distance(x: Float[Array, "b d"], centre: Float[Array, " d"]) -> Float[Array, " b"]:
    return jnp.linalg.norm(x - centre[None], axis=-1)


@dataclass(frozen=True)
class UnimodalLabels:
    """The gradient of the sum of the losses, which also see generated labels y_k of each modality k as the targets "k.target",
    and the generation of these labels (Yu et al., 2021, "Learning modality-specific representations with self-supervised
    multi-task learning", section 3.3), as in the authors' code. With features f_k, and f of the fusion, of each example:

        C_k^p, C_k^n = the means of f_k over the training examples with y_k > 0 and with y_k < 0
        a_k = (|f_k - C_k^n| - |f_k - C_k^p|) / |f_k - C_k^p|,   a likewise from f and y
        y_k' = (a_k y / a + y + a_k - a) / 2, within [-limit, limit],   y_k <- ((e - 1) y_k + 2 y_k') / (e + 1)

    in the e-th epoch, from the second one on, after the gradient of the step; y_k = y at first. The state has the last y_k and
    features of all training examples, on each device: examples * (width + number of modalities * (unimodal_width + 1)) numbers.

    The e of an example counts how often it was seen, and the centres are over all examples that were seen; this equals the
    code's epochs, which visit each example once. Labels of absent modalities do not change, and none do while a centre has no
    examples. Unlike the code, a step is a whole batch: it accumulates the gradients of four.

    examples: number of training rows, of the largest fold; rows beyond it keep y. modalities: those with a label, with the
    outputs "k.features" of a `fusion.SelfMM` beside "features". target: the name of a target Float[b] or Float[b 1], around 0.
    row: that of a target Int[b], the number of the row in the training split (`data.numbered.Numbered`). width,
    unimodal_width: of the features. limit: the highest absolute label, 3 in the code. zeros: count 0 as positive; the code
    excludes it by default.
    """

    examples: int
    modalities: tuple[str, ...]
    target: str = "score"
    row: str = "row"
    width: int = 128
    unimodal_width: int = 32
    limit: float = 3.0
    zeros: bool = False

    def init(self, params: Any) -> dict[str, Any]:
        """The state before the first step."""
        del params
        widths = {"": self.width, **dict.fromkeys(self.modalities, self.unimodal_width)}
        return {
            "features": {name: jnp.zeros((self.examples, width)) for name, width in widths.items()},
            "labels": {name: jnp.zeros(self.examples) for name in widths},
            "seen": {name: jnp.zeros(self.examples, jnp.int32) for name in widths},
        }

    def __call__(self, objective: Objective, params: Any, state: Any, batch: Batch, key: Key[Array, ""]) -> tuple:
        for name in (self.target, self.row):
            if name not in batch.targets:
                raise ValueError(f"UnimodalLabels needs the target {name!r}; the batch's targets are {sorted(batch.targets)}")
        row, y = batch.targets[self.row], batch.targets[self.target]
        own = {name: self._known(state, name, row, y.reshape(-1)) for name in self.modalities}
        targets = {f"{name}.{self.target}": label.reshape(y.shape) for name, label in own.items()}
        seen = batch.replace(targets={**batch.targets, **targets})

        def total(params):
            losses, aux = objective(params, seen, key)
            return sum(losses.values()), aux

        (value, aux), gradient = jax.value_and_grad(total, has_aux=True)(params)
        outputs = {name: f"{name}.features" if name else "features" for name in state["features"]}
        features = {name: gather_over_shards(pick(aux.outputs, output)) for name, output in outputs.items()}
        for name, x in features.items():
            if x.shape[1:] != state["features"][name].shape[1:]:
                field, own = ("unimodal_width", self.unimodal_width) if name else ("width", self.width)
                raise ValueError(f"UnimodalLabels.{field} is {own}; it must be that of {outputs[name]!r}, {list(x.shape)}")
        counts = {name: gather_over_shards(counted(output, batch) & (row >= 0)) for name, output in outputs.items()}
        state = self.updated(state, gather_over_shards(row), gather_over_shards(y.reshape(-1)), features, counts)
        return *sum_over_shards((value, gradient)), aux, state

    def _known(self, state: Any, name: str, row: Int[Array, " b"], y: Float[Array, " b"]) -> Float[Array, " b"]:
        """The labels of these rows; y of those that were not seen."""
        is_known = state["seen"][name].at[row].get(mode="fill", fill_value=0) > 0
        return jnp.where(is_known, state["labels"][name][row], y)

    def updated(
        self,
        state: Any,
        row: Int[Array, " b"],
        y: Float[Array, " b"],
        features: Mapping[str, Array],
        counts: Mapping[str, Array],
    ) -> dict[str, Any]:
        """The state after a batch. features: {modality, or "" for the fusion: [b d]}. counts: {the same: which examples have
        it}."""
        ratio = {name: self._ratio(state, name, x) for name, x in features.items()}
        a, has_fused = ratio[""]
        divisor = jnp.where(a + _SMALL == 0, _SMALL, a + _SMALL)
        labels = {"": y}
        for name in self.modalities:
            (own, has), old, before = ratio[name], self._known(state, name, row, y), state["seen"][name][row]
            new = jnp.clip((own / divisor * y + y + own - a) / 2, -self.limit, self.limit)
            epoch = before + 1
            moved = ((epoch - 1) * old + 2 * new) / (epoch + 1)
            labels[name] = jnp.where((before > 0) & has & has_fused, moved, old)

        def put(old, name, values):
            """The values in the rows that count; others are dropped, as if beyond the end."""
            return old[name].at[jnp.where(counts[name], row, self.examples)].set(values, mode="drop")

        seen = {name: state["seen"][name][row] + 1 for name in features}
        parts = {"features": features, "labels": labels, "seen": seen}
        return {kind: {name: put(state[kind], name, x) for name, x in values.items()} for kind, values in parts.items()}

    def _ratio(self, state: Any, name: str, x: Float[Array, "b d"]) -> tuple[Float[Array, " b"], Array]:
        """(a_k of these examples, whether both centres have examples)."""
        label, known = state["labels"][name], state["seen"][name] > 0
        positive = known & (label >= 0 if self.zeros else label > 0)
        sides = positive, known & (label < 0)

        def centre(chosen):
            total = jnp.where(chosen[:, None], state["features"][name], 0).sum(axis=0)
            return total / jnp.maximum(chosen.sum(), 1)

        to_positive, to_negative = (_distance(x, centre(side)) for side in sides)
        return (to_negative - to_positive) / (to_positive + _SMALL), sides[0].any() & sides[1].any()
