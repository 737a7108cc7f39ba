"""A logistic loss whose attacked value is known, and a step of a defence on it."""

import jax
import jax.numpy as jnp

from mmjax.train.step import weighted_mean
from mmjax.types import Aux, Batch

KEY = jax.random.key(5)
X, Y, RATE = jnp.array([[1.0, -0.5], [0.25, 2.0], [3.0, 1.0]]), jnp.array([1.0, -1.0, 1.0]), jnp.array([1.0, 3.0, 0.0])
PARAMS = jnp.array([0.7, -0.2])


def logistic() -> Batch:
    return Batch({"x": X}, {"x": jnp.ones(3, bool)}, {"y": Y}, RATE)


def objective(params, batch, key, train=True):
    margin = batch.targets["y"] * (batch.inputs["x"] @ params)
    values = {"loss": jax.nn.softplus(-margin)}
    losses = {"loss": weighted_mean(values["loss"], batch.weight)}
    logits = jnp.stack([jnp.zeros(len(margin)), batch.inputs["x"] @ params], axis=1)
    return losses, Aux({"label": logits}, {}, losses, values)


def by_hand(params, eps):
    """The weighted mean of log(1 + exp(-(margin - eps ||w||_1)))."""
    values = jax.nn.softplus(-(Y * (X @ params) - eps * jnp.abs(params).sum()))
    return jnp.sum(values * RATE) / jnp.sum(RATE)


def run(defence, batch=None):
    """(loss, gradient, aux, state) of a step, compiled."""
    batch = logistic() if batch is None else batch
    return jax.jit(lambda params, batch: defence(objective, params, defence.init(params), batch, KEY))(PARAMS, batch)
