"""Distillation of a frozen tower: an output learns to be the embedding that a published encoder gives the same example."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.losses.contrastive import pair
from mmjax.types import Batch

__all__ = ["TowerDistillation"]


@dataclass(frozen=True)
class TowerDistillation:
    """1 - cos(x, stop_gradient(y)): 0 if the student's output x has the direction of the teacher's y, 2 if the opposite one.

    The cosine loss of feature distillation (CLIP-KD, Yang et al., CVPR 2024, section 3.2, with a cosine for its squared error).
    The teacher may be of another modality: a multilingual text tower learns from an English one by the same items.

    student, teacher: names of outputs [b d]. An example counts if it has the modalities of both. A vector of zeros has the
    cosine 0.
    """

    student: str
    teacher: str

    def __call__(self, outputs: Mapping[str, Array], batch: Batch) -> Float[Array, " b"]:
        x, y, valid = pair(outputs, batch, self.student, self.teacher)
        return jnp.where(valid, 1 - jnp.sum(_unit(x) * _unit(jax.lax.stop_gradient(y)), axis=-1), 0)


def _unit(x: Float[Array, "b d"]) -> Float[Array, "b d"]:
    return x / jnp.sqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), 1e-24))
