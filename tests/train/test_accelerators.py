"""Training steps and evaluations are lowered for GPUs and TPUs, without one."""

import jax
import pytest

from mmjax.evaluate.predict import validation_predictions
from mmjax.losses import cross_entropy
from mmjax.tasks import Classify
from mmjax.train.parallel import all_seeds_steps, evaluation
from tests.train.toy import Toy

PLATFORMS = ["cuda", "tpu"]


@pytest.fixture(scope="module")
def toy():
    return Toy(batch=4)


def shapes(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def test_a_step_of_all_seeds_lowers_for_accelerators(toy):
    state = jax.eval_shape(lambda: toy.training.init((0, 1), toy.one_seed())[0])
    exported = jax.export.export(jax.jit(all_seeds_steps(toy.step())), platforms=PLATFORMS)(
        state, {}, shapes(toy.chunk_of((0, 1), (0, 1)))
    )
    assert exported.platforms == ("cuda", "tpu")
    assert "stablehlo.convolution" in exported.mlir_module()  # the whole model is in it


def test_an_evaluation_of_all_seeds_lowers_for_accelerators(toy):
    variables = jax.eval_shape(lambda: toy.training.init((0, 1), toy.one_seed())[0].variables)
    function = validation_predictions(toy.model, cross_entropy, Classify("label"))
    exported = jax.export.export(jax.jit(evaluation(function)), platforms=PLATFORMS)(variables, {}, shapes(toy.one_seed()))
    assert exported.platforms == ("cuda", "tpu")
