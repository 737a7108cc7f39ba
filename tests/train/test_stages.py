"""Stages: which steps they take, which parameters learn in each, that each begins with a fresh optimiser, and resuming."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmjax.encoders import Features
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.losses import cross_entropy
from mmjax.model import Multimodal
from mmjax.train.checkpoint import CheckpointError, Checkpoints
from mmjax.train.loop import Schedule, Stopped, StopRequest, Watch, fit
from mmjax.train.parallel import single
from mmjax.train.seeds import init_seeds
from mmjax.train.stages import Stage, does_learn, gradually, merged, parts, split
from mmjax.train.step import init, make_step
from mmjax.types import Batch
from tests.train.toy import CLASSES, Toy


def test_parts_by_hand():
    ends = lambda stages, steps: [(part.first, part.end) for part in parts(stages, steps)]
    assert ends((), 10) == [(0, 10)]
    assert ends((Stage(1.0), Stage(1.0), Stage(2.0)), 8) == [(0, 2), (2, 4), (4, 8)]
    assert ends((Stage(1.0), Stage(1.0), Stage(1.0)), 10) == [(0, 3), (3, 7), (7, 10)]
    assert ends((Stage(1e-6), Stage(1.0), Stage(1e-6)), 3) == [(0, 1), (1, 2), (2, 3)]  # none is left out
    with pytest.raises(ValueError, match="steps is 1, but there are 2 stages"):
        parts((Stage(1.0), Stage(1.0)), 1)
    with pytest.raises(ValueError, match=r"Stage\.share is 0.0"):
        Stage(0.0)
    with pytest.raises(ValueError, match=r"Stage\.learns is empty"):
        Stage(1.0, ())


def test_what_learns():
    assert does_learn("fusion/dense/kernel", None) and does_learn("fusion/dense/kernel", ("",))
    assert does_learn("encoders_image/conv/kernel", ("heads", "encoders"))
    assert does_learn("encoders_text/transformer/block1/up/kernel", (r"encoders_text/transformer/block(1|2)",))
    assert not does_learn("encoders_text/transformer/block11/up/kernel", (r"encoders_text/transformer/block(1|2)",))
    assert not does_learn("encoders_texts/word", ("encoders_text",))
    assert not does_learn("encoders_text_fr/word", ("encoders_text",))
    assert not does_learn("fusion/dense", ("dense",))


def test_gradually():
    stages = gradually((2.0, 1.0, 1.0), ("heads",), ("fusion", "encoders"))
    assert [stage.learns for stage in stages] == [("heads",), ("heads", "fusion"), ("heads", "fusion", "encoders")]
    assert [stage.share for stage in stages] == [2.0, 1.0, 1.0]
    with pytest.raises(ValueError, match="2 shares for 3 stages"):
        gradually((1.0, 1.0), ("heads",), ("fusion", "encoders"))


@pytest.fixture(scope="module")
def toy():
    return Toy(modalities=("image",), dropout=0.0, batch=4, steps=4)


def test_only_what_learns_changes_and_has_an_optimisers_state(toy):
    tx, learns = optax.adamw(0.1, weight_decay=0.1), ("encoders_image", "heads")  # the decay alone would move frozen ones
    state = init_seeds(toy.model, tx, [0], toy.one_seed(), learns=learns)
    learning, still = split(state.params, learns)
    assert set(learning) == {"encoders_image", "heads_label"} and set(still) == {"fusion"}
    assert jax.tree.structure(merged(learning, still)) == jax.tree.structure(state.params)
    assert jax.tree.structure(state.opt_state[0].mu) == jax.tree.structure(learning)
    step = single(make_step(toy.model, cross_entropy, tx, learns=learns)).run
    after, _ = step(jax.tree.map(jnp.copy, state), next(toy.batches([0])(0)))
    for name, before in state.params.items():
        same = [np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (before, after.params[name])))]
        assert all(same) if name == "fusion" else not all(same), name


def test_an_encoder_runs_as_in_evaluation_where_it_is_frozen_and_only_there():
    """By dropout of all but nothing: with it training moves nothing behind the encoder but by the fusion's bias."""
    image = jax.random.normal(jax.random.key(5), (4, 3))
    vectors = Batch({"image": image}, {"image": jnp.ones(4, bool)}, {"label": jnp.arange(4) % CLASSES}, jnp.ones(4))

    def moved(encoder, learns):
        model = Multimodal({"image": encoder}, Concat(width=4), {"label": Classifier(CLASSES)})
        tx = optax.sgd(1.0)
        state = jax.jit(lambda key: init(model, tx, key, vectors, learns=learns))(jax.random.key(1))
        after, _ = jax.jit(make_step(model, cross_entropy, tx, learns=learns))(state, vectors)
        kernel = lambda state: np.asarray(state.params["fusion"]["dense"]["kernel"])
        return np.abs(kernel(after) - kernel(state)).max()

    drops = lambda width: Features(width=width, dropout=0.999999)
    assert moved(drops(None), None) == 0  # nothing to learn in it, and yet not frozen
    assert moved(drops(5), None) == 0
    assert moved(drops(5), ("fusion", "heads")) > 0.001


def learning_curve(toy, legs, folder, stop_after=None, about=None):
    """`fit` over stages that begin at steps 0 and 2; stopped after a step, and then resumed."""
    score = lambda variables: {"loss": np.ones(1), "accuracy": np.asarray(variables["params"]["fusion"]["dense"]["bias"])[:, 0]}
    stop, checkpoints = StopRequest(), Checkpoints(folder)

    def batches(first):
        for step, batch in enumerate(toy.batches([0])(first), first + 1):
            stop.asked = step == stop_after
            yield batch

    leg_at = lambda step: legs[step // 2]
    state = init_seeds(toy.model, toy.tx, [0], toy.one_seed())
    try:
        return fit(leg_at, legs[0].begin(state), batches, score, Schedule(4, 4, 100), checkpoints, about or {}, stop, Watch())
    finally:
        checkpoints.close()


@pytest.fixture(scope="module")
def staged(toy, tmp_path_factory):
    legs = [toy.leg(0, ("fusion", "heads")), toy.leg(2)]
    return legs, learning_curve(toy, legs, tmp_path_factory.mktemp("staged"))


def test_a_stage_begins_with_a_fresh_optimiser(toy, staged):
    """Two stages of two steps are two trainings, the second from where the first one ended."""
    (first, second), fitted = staged
    state = first.begin(init_seeds(toy.model, toy.tx, [0], toy.one_seed()))
    for number, batch in enumerate(toy.batches([0])(0)):
        state = second.begin(state) if number == 2 else state
        state, _ = (first if number < 2 else second).plan.run(state, batch)
    chex.assert_trees_all_close(fitted.best.variables["params"], state.params, rtol=1e-5)


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_stopped_within_a_stage_or_between_two_it_ends_the_same(toy, staged, tmp_path, stop_after):
    legs, undisturbed = staged
    with pytest.raises(Stopped):
        learning_curve(toy, legs, tmp_path, stop_after)
    chex.assert_trees_all_equal(learning_curve(toy, legs, tmp_path).best, undisturbed.best)


def test_another_experiment_is_named_before_its_stages_are_asked_for(toy, staged, tmp_path):
    """One stage instead of two: the state has another structure, and the checkpoint is none the worse for it."""
    legs, _ = staged
    with pytest.raises(Stopped):
        learning_curve(toy, legs, tmp_path, 3, {"stages": 2})
    with pytest.raises(CheckpointError, match="stages was 2 and is 1"):
        learning_curve(toy, legs[:1], tmp_path, None, {"stages": 1})
