"""Pruning as an optimiser: schedules, exact zeros, lottery tickets, and which step is selected."""

import dataclasses
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from mmjax.experiment.training import first_selectable
from mmjax.robust.prune import LotteryTicket, Prune, Pruned, select_after, sparsity_of
from mmjax.robust.prune_criteria import Magnitude, Movement, NofM
from mmjax.robust.prune_schedules import Gradual, OneShot
from mmjax.robust.quantize import Chain, Quantize
from mmjax.train.checkpoint import Checkpoints
from mmjax.train.loop import Callbacks, Stopped, fit
from mmjax.train.optim import SGD, AdamW, Constant, Muon
from mmjax.train.stages import Stage, resolve
from tests.results.pets import EXPERIMENT
from tests.train.toy import Toy

STEPS = 8


def parameters():
    """20 prunable weights, and a bias and an embedding that are not."""
    kernel = jax.random.normal(jax.random.key(0), (4, 4)) + 0.1
    return {"a": {"kernel": kernel, "bias": jnp.ones(4)}, "b": {"recurrent": kernel[:2, :2]}, "embedding": kernel}


def path_of(optimiser, steps=STEPS, params=None):
    """(parameters, states) after each step on a loss whose gradient is never zero, [steps ...]."""
    tx = optimiser(steps)
    params = parameters() if params is None else params
    gradient = jax.grad(lambda p: sum(jnp.sum(jnp.sin(x) + 0.5 * x**2 + x) for x in jax.tree.leaves(p)))

    @jax.jit
    def run(params):
        def step(carry, _):
            params, state = carry
            updates, state = tx.update(gradient(params), state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), (params, state)

        return jax.lax.scan(step, (params, tx.init(params)), None, length=steps)[1]

    return run(params)


def zeros(path):
    """Zeros among the 20 kernel weights after each step."""
    return sum((np.asarray(leaf) == 0).reshape(len(leaf), -1).sum(1) for leaf in (path["a"]["kernel"], path["b"]["recurrent"]))


@pytest.mark.parametrize(
    "inner",
    [SGD(0.1, momentum=0.9, decay=0.1), AdamW(0.05, decay=0.5, schedule=Constant()), Muon(0.05)],
    ids=lambda inner: type(inner).__name__,
)
def test_zeros_stay_exactly_zero_under_momentum_and_decay(inner):
    path, _ = path_of(Pruned(inner, Magnitude(0.5), OneShot(0.25)))  # after int(0.25 * 8) = 2 dense steps
    assert zeros(path).tolist() == [0, 0, *[10] * 6]
    kernel = np.asarray(path["a"]["kernel"])
    assert ((kernel[2] == 0) == (kernel[-1] == 0)).all()
    moved = np.diff(kernel[2:], axis=0)[:, kernel[2] != 0]
    assert (moved[:-1] != 0).all() or isinstance(inner, Muon)  # its cosine ends at a rate of zero
    assert not (np.asarray(path["a"]["bias"]) == 0).any() and not (np.asarray(path["embedding"]) == 0).any()


def test_the_smallest_magnitudes_go():
    path, _ = path_of(Pruned(SGD(1e-6), Magnitude(0.5, per_layer=True), OneShot(0.0)))
    for name, leaf in (("a", "kernel"), ("b", "recurrent")):
        before = np.abs(np.asarray(parameters()[name][leaf])).ravel()
        gone = np.asarray(path[name][leaf][-1]).ravel() == 0
        assert gone.sum() == before.size // 2 and before[gone].max() < before[~gone].min()


def test_gradual_pruning_follows_the_cubic_schedule():
    # begin 0.125 * 8 = 1, end 5: s_t = 0.8 (1 - (1 - (t - 1) / 4)^3) of 20 weights, t = 1..8: 0, 9.25, 14, 15.75, 16, ...
    path, _ = path_of(Pruned(SGD(0.01), Magnitude(0.8), Gradual(0.125, 0.625, every=1)))
    assert zeros(path).tolist() == [0, 9, 14, 16, 16, 16, 16, 16]
    # every second step: t = 1 and 3 (14), then the end
    path, _ = path_of(Pruned(SGD(0.01), Magnitude(0.8), Gradual(0.125, 0.625, every=2)))
    assert zeros(path).tolist() == [0, 0, 14, 14, 16, 16, 16, 16]


