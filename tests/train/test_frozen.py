"""Frozen variables are stored once: no seed axis in the state, no gradient, no copy in the best step, under both plans."""

from dataclasses import replace
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from mmjax.encoders import Features
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.losses import cross_entropy
from mmjax.model import Multimodal
from mmjax.nn.norm import BatchNorm
from mmjax.train.checkpoint import Checkpoints
from mmjax.train.loop import TrainData, fit
from mmjax.train.optim import SGD
from mmjax.train.parallel import pmapped, single
from mmjax.train.stages import Stage, merged
from mmjax.train.training import Schedule, Training
from mmjax.types import Batch, Tokens

SEEDS, ROWS = (3, 4), 8
RANDOM = np.random.default_rng(0)
INPUTS = {name: RANDOM.normal(size=(ROWS, 5)).astype(np.float32) for name in ("tower", "image")}
PRESENT = {name: np.arange(ROWS) != 2 for name in INPUTS}
BATCH = Batch(INPUTS, PRESENT, {"label": np.arange(ROWS) % 3}, np.ones(ROWS, np.float32))


class Tower(nn.Module):
    """An encoder with batch statistics."""

    hidden: int = 6
    takes_present = True

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False, present: Any = None) -> Tokens:
        x = nn.Dense(self.hidden, name="hidden")(x)
        x = BatchNorm(name="norm")(x, train=train, present=present)
        return Tokens(nn.Dense(4, name="dense")(nn.relu(x))[:, None], jnp.ones((len(x), 1), bool))


@pytest.fixture(scope="module")
def training():
    """The tower has published weights and never learns; the other encoder learns in the second stage."""
    model = Multimodal({"tower": Tower(), "image": Features(3)}, Concat(width=4), {"label": Classifier(3)})
    stages = (Stage(1.0, ("fusion", "heads")), Stage(1.0, ("fusion", "heads", "encoders_image")))
    return Training(model, cross_entropy, SGD(lr=0.1, clip=1e9), Schedule(4, 2, 2, steps_per_call=2), stages)


@pytest.fixture(scope="module")
def pretrained(training):
    shapes = flatten_dict(jax.eval_shape(training.model.init, jax.random.key(0), BATCH), sep="/")
    tower = {path: leaf for path, leaf in shapes.items() if "/encoders_tower/" in path}
    return {path: np.abs(RANDOM.normal(size=leaf.shape)).astype(np.float32) + 0.1 for path, leaf in tower.items()}


@pytest.fixture(scope="module")
def start(training, pretrained):
    return training.init(SEEDS, BATCH, pretrained)


def test_the_tower_is_stored_once(training, start, pretrained):
    state, frozen = start
    assert flatten_dict(frozen, sep="/").keys() == pretrained.keys()
    assert any(path.startswith("batch_stats/") for path in pretrained)
    assert set(state.params) == {"encoders_image", "fusion", "heads_label"} and state.stats == {}
    for path, leaf in flatten_dict(frozen, sep="/").items():
        np.testing.assert_array_equal(leaf, pretrained[path])


def test_initialisation_does_not_materialise_the_tower(training, pretrained):
    """A tower of 40 MB and two seeds: the compiled initialisation needs a fraction of one copy."""
    wide = replace(training, model=training.model.clone(encoders={"tower": Tower(1_000_000), "image": Features(3)}))
    shapes = flatten_dict(jax.eval_shape(wide.model.init, jax.random.key(0), BATCH), sep="/")
    tower = {path: np.zeros(leaf.shape, leaf.dtype) for path, leaf in shapes.items() if "/encoders_tower/" in path}
    assert sum(leaf.nbytes for leaf in tower.values()) > 35e6
    compiled = []
    jit = jax.jit

    def spy(function, **options):
        def call(*args):
            compiled.append(jit(function, **options).lower(*args).compile())
            return compiled[-1](*args)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "jit", spy)
        wide.init(SEEDS, BATCH, tower)
    memory = compiled[-1].memory_analysis()
    assert memory.temp_size_in_bytes + memory.output_size_in_bytes + memory.argument_size_in_bytes < 1e6


def run_stage(training, plan, start):
    """(state after two steps of the second stage, their metrics)."""
    state, frozen = start
    batches = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (2, len(SEEDS), *leaf.shape)), BATCH)
    state = jax.jit(jax.vmap(lambda one: training.reset(one, 1)))(jax.tree.map(jnp.copy, state))
    placed, metrics = plan.train(training.step(1))(plan.place(state), plan.place(frozen), batches)
    return jax.tree.map(np.asarray, plan.fetch(placed).replace(key=None)), jax.tree.map(np.asarray, metrics)


@pytest.fixture(scope="module")
def on_one(training, start):
    return run_stage(training, single(), start)


def test_it_trains_as_with_a_copy_per_seed(training, start, on_one):
    state, frozen = start
    copies = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(SEEDS)), frozen)
    whole = merged(state.variables, copies)
    params = whole.pop("params")
    copied = state.replace(params=params, stats=whole)
    (found, metrics), (expected, expected_metrics) = on_one, run_stage(training, single(), (copied, {}))
    chex.assert_trees_all_close(metrics, expected_metrics, rtol=1e-5)
    tower = expected.params.pop("encoders_tower")
    chex.assert_trees_all_close(found.params, expected.params, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_equal(tower, copies["params"]["encoders_tower"])
    chex.assert_trees_all_equal(expected.stats["batch_stats"], copies["batch_stats"])
    moved = jax.tree.map(lambda a, b: np.abs(a - np.asarray(b)).max(), found.params, state.params)
    assert min(jax.tree.leaves(moved)) > 0


def test_four_devices_train_as_one(training, start, on_one):
    found, metrics = run_stage(training, pmapped(), start)
    chex.assert_trees_all_close(found.params, on_one[0].params, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(metrics, on_one[1], rtol=1e-4)


def test_fit_saves_no_copy(training, start, tmp_path):
    state, frozen = start
    training = replace(training, stages=training.stages[1:])
    state = jax.vmap(lambda one: training.reset(one, 0))(state)
    batches = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (2, len(SEEDS), *leaf.shape)), BATCH)
    evaluate = training.plan.evaluate(lambda variables, batch: training.model.apply(variables, batch)["label"])
    placed = training.plan.place(frozen)

    def validate(variables):
        total = np.asarray(evaluate(variables, placed, BATCH)).sum(axis=(1, 2))
        return {"score": total, "loss": -total}

    data, checkpoints = TrainData(lambda chunks: (batches for _ in chunks)), Checkpoints(tmp_path)
    fitted = fit(training, jax.tree.map(jnp.copy, state), placed, data, validate, checkpoints)
    checkpoints.close()
    assert set(fitted.best.variables) == {"params"} and "encoders_tower" not in fitted.best.variables["params"]
    size = lambda tree: sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
    saved = sum(file.stat().st_size for file in (tmp_path / "4" / "tree").rglob("*") if file.is_file())
    assert saved < 3 * size(state.variables) + 60_000  # state, momentum and best, and Orbax's own files
