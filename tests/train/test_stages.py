"""Stages: their steps, the parameters that learn, the reset of the optimiser, and resuming."""

from dataclasses import replace
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmjax.encoders import Features
from mmjax.fusion import Concat
from mmjax.heads import Classifier, Temperature
from mmjax.losses import cross_entropy
from mmjax.model import Multimodal
from mmjax.train.checkpoint import CheckpointError, Checkpoints
from mmjax.train.loop import Callbacks, Stopped, fit
from mmjax.train.parallel import single
from mmjax.train.seeds import init_seeds
from mmjax.train.stages import Stage, does_learn, frozen_paths, gradual_unfreezing, merged, resolve, split
from mmjax.train.step import init_state, make_step
from mmjax.train.training import Training
from mmjax.types import Batch
from tests.train.toy import CLASSES, Toy


def test_resolve_by_hand():
    ranges = lambda stages, steps: [(steps.start, steps.stop) for _, steps in resolve(stages, steps)]
    assert resolve((), 10) == ((Stage(), range(10)),)
    assert ranges((Stage(1.0), Stage(1.0), Stage(2.0)), 8) == [(0, 2), (2, 4), (4, 8)]
    assert ranges((Stage(1.0), Stage(1.0), Stage(1.0)), 10) == [(0, 3), (3, 7), (7, 10)]
    assert ranges((Stage(1e-6), Stage(1.0), Stage(1e-6)), 3) == [(0, 1), (1, 2), (2, 3)]  # at least one step each
    with pytest.raises(ValueError, match="steps is 1, but there are 2 stages"):
        resolve((Stage(1.0), Stage(1.0)), 1)
    for share in (0.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=rf"Stage\.share is {share}"):
            Stage(share)
    with pytest.raises(ValueError, match=r"Stage\.learns is empty"):
        Stage(1.0, ())


def test_does_learn():
    assert does_learn("fusion/dense/kernel", ("",))
    assert does_learn("encoders_image/conv/kernel", ("heads", "encoders"))
    assert does_learn("loss_parameters_temperature/log_scale", ("loss_parameters",))
    assert does_learn("unimodal_heads_image_label/dense/kernel", ("unimodal_heads",))
    assert not does_learn("unimodal_heads_image_label/dense/kernel", ("heads",))
    assert does_learn("encoders_text/transformer/block1/up/kernel", (r"encoders_text/transformer/block(1|2)",))
    assert not does_learn("encoders_text/transformer/block11/up/kernel", (r"encoders_text/transformer/block(1|2)",))
    assert not does_learn("encoders_texts/word", ("encoders_text",))
    assert not does_learn("encoders_text_fr/word", ("encoders_text",))
    assert not does_learn("fusion/dense", ("dense",))


def test_gradual_unfreezing():
    stages = gradual_unfreezing((2.0, 1.0, 1.0), ("heads",), ("fusion", "encoders"))
    assert [stage.learns for stage in stages] == [("heads",), ("heads", "fusion"), ("heads", "fusion", "encoders")]
    assert [stage.share for stage in stages] == [2.0, 1.0, 1.0]
    with pytest.raises(ValueError, match="2 shares for 3 stages"):
        gradual_unfreezing((1.0, 1.0), ("heads",), ("fusion", "encoders"))


def test_frozen_paths():
    """Pretrained parameters that never learn; statistics only if no parameter of their encoder learns."""
    shapes = {"params": {"encoders_a": {"base": {"w": 0}, "lora": {"w": 0}}, "encoders_b": {"w": 0}, "fusion": {"w": 0}}}
    pretrained = ["params/encoders_a/base/w", "batch_stats/encoders_a/base/mean"]
    pretrained += ["params/encoders_b/w", "batch_stats/encoders_b/mean"]
    frozen = lambda *stages: sorted(frozen_paths(shapes, pretrained, [Stage(1.0, learns) for learns in stages]))
    of_b = ["batch_stats/encoders_b/mean", "params/encoders_b/w"]
    assert frozen(("",)) == []
    assert frozen(("fusion",)) == sorted(pretrained)
    assert frozen(("fusion", "encoders_a/lora")) == [*of_b[:1], "params/encoders_a/base/w", *of_b[1:]]
    assert frozen(("fusion",), ("encoders_b",)) == ["batch_stats/encoders_a/base/mean", "params/encoders_a/base/w"]
    assert frozen(("fusion",), ("encoders",)) == []


@pytest.fixture(scope="module")
def toy():
    return Toy(modalities=("image",), dropout=0.0, batch=4, steps=4)


def test_only_learning_parameters_change_and_have_an_optimiser_state(toy):
    tx, learns = optax.adamw(0.1, weight_decay=0.1), ("encoders_image", "heads")  # decay alone would change frozen parameters
    state = init_seeds(toy.model, tx, [0], toy.one_seed(), learns=learns)
    learning, still = split(state.params, learns)
    assert set(learning) == {"encoders_image", "heads_label"} and set(still) == {"fusion"}
    assert jax.tree.structure(merged(learning, still)) == jax.tree.structure(state.params)
    assert jax.tree.structure(state.opt_state[0].mu) == jax.tree.structure(learning)
    run = single().train(make_step(toy.model, cross_entropy, tx, learns=learns))
    after, metrics = run(jax.tree.map(jnp.copy, state), {}, toy.chunk_of([0], [0]))
    for name, before in state.params.items():
        same = [np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (before, after.params[name])))]
        assert all(same) if name == "fusion" else not all(same), name
    # The norm of the update is over the parameters that learn: AdamW's first update, without warm-up.
    moved = optax.tree.norm(jax.tree.map(jnp.subtract, split(after.params, learns)[0], learning))
    np.testing.assert_allclose(metrics["update_norm"], [[moved]], rtol=1e-4)