def test_masks_are_computed_only_in_updates_that_prune():
    """Under vmap over seeds a condition usually becomes a selection, which computes both sides."""
    tx = Pruned(SGD(0.1), Magnitude(0.5))(20)
    params = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), parameters())
    text = str(jax.make_jaxpr(jax.vmap(tx.update))(params, jax.vmap(tx.init)(params), params))
    assert "cond[" in text and "custom_vmap" not in text


def test_movement_prunes_the_weights_that_shrink():
    """Gradients 1 and -1 of positive weights: those that move towards zero have the lowest scores, however large they are."""
    params = {"kernel": jnp.array([[5.0, 0.2], [4.0, 0.1]])}
    gradient = {"kernel": jnp.array([[1.0, -1.0], [1.0, -1.0]])}
    tx = Pruned(SGD(0.01, momentum=0.0, clip=1e9), Movement(0.5), OneShot(0.5))(4)
    state = tx.init(params)
    for _ in range(3):
        updates, state = jax.jit(tx.update)(gradient, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_array_equal(np.asarray(params["kernel"]) == 0, [[True, False], [True, False]])
    # scores: -(5 + 4.99 + 4.98) of the first weight; then it stops
    np.testing.assert_allclose(state.scores["kernel"][0, 0], -(5 + 4.99 + 4.98), rtol=1e-6)


def test_sparsity_zero_is_the_inner_optimiser():
    plain = path_of(AdamW(0.01))[0]
    for optimiser in (
        Pruned(AdamW(0.01), Magnitude(0.0)),
        LotteryTicket(AdamW(0.01), Magnitude(0.0)),
        Pruned(AdamW(0.01), NofM(4, 4)),
    ):
        jax.tree.map(np.testing.assert_array_equal, path_of(optimiser)[0], plain)
        assert optimiser.select_after(STEPS) == 0
    jax.tree.map(
        np.testing.assert_array_equal, Prune(Magnitude(0.0)).variables({"params": parameters()})["params"], parameters()
    )


def test_a_lottery_ticket_is_pruned_rewound_and_restarted():
    # 8 steps, 3 rounds: phases of 2 steps; of 20 weights (1 - 0.875)^(r / 3) = 1 / 2^r remain: 10, 5, 2.5 -> 18 zeros at last
    ticket = LotteryTicket(SGD(0.1, momentum=0.9), Magnitude(0.875), rounds=3, rewind=0.5)
    path, states = path_of(ticket)
    assert zeros(path).tolist() == [0, 10, 10, 15, 15, 18, 18, 18]
    early = np.asarray(path["a"]["kernel"][0])  # int(0.5 * 2) = 1 step
    for step in (1, 3, 5):
        kernel = np.asarray(path["a"]["kernel"][step])
        np.testing.assert_allclose(kernel[kernel != 0], early[kernel != 0], rtol=1e-6)
        np.testing.assert_allclose(path["a"]["bias"][step], path["a"]["bias"][0], rtol=1e-6)
        assert all((np.asarray(leaf[step]) == 0).all() for leaf in jax.tree.leaves(states.inner))  # no momentum
    kernel = np.asarray(path["a"]["kernel"])
    assert (kernel[-1] != kernel[5])[kernel[-1] != 0].all()  # the last phase trains
    assert (ticket.select_after(8), ticket.select_after(11)) == (6, 6)


@pytest.mark.parametrize(
    ("optimiser", "message"),
    [
        (Pruned(select=Magnitude(1.0)), r"Magnitude\.sparsity is 1\.0; it must be at least 0 and below 1"),
        (Pruned(select=Movement(-0.1)), r"Movement\.sparsity is -0\.1"),
        (Pruned(select=Magnitude(float("nan"))), r"Magnitude\.sparsity is nan"),
        (Pruned(schedule=Gradual(0.5, 0.5)), r"Gradual\.begin is 0\.5 and end 0\.5; they must be 0 <= begin < end <= 1"),
        (Pruned(schedule=Gradual(every=0)), r"Gradual\.every is 0; it must be at least 1"),
        (Pruned(schedule=OneShot(1.0)), r"OneShot\.at is 1\.0"),
        (Pruned(select=NofM(0, 4)), r"NofM\.n is 0 of m 4"),
        (Pruned(AdamW(lr=0.0)), r"AdamW\.lr is 0\.0"),
        (LotteryTicket(rounds=0), r"LotteryTicket\.rounds is 0"),
        (LotteryTicket(rewind=1.0), r"LotteryTicket\.rewind is 1\.0"),
        (LotteryTicket(rounds=20), r"LotteryTicket\.rounds is 20, but there are 8 steps; each phase needs one"),
    ],
)
def test_fields_out_of_range_are_named(optimiser, message):
    with pytest.raises(ValueError, match=message):
        optimiser(STEPS)


def test_weights_that_match_nothing_are_named():
    with pytest.raises(ValueError, match=r"weights is \('fusion',\), which matches no kernel; modules with kernels are a, b"):
        Pruned(weights=("fusion",))(STEPS).init(parameters())
    with pytest.raises(ValueError, match="Movement needs the gradients of a training; use Magnitude"):
        Prune(Movement(0.5)).variables({"params": parameters()})


def test_one_shot_pruning_of_a_trained_model():
    variables = {"params": parameters(), "batch_stats": {"mean": jnp.zeros(3)}}
    pruned = jax.jit(Prune(Magnitude(0.5), ("a",)).variables)(variables)
    assert sparsity_of(pruned["params"], ("a",)) == 0.5 and sparsity_of(pruned["params"], ("b",)) == 0
    assert pruned["batch_stats"] is not None and sparsity_of(variables["params"]) == 0


def test_quantised_variables_are_not_pruned():
    with pytest.raises(ValueError, match="these variables are quantised; prune first"):
        Chain((Quantize(8), Prune(Magnitude(0.5)))).variables({"params": parameters()})


def test_only_the_last_stage_prunes():
    pruned, plain = Pruned(AdamW(), Magnitude(0.5), OneShot(0.5)), AdamW()
    stages = lambda first, last: resolve((Stage(1.0, optim=first), Stage(1.0, optim=last)), 20)
    assert select_after(stages(None, pruned), plain) == 10 + 5
    assert select_after(resolve((), 20), pruned) == 10 and select_after(resolve((), 20), plain) == 0
    for given in (stages(pruned, None), stages(None, None)):
        optim = plain if given[0][0].optim else pruned
        with pytest.raises(ValueError, match=r"stages\.0 trains with Pruned, but only the last stage can prune"):
            select_after(given, optim)
    assert first_selectable(replace(EXPERIMENT, optim=pruned, steps=20)) == 10


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(stop after this call or None) -> Fit of the toy with half of its weights pruned after step 3 of 6."""
    optim = Pruned(AdamW(0.02, decay=0.1, schedule=Constant()), Magnitude(0.5), OneShot(0.5))
    toy = Toy(modalities=("image",), batch=4, options={"optim": optim, "select_after": optim.select_after(6)})
    start, _ = toy.training.init((0, 1), toy.one_seed())
    compiled = toy.training.plan.train(toy.training.step(0))
    training = replace(toy.training, plan=toy.training.plan._replace(train=lambda step: compiled))
    validate = lambda variables: {"score": np.array([-float(steps.pop(0))] * 2), "loss": np.zeros(2)}  # earlier is better
    steps = []

    def run(folder, stop_after=None):
        steps[:] = [2, 4, 6] if stop_after or not folder.exists() else [6]
        checkpoints, calls = Checkpoints(folder), []
        callbacks = Callbacks(calls.append, stop=lambda: len(calls) + 1 == stop_after)
        try:
            state = jax.tree.map(jnp.copy, start)
            return fit(training, state, {}, toy.train_data((0, 1)), validate, checkpoints, callbacks)
        finally:
            checkpoints.close()

    return run


def test_the_selected_model_has_the_sparsity_also_after_a_resume(trained, tmp_path):
    whole = trained(tmp_path / "whole")
    assert whole.best.step.tolist() == [4, 4]  # step 2 has the higher score, but all weights
    flat = {path: leaf for path, leaf in flatten_dict(whole.best.variables["params"], sep="/").items() if "kernel" in path}
    for seed in (0, 1):
        of_seed = [np.asarray(leaf[seed]) for leaf in flat.values()]
        size = sum(leaf.size for leaf in of_seed)
        assert sum((leaf == 0).sum() for leaf in of_seed) == round(size / 2)
    with pytest.raises(Stopped):
        trained(tmp_path / "parts", stop_after=4)  # just after the masks were made
    resumed = trained(tmp_path / "parts")
    jax.tree.map(np.testing.assert_array_equal, resumed.best, whole.best)


def test_values_are_json_and_hash():
    for value in (Pruned(), LotteryTicket(), Prune(), Pruned(select=NofM(2, 4))):
        assert hash(value) == hash(dataclasses.replace(value))
