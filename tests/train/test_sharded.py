"""Where a mesh places arrays, what a device stores, and which meshes and programs are refused."""

import itertools
import re
from dataclasses import replace
from unittest.mock import Mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from mmjax.encoders import Features, TextTransformer
from mmjax.experiment.options import Options
from mmjax.experiment.training import plan_of
from mmjax.experiment.value import Experiment
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.losses import cross_entropy
from mmjax.model import Multimodal
from mmjax.nn import Deep, Scan
from mmjax.train.optim import AdamW
from mmjax.train.parallel import _bytes_on, check_memory, single
from mmjax.train.seeds import seed_keys
from mmjax.train.sharded import AXES, DEFAULT_RULES, Mesh, of_rows, placement, sharded
from mmjax.train.training import Schedule, Training
from mmjax.types import Batch, Padded
from tests.train.shares import assert_whole_epochs, read_rows

GRID = jax.make_mesh((1, 1, 2, 2), AXES, axis_types=(AxisType.Auto,) * 4)


def placed(path: str, shape: tuple[int, ...], seeds: bool = True) -> P:
    return placement(path, shape, GRID, DEFAULT_RULES, seeds)


def test_kernels_are_split_over_tensor_by_rule_and_over_fsdp_by_size():
    assert placed("/params/encoders_text/block0/up/kernel", (3, 64, 256)) == P("seeds", "fsdp", "tensor")
    assert placed("/params/encoders_text/block0/down/kernel", (3, 256, 64)) == P("seeds", "tensor", "fsdp")
    assert placed("/opt_state/0/mu/decoders_text/attention/query/kernel", (3, 64, 64)) == P("seeds", "fsdp", "tensor")
    assert placed("/params/encoders_text/word/embedding", (1000, 64), seeds=False) == P("tensor", "fsdp")
    assert placed("/params/heads_label/kernel", (3, 64, 128)) == P("seeds", None, "fsdp")


def test_small_arrays_and_axes_that_do_not_divide_stay_whole():
    assert placed("/params/encoders_text/block0/up/bias", (3, 255)) == P("seeds", None)
    assert placed("/params/heads_label/kernel", (3, 61, 67)) == P("seeds", None, None)
    assert placed("/step", (3,)) == P("seeds")
    assert placed("/params/encoders_text/block0/up/kernel", (), seeds=False) == P()


def test_rules_of_an_experiment_go_first():
    rules = ((r"/block\d/up/kernel$", ("tensor", "")), *DEFAULT_RULES)
    assert placement("/params/block0/up/kernel", (3, 64, 256), GRID, rules, True) == P("seeds", "tensor", "fsdp")


def test_the_data_axis_takes_the_devices_that_are_left():
    assert Mesh().shape(4) == (1, 4, 1, 1)
    assert Mesh(seeds=2, tensor=2).shape(8) == (2, 2, 1, 2)
    assert Mesh(data=1, fsdp=2).shape(4) == (1, 1, 2, 1)
    assert Mesh(fsdp=2).rows(8) == 8


def test_a_tower_and_a_language_model_are_placed_as_their_experiment_says():
    """One rule for the tower alone: its kernel is not split over "tensor"."""
    placement = ((r"/encoders_image/.*/kernel$", ("", "")),)
    cell = Experiment(None, {"arm": Features(None)}, Concat(4), {"label": Classifier(2)}, placement=placement)
    plan = plan_of(cell, Options(plan="sharded", mesh=Mesh(data=1, fsdp=2, tensor=2)))
    block = {"block0": {"up": {"kernel": np.zeros((1, 64, 256), np.float32)}}}
    found = plan.place({"params": {"encoders_image": block, "decoders_caption": block}})["params"]
    specs = {name: of["block0"]["up"]["kernel"].sharding.spec for name, of in found.items()}
    assert specs["encoders_image"] == P("seeds", None, "fsdp")
    assert specs["decoders_caption"] == P("seeds", "fsdp", "tensor")


