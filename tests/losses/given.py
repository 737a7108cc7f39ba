"""Shared by the tests of losses: outputs, targets, and a batch in which not all examples count."""

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.types import Batch

B, C = 8, 4
RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(B, C)).astype(np.float32) * 3
LABEL = np.arange(B, dtype=np.int32) % C
ONE_HOT = np.eye(C, dtype=np.float32)[LABEL]
SOFT = RANDOM.dirichlet(np.ones(C), B).astype(np.float32)
MANY = (RANDOM.uniform(size=(B, C)) < 0.5).astype(np.int32)


PRESENT = {"image": np.arange(B) > 0, "text": np.arange(B) != 3}
WEIGHT = np.where(np.arange(B) == 7, 0, 1 + np.arange(B) / 4).astype(np.float32)
OUTPUTS = {name: jnp.asarray(LOGITS + k) * (k + 1) for k, name in enumerate(("label", "image.label", "text.label"))}


def run(criterion, output, target):
    return np.asarray(jax.jit(criterion)(jnp.asarray(output), jnp.asarray(target)))


def batch(targets=None, present=None, weight=None) -> Batch:
    present = {"image": np.ones(B, bool), "text": np.ones(B, bool)} if present is None else present
    weight = np.ones(B, np.float32) if weight is None else weight
    return jax.tree.map(jnp.asarray, Batch({}, present, targets or {"label": LABEL}, weight))
