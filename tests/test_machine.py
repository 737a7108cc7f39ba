"""The parts of a machine for jobs that run at the same time."""

import os

import pytest

from mmjax import machine
from mmjax.machine import GPUS, OTHERS, Slot, divided, slots_of_machine


def test_gpus_and_cores_are_in_one_slot_each():
    assert divided(2, None, 4, range(8)) == [Slot("0,1", (0, 1, 2, 3)), Slot("2,3", (4, 5, 6, 7))]
    assert divided(2, "7,GPU-ab,2", 3, [1, 3, 5]) == [Slot("7", (1,)), Slot("GPU-ab", (3,))]  # equal, so one is left over


@pytest.mark.parametrize("visible", [None, ""])
def test_without_gpus_cores_alone_are_divided(visible):
    assert divided(2, visible, 0, [4, 6]) == [Slot(visible, (4,)), Slot(visible, (6,))]
    assert divided(3, visible, 0, [4, 6]) == [Slot(visible, (4, 6))] * 3  # too few: all share them
    assert divided(2, visible, 0, []) == [Slot(visible)] * 2  # macOS


def test_fewer_gpus_than_jobs_are_an_error():
    with pytest.raises(ValueError, match=r"^--at-once is 3, but JAX finds 2 GPUs; it can be at most 2$"):
        divided(3, None, 2, range(8))


def test_a_job_sees_its_slot(monkeypatch):
    """The launcher of the job has hidden all GPUs."""
    bound = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: bound.append((pid, cores)), raising=False)
    for slot, seen in ((Slot("2,3", (1, 5)), "2,3"), (Slot(), None)):
        monkeypatch.setenv(GPUS, "")
        slot.take()
        assert os.environ.get(GPUS) == seen
    assert bound == [(0, (1, 5))]


def test_devices_are_those_that_jax_finds(monkeypatch):
    """A process prints them, here without JAX."""
    monkeypatch.setenv(GPUS, "4,5")
    monkeypatch.setattr(machine, "COUNT", "print('a warning'); print('gpu', 2)")
    assert [slot.gpus for slot in slots_of_machine(2)] == ["4", "5"]
    assert [slot.gpus for slot in slots_of_machine(1)] == ["4,5"]  # the whole machine
    for program, message in (("print('tpu', 4)", "--at-once must be 1"), ("raise OSError('no driver')", "OSError: no driver")):
        monkeypatch.setattr(machine, "COUNT", program)
        with pytest.raises(ValueError, match=message):
            slots_of_machine(2)


@pytest.mark.parametrize("other", OTHERS)
def test_another_variable_that_restricts_gpus_is_an_error(monkeypatch, other):
    monkeypatch.setattr(machine, "_number_of_gpus", lambda: 2)
    monkeypatch.setenv(other, "4,5")
    with pytest.raises(ValueError, match=f"^--at-once is 2, but {other} is set; name the GPUs to divide by {GPUS} alone$"):
        slots_of_machine(2)
    assert len(slots_of_machine(1)) == 1  # nothing is divided
    monkeypatch.setattr(machine, "_number_of_gpus", lambda: 0)
    assert len(slots_of_machine(2)) == 2