@pytest.mark.parametrize(
    "mesh, devices, line",
    [
        (Mesh(fsdp=3), 4, "data=rest, fsdp=3, tensor=1 does not fit 4 devices; the product .* must be a divisor of it"),
        (Mesh(data=4, tensor=2), 4, "data=4, fsdp=1, tensor=2 does not fit 4 devices; the product .* must be at most it"),
    ],
)
def test_a_mesh_that_does_not_fit_names_its_sizes(mesh, devices, line):
    with pytest.raises(ValueError, match=line):
        mesh.shape(devices)
    with pytest.raises(ValueError, match="fsdp is 0"):
        Mesh(fsdp=0)


@pytest.mark.parametrize("before, after", list(itertools.permutations((1, 2, 4), 2)))
def test_another_number_of_processes_within_an_epoch_loses_and_repeats_no_row(before, after):
    """On four devices; the epochs end within batches of 8, and the scoreboard repeats it with up to 8 processes."""
    for rows, change, fsdp in ((20, 3, 1), (33, 17, 2)):
        assert_whole_epochs(rows, 8, 2, before, after, change, fsdp)


def test_each_process_reads_its_rows_alone():
    index = np.arange(32).reshape(2, 16)
    assert [part.shape for part in read_rows(index, 4)] == [(2, 4)] * 4
    np.testing.assert_array_equal(np.concatenate(read_rows(index, 2), axis=1), index)


@pytest.fixture(scope="module")
def wide():
    """(a training with two kernels of 1 MB, a batch [b ...] of one seed)."""
    model = Multimodal({"x": Features(width=512)}, Concat(width=512), {"label": Classifier(3)})
    x, rows = np.random.default_rng(0).normal(size=(8, 512)).astype(np.float32), np.ones(8, np.float32)
    batch = Batch({"x": x}, {"x": rows > 0}, {"label": np.arange(8, dtype=np.int32) % 3}, rows)
    return Training(model, cross_entropy, AdamW(lr=0.01), Schedule(1, 1, 1)), batch


def of_one_device(tree) -> int:
    """Bytes of the largest part of a placed tree."""
    return sum(max(part.data.nbytes for part in leaf.addressable_shards) for leaf in jax.tree.leaves(tree))


def test_no_device_makes_or_stores_all_parameters(wide, monkeypatch):
    """The initial state is computed in parts, and steps take and return parts, by XLA's count."""
    training, batch = wide
    programs, jit = [], jax.jit

    def recorded(function, **options):
        def call(*arguments):
            programs.append(jit(function, **options).lower(*arguments).compile())
            return programs[-1](*arguments)

        return call

    plan = sharded(Mesh(data=1, fsdp=4))
    on_four = replace(training, plan=plan)
    with monkeypatch.context() as patched:
        patched.setattr("mmjax.train.sharded.jax.jit", recorded)
        state, _ = on_four.init((0,), batch)
    (made,) = programs
    expected, _ = training.init((0,), batch)
    chex.assert_trees_all_close(plan.fetch(state).params, expected.params, rtol=1e-5)

    whole = sum(leaf.nbytes for leaf in jax.tree.leaves((expected.params, expected.opt_state)))
    parts = of_one_device((state.params, state.opt_state))
    small = 3 * 4 * (512 + 512 + 512 * 3 + 3) + 8  # biases and head, float32, with both moments of Adam; two counts of steps
    assert parts == (whole - small) // 4 + small
    assert made.memory_analysis().output_size_in_bytes < 1.01 * parts
    assert made.memory_analysis().temp_size_in_bytes < whole / 4  # one kernel at most is whole

    rows = of_rows(state.step.sharding.mesh, 3)
    batches = jax.tree.map(lambda leaf: jax.device_put(leaf[None, None], rows), batch)
    step = plan.train(on_four.step(0)).lower(state, {}, batches).compile().memory_analysis()
    assert step.argument_size_in_bytes < 1.01 * parts + 8 * 512 * 4
    assert step.alias_size_in_bytes >= parts  # the new state takes the place of the old one
    params = sum(leaf.nbytes for leaf in jax.tree.leaves(expected.params))
    assert step.temp_size_in_bytes < 2.4 * params  # gathered parameters and their gradient, but no state of the optimiser


