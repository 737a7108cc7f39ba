"""Where a mesh places arrays, what a device stores, and which meshes and programs are refused."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from mmjax.train.parallel import check_memory, single
from mmjax.train.sharded import AXES, DEFAULT_RULES, Mesh, placement, sharded
from tests.train.shares import assert_whole_epochs, read_rows
from tests.train.toy import Toy

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


def test_parameters_and_optimizer_state_take_one_nth_of_a_device(monkeypatch):
    """Between steps, by XLA's count of the arguments of a program: all large arrays are cut into 4."""
    monkeypatch.setattr("mmjax.train.sharded.MIN_SIZE", 8)
    toy = Toy()
    state = toy.training.init((0,), toy.one_seed())[0]
    divisible = lambda leaf: any(size % 4 == 0 for size in leaf.shape[1:]) and leaf.size >= 8
    whole = sum(leaf.nbytes for leaf in jax.tree.leaves(state.replace(key=())) if not divisible(leaf))
    cut = sum(leaf.nbytes for leaf in jax.tree.leaves(state.replace(key=())) if divisible(leaf))
    assert cut > 2 * whole  # otherwise the test shows little
    on_device = {}
    for name, plan in (("one", single()), ("four", sharded(Mesh(data=1, fsdp=4)))):
        placed = plan.place(jax.tree.map(jnp.copy, state))
        keep = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf + 1, tree)).lower(placed.replace(key=())).compile()
        on_device[name] = keep.memory_analysis().argument_size_in_bytes
    assert on_device["one"] == whole + cut
    assert on_device["four"] == whole + cut // 4


def test_a_program_that_does_not_fit_is_refused_with_its_size(monkeypatch):
    program = jax.jit(lambda x: x @ x).lower(np.zeros((512, 512), np.float32)).compile()
    check_memory(program, jax.local_devices()[:1])
    monkeypatch.setattr("os.sysconf", lambda name: 1024)  # pages of 1 kB, 1024 of them
    with pytest.raises(MemoryError, match=r"a training step needs 0.00\d+ GB, but this machine has 0.00105 GB; use a smaller"):
        check_memory(program, jax.local_devices()[:1])


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