def test_a_fully_frozen_encoder_runs_in_inference_mode():
    """With dropout of nearly everything, the kernel of the fusion changes only if the encoder runs without dropout."""
    image = jax.random.normal(jax.random.key(5), (4, 3))
    vectors = Batch({"image": image}, {"image": jnp.ones(4, bool)}, {"label": jnp.arange(4) % CLASSES}, jnp.ones(4))

    def moved(encoder, learns):
        model = Multimodal({"image": encoder}, Concat(width=4), {"label": Classifier(CLASSES)})
        tx = optax.sgd(1.0)
        state = jax.jit(lambda key: init_state(model, tx, key, vectors, learns=learns))(jax.random.key(1))
        after, _ = jax.jit(make_step(model, cross_entropy, tx, learns=learns))(state, {}, vectors)
        kernel = lambda state: np.asarray(state.params["fusion"]["dense"]["kernel"])
        return np.abs(kernel(after) - kernel(state)).max()

    drops = lambda width: Features(width=width, dropout=0.999999)
    assert moved(drops(None), ("",)) == 0  # it has no parameters, so it is not frozen
    assert moved(drops(5), ("",)) == 0
    assert moved(drops(5), ("fusion", "heads")) > 0.001


def test_loss_parameters_learn_without_fusion():
    """A model of unimodal heads only; the gradient of t in f(t) = t is dt / dlog_scale = -t."""
    vectors = Batch({"image": jnp.ones((4, 3))}, {"image": jnp.ones(4, bool)}, {}, jnp.ones(4))
    heads, parameters = {"image": {"label": Classifier(2)}}, {"temperature": Temperature(0.5)}
    model = Multimodal({"image": Features(width=None)}, unimodal_heads=heads, loss_parameters=parameters)
    loss = lambda outputs, batch: jnp.broadcast_to(outputs["temperature"], batch.weight.shape)
    tx, learns = optax.sgd(1.0), ("loss_parameters",)
    state = jax.jit(lambda key: init_state(model, tx, key, vectors, learns=learns))(jax.random.key(1))
    assert set(state.params) == {"unimodal_heads_image_label", "loss_parameters_temperature"}
    after, metrics = jax.jit(make_step(model, loss, tx, learns=learns))(state, {}, vectors)
    log_scale = lambda state: state.params["loss_parameters_temperature"]["log_scale"]
    np.testing.assert_allclose(log_scale(after) - log_scale(state), [0.5], rtol=1e-5)
    np.testing.assert_allclose([metrics["loss"], metrics["gradient_norm"], metrics["update_norm"]], 0.5, rtol=1e-5)


def bias_score(variables):
    bias = np.asarray(variables["params"]["fusion"]["dense"]["bias"])
    return {"loss": np.ones(1), "score": bias[:, 0]}


class Cached(Training):
    """Makes and compiles the step of each stage once for all runs."""

    compiled: ClassVar[dict] = {}

    def step(self, number):
        if number not in self.compiled:
            self.compiled[number] = single().train(super().step(number))
        return self.compiled[number]


def train(training, start, folder, stop_after=None, metadata=None):
    checkpoints, steps = Checkpoints(folder, metadata), []
    compiled = replace(training, plan=training.plan._replace(train=lambda step: step))
    try:
        callbacks = Callbacks(steps.append, stop=lambda: len(steps) + 1 == stop_after)
        state = jax.tree.map(jnp.copy, start)
        return fit(compiled, state, {}, Toy(("image",), 0.0, 4, 4).train_data([0]), bias_score, checkpoints, callbacks)
    finally:
        checkpoints.close()


@pytest.fixture(scope="module")
def staged(toy, tmp_path_factory):
    """Stages that start at steps 0 and 2."""
    stages = (Stage(1.0, ("fusion", "heads")), Stage(1.0))
    fields = {name: getattr(toy.training, name) for name in toy.training.__dataclass_fields__}
    schedule = replace(toy.training.schedule, evaluate_every=4, checkpoint_every=100)
    training = Cached(**fields | {"stages": stages, "schedule": schedule})
    start, frozen = training.init([0], toy.one_seed())
    assert frozen == {}
    return training, start, train(training, start, tmp_path_factory.mktemp("staged"))


def test_a_stage_starts_with_a_new_optimiser_state(toy, staged):
    """Two stages of two steps equal two trainings, the second from the result of the first."""
    training, start, fitted = staged
    state = jax.tree.map(jnp.copy, start)
    for step in range(4):
        number = step // 2
        state = jax.jit(jax.vmap(lambda one, n=number: training.reset(one, n)))(state) if step % 2 == 0 else state
        state, _ = training.step(number)(state, {}, toy.chunk_of([0], [step]))
    chex.assert_trees_all_close(fitted.best.variables["params"], state.params, rtol=1e-5)


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_stopped_within_a_stage_or_between_two_it_ends_the_same(staged, tmp_path, stop_after):
    training, start, uninterrupted = staged
    with pytest.raises(Stopped):
        train(training, start, tmp_path, stop_after)
    chex.assert_trees_all_equal(train(training, start, tmp_path).best, uninterrupted.best)


def test_other_stages_are_refused_by_the_metadata_first(staged, tmp_path):
    """The state has another structure then, but the message names the setting."""
    training, start, _ = staged
    with pytest.raises(Stopped):
        train(training, start, tmp_path, 1, {"stages": 2})
    with pytest.raises(CheckpointError, match="stages was 2 and is 1"):
        train(replace(training, stages=()), start, tmp_path, None, {"stages": 1})