def test_a_loop_over_blocks_gathers_one_at_a_time():
    """The temporary memory of a step is less than the parameters: those of one block, and the parts of a gradient."""
    tower = TextTransformer(vocabulary=10, width=64, depth=6, heads=2, hidden=256, positions=2)
    deep = Deep(tower, Scan(jax.checkpoint_policies.nothing_saveable))
    model = Multimodal({"text": deep}, Concat(width=8), {"label": Classifier(3)})
    plan, rows = sharded(Mesh(data=1, fsdp=4)), np.ones(4, np.float32)
    text = Padded(np.ones((4, 2), np.int32), np.full(4, 2, np.int32))
    batch = Batch({"text": text}, {"text": rows > 0}, {"label": np.zeros(4, np.int32)}, rows)
    training = Training(model, cross_entropy, lambda steps: optax.sgd(0.1), Schedule(1, 1, 1), plan=plan)
    shapes = jax.eval_shape(lambda: replace(training, plan=single()).init((0,), batch)[0]).replace(key=seed_keys((0,)))
    zeros = lambda leaf: leaf if isinstance(leaf, jax.Array) else np.zeros(leaf.shape, leaf.dtype)
    state = plan.place(jax.tree.map(zeros, shapes))
    placed = of_rows(state.step.sharding.mesh, 3)
    batches = jax.tree.map(lambda leaf: jax.device_put(leaf[None, None], placed), batch)
    step = plan.train(training.step(0)).lower(state, {}, batches).compile().memory_analysis()
    assert step.temp_size_in_bytes < sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))


def test_a_program_that_does_not_fit_is_refused_with_its_size(monkeypatch):
    program = jax.jit(lambda x: x @ x).lower(np.zeros((512, 512), np.float32)).compile()
    check_memory(program, jax.local_devices()[:1])
    monkeypatch.setattr("os.sysconf", lambda name: 1024)  # pages of 1 kB, 1024 of them
    with pytest.raises(MemoryError, match=r"an evaluation needs 0\.0021 GB beside .* but this machine has 0\.00105 GB; use a"):
        check_memory(program, jax.local_devices()[:1], "an evaluation")


def test_the_limit_of_an_accelerator_is_that_of_each_device():
    """The program needs 2 MB, an argument and a result; the device has this argument and other arrays of 1 MB."""
    program = jax.jit(lambda x: x + 1).lower(np.zeros(250_000, np.float32)).compile()
    devices = lambda stats: [Mock(spec=jax.Device, platform="gpu", memory_stats=lambda: stats)] * 4
    check_memory(program, devices({"bytes_limit": 2_100_000}))
    check_memory(program, devices(None))  # of a backend that does not say
    with pytest.raises(MemoryError, match=r"a training step needs 0\.002 GB beside 0 GB of .* each device has 0\.0019 GB; use"):
        check_memory(program, devices({"bytes_limit": 1_900_000}))
    with pytest.raises(MemoryError, match=r"a training step needs 0\.002 GB beside 0\.001 GB of other arrays"):
        check_memory(program, devices({"bytes_limit": 2_100_000, "bytes_in_use": 2_000_000}))


def test_the_memory_of_arrays_is_counted_once(monkeypatch):
    """Of 1 MB over two devices, of 1 MB on each of two, and of 1 MB on the first, at every look."""
    before = jax.live_arrays
    known = {id(array) for array in before()}
    monkeypatch.setattr("jax.live_arrays", lambda: [array for array in before() if id(array) not in known])
    two = jax.sharding.Mesh(np.array(jax.local_devices()[:2]), "x")
    made = lambda axes: jax.jit(lambda: jnp.ones(250_000), out_shardings=jax.NamedSharding(two, jax.P(*axes)))()
    arrays = jax.block_until_ready([made("x"), made(""), jnp.ones(250_000)])
    first = [_bytes_on(jax.local_devices()[:count]) for count in (1, 2)]
    assert [_bytes_on(jax.local_devices()[:count]) for count in (1, 2)] == first == [2_500_000, 4_000_000], len(arrays)


@pytest.mark.parametrize(
    "rule, line",
    [
        ((r"(kernel", ("tensor",)), "is not a regular expression"),
        ((r"kernel", ("model",)), "has the axes ('model',); give 'fsdp', 'tensor' or '', each axis once"),
        ((r"kernel", ("tensor", "tensor")), "has the axes ('tensor', 'tensor')"),
    ],
)
def test_a_wrong_rule_is_refused(rule, line):
    with pytest.raises(ValueError, match=re.escape(line)):
        sharded(Mesh(), (rule,))
