"""What a run computes on devices is lowered for GPUs and TPUs, without one: initial states, training steps, new states of the
optimiser, evaluations and predictions."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from mmjax.encoders import Features
from mmjax.evaluate.predict import predict_attacked, predict_subsets, validation_predictions
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.losses import cross_entropy
from mmjax.model import Multimodal
from mmjax.robust.attacks import PGD
from mmjax.robust.budgets import Linf
from mmjax.shards import SHARD
from mmjax.tasks import Classify
from mmjax.train.optim import AdamW
from mmjax.train.parallel import all_seeds_steps, evaluation
from mmjax.train.sharded import Mesh, of_rows, sharded
from mmjax.train.stages import Stage
from mmjax.train.training import Schedule, Training
from mmjax.types import Batch
from tests.train.toy import Toy

PLATFORMS = ["cuda", "tpu"]


@pytest.fixture(scope="module")
def toy():
    return Toy(batch=4)


@pytest.fixture(scope="module")
def init(toy):
    """() -> the states of two seeds, jitted."""
    return jax.jit(lambda: toy.training.init((0, 1), toy.one_seed())[0])


@pytest.fixture(scope="module")
def state(init):
    return jax.eval_shape(init)


def shapes(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def test_the_initialisation_lowers_for_accelerators(init):
    exported = jax.export.export(init, platforms=PLATFORMS)()
    assert exported.platforms == ("cuda", "tpu")
    assert "geqrf" in exported.mlir_module()  # orthogonal kernels of the LSTM are QR decompositions


def test_the_reset_at_the_start_of_a_stage_lowers_for_accelerators(toy, state):
    training = replace(toy.training, stages=(Stage(), Stage(learns=("heads",))))
    reset = lambda state: training.plan.compute(jax.vmap(lambda one: training.reset(one, 1)), state)
    exported = jax.export.export(jax.jit(reset), platforms=PLATFORMS)(state)
    assert exported.platforms == ("cuda", "tpu")
    assert len(exported.out_avals) < len(exported.in_avals)  # Adam has moments of the heads alone


def test_a_step_of_all_seeds_lowers_for_accelerators(toy, state):
    exported = jax.export.export(jax.jit(all_seeds_steps(toy.step())), platforms=PLATFORMS)(
        state, {}, shapes(toy.chunk_of((0, 1), (0, 1)))
    )
    assert exported.platforms == ("cuda", "tpu")
    assert "stablehlo.convolution" in exported.mlir_module()  # the whole model is in it


def test_a_step_of_pmap_lowers_for_accelerators(toy, state):
    """Four devices, one row of each batch on each."""
    step = jax.pmap(all_seeds_steps(toy.step()), axis_name=SHARD, in_axes=(0, 0, 2), out_axes=(0, None))
    each = lambda tree: jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((4, *leaf.shape), leaf.dtype), tree)
    split = lambda leaf: jax.ShapeDtypeStruct((*leaf.shape[:2], 4, leaf.shape[2] // 4, *leaf.shape[3:]), leaf.dtype)
    batches = jax.tree.map(split, toy.chunk_of((0, 1), (0, 1)))
    exported = jax.export.export(jax.jit(step), platforms=PLATFORMS)(each(state), {}, batches)
    assert exported.nr_devices == 4 and "all_reduce" in exported.mlir_module()


def test_a_step_on_a_mesh_lowers_for_accelerators(monkeypatch):
    """Only dense layers: the parts of a model are in the test above."""
    monkeypatch.setattr("mmjax.train.sharded.MIN_SIZE", 8)
    model = Multimodal({"x": Features(width=8)}, Concat(width=8), {"label": Classifier(3)})
    training = Training(model, cross_entropy, AdamW(), Schedule(1, 1, 1), plan=sharded(Mesh(data=2, fsdp=2)))
    rows = np.ones(4, np.float32)
    batch = Batch({"x": np.ones((4, 8), np.float32)}, {"x": rows > 0}, {"label": np.zeros(4, np.int32)}, rows)
    state, _ = training.init((0, 1), batch)
    placed = of_rows(state.step.sharding.mesh, 3)
    batches = jax.tree.map(lambda leaf: jax.device_put(np.stack([leaf, leaf])[None], placed), batch)
    step = jax.jit(all_seeds_steps(training.step(0), "seeds"))
    exported = jax.export.export(step, platforms=PLATFORMS)(state, {}, batches)
    assert exported.nr_devices == 4 and "sharding_constraint" in exported.mlir_module()

    def evaluated(variables, batch):
        with training.plan.gather(variables) as whole:
            return validation_predictions(model, cross_entropy, Classify("label"))(whole, batch)

    rows = jax.tree.map(lambda leaf: jax.device_put(leaf, of_rows(state.step.sharding.mesh, 1)), batch)
    exported = jax.export.export(jax.jit(evaluation(evaluated, "seeds")), platforms=PLATFORMS)(state.variables, {}, rows)
    assert exported.nr_devices == 4 and "sharding_constraint" in exported.mlir_module()


def test_an_evaluation_of_all_seeds_lowers_for_accelerators(toy, state):
    function = validation_predictions(toy.model, cross_entropy, Classify("label"))
    batch = shapes(toy.one_seed())
    exported = jax.export.export(jax.jit(evaluation(function)), platforms=PLATFORMS)(state.variables, {}, batch)
    assert exported.platforms == ("cuda", "tpu")


def test_predictions_of_pmap_lower_for_accelerators(toy, state):
    """Of every subset of the modalities, as for the test split; one row on each of four devices."""
    task = Classify("label")
    predict = predict_subsets(toy.model, {"label": task}, {"label": task.subsets(toy.modalities)})
    run = jax.pmap(evaluation(predict), axis_name=SHARD, out_axes=2)
    each = lambda tree: jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((4, *leaf.shape), leaf.dtype), tree)
    split = lambda leaf: jax.ShapeDtypeStruct((4, leaf.shape[0] // 4, *leaf.shape[1:]), leaf.dtype)
    batch = jax.tree.map(split, toy.one_seed())
    exported = jax.export.export(jax.jit(run), platforms=PLATFORMS)(each(state.variables), {}, batch)
    assert exported.nr_devices == 4 and exported.platforms == ("cuda", "tpu")


def test_predictions_of_attacked_inputs_lower_for_accelerators(toy, state):
    task, batch = Classify("label"), shapes(toy.one_seed())
    attack = PGD({"image": Linf(0.1)}, steps=2)
    predict = predict_attacked(toy.model, {"label": task}, {"label": task.subsets(toy.modalities)}, attack, cross_entropy)
    exported = jax.export.export(jax.jit(evaluation(predict)), platforms=PLATFORMS)(state.variables, {}, batch)
    assert exported.platforms == ("cuda", "tpu")
    assert "stablehlo.sign" in exported.mlir_module()  # of the gradient
