"""What `--costs` says, stage by stage, against parameters and multiplications counted by hand."""

import io
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from mmjax.data.dataset import Column, Dataset, Rows
from mmjax.encoders import Features
from mmjax.experiment import Experiment
from mmjax.experiment import costs as module
from mmjax.experiment.load import Loaded
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.tasks import Classify
from mmjax.train.parallel import pmapped
from mmjax.train.sharded import Mesh, sharded
from mmjax.train.stages import Stage

ROWS, WIDTH = 6, 50
OPTIONS = SimpleNamespace(seeds=1, plan="single")
DATA = Dataset(
    columns={"text": Column(ROWS, lambda i: np.full(WIDTH, i, np.float32), lambda x: x)},
    splits={"train": Rows({"text": np.arange(ROWS)}, {"label": np.arange(ROWS) % 4}, np.ones(ROWS, np.float32))},
    classes={"label": tuple("abcd")},
    sizes={"text": {}},
    metadata={},
    dropped={},
    fingerprint="",
    media=dict,
    source="",
)


@dataclass(frozen=True)
class Given:
    def load(self):
        return DATA


CELL = Experiment(
    data=Given(),
    encoders={"text": Features(width=None)},
    fusion=Concat(width=80),
    heads={"label": Classifier(4)},
    tasks={"label": Classify("label")},
    steps=3,
    batch=32,
)


def test_parameters_and_flops_by_hand():
    (cost,) = module.costs(CELL, DATA, {}, seeds=2)
    assert cost.learns is None
    assert cost.parameters == (WIDTH + 1) * 80 + (80 + 1) * 4
    # Two operations for each weight and example forward, as many for the weights' gradient; the inputs have none.
    matmuls = 32 * (4 * WIDTH * 80 + 6 * 80 * 4)
    assert cost.flops == matmuls
    assert cost.memory > 3 * 4 * 2 * cost.parameters  # parameters and both of Adam's moments, float32, of two seeds
    assert np.isfinite(cost.loss) and cost.compile_seconds > 0


def test_the_memory_is_that_of_a_device_under_the_plan(monkeypatch):
    """The state's large arrays are cut into four, and so are the rows."""
    monkeypatch.setattr("mmjax.train.sharded.MIN_SIZE", 64)
    (one,), (four,) = (list(module.costs(CELL, DATA, {}, 2, plan)) for plan in (None, sharded(Mesh(data=1, fsdp=4))))
    assert four.memory < 0.7 * one.memory  # each device gathers the parameters for a step
    assert four.parameters == one.parameters and four.flops < one.flops / 2
    np.testing.assert_allclose(four.loss, one.loss, rtol=1e-5)
    shapes = list(module.costs(CELL, DATA, {}, 2, sharded(Mesh(data=1, fsdp=4)), run=False))
    assert [shapes[0].memory, shapes[0].parameters, shapes[0].program] == [four.memory, four.parameters, four.program]
    assert np.isnan(shapes[0].loss)
    (halves,) = module.costs(CELL, DATA, {}, 2, sharded(Mesh(seeds=2, data=1)))
    np.testing.assert_allclose(halves.flops, one.flops, rtol=0.05)  # of one seed, whether a device has one or two
    (spread,) = module.costs(CELL, DATA, {}, 2, pmapped())
    assert spread.flops < one.flops / 2


SIMULATED = """
import jax
from mmjax.train.sharded import Mesh, simulate
jax.devices()
assert not simulate(Mesh(data=1)) and not simulate(Mesh()) and jax.device_count() == 1
assert simulate(Mesh(data=4, fsdp=3)) and jax.device_count() == 12 and not simulate(Mesh(data=4, fsdp=3))
"""


@pytest.mark.end_to_end
def test_devices_are_simulated_for_a_larger_mesh():
    subprocess.run([sys.executable, "-c", SIMULATED], check=True, env={**os.environ, "XLA_FLAGS": ""})


def test_a_cell_that_does_not_fit_has_costs_and_no_loss(monkeypatch):
    monkeypatch.setattr("mmjax.train.parallel.os.sysconf", lambda name: 1)
    out = Console(file=io.StringIO(), width=120)
    monkeypatch.setattr(module, "Console", lambda: out)
    module.print_costs({"large": CELL}, Loaded({CELL.data: DATA}, {"large": {}}), OPTIONS)
    (line,) = (line.split() for line in out.file.getvalue().splitlines() if line.split()[:1] == ["large"])
    assert line[1:3] == ["32", "4,404"] and float(line[3]) > 0 and line[-1] == "nan"
    assert "needs more memory than there is" in out.file.getvalue()


def test_a_line_for_each_cell(monkeypatch):
    out = Console(file=io.StringIO(), width=120)
    monkeypatch.setattr(module, "Console", lambda: out)
    cells = {"narrow": CELL, "wide": replace(CELL, fusion=Concat(width=90))}
    module.print_costs(cells, Loaded({CELL.data: DATA}, {name: {} for name in cells}), OPTIONS)
    lines = [line.split() for line in out.file.getvalue().splitlines()]
    assert [line[2] for line in lines if line[:1] in (["narrow"], ["wide"])] == ["4,404", "4,954"]


STAGED = replace(CELL, stages=(Stage(1.0, ("heads",)), Stage(1.0, ("fusion", "head[s]")), Stage(1.0)))


def test_each_stage_has_its_costs():
    """Where the heads learn alone, neither the fusion's gradient nor its moments are there."""
    found = list(module.costs(STAGED, DATA, {}, seeds=2))
    assert [cost.learns for cost in found] == [("heads",), ("fusion", "head[s]"), ("",)]
    assert len({cost.parameters for cost in found}) == 1
    frozen, _, whole = found
    assert whole.flops - frozen.flops > 32 * 2 * WIDTH * 80  # of the gradient of its kernel, as above
    assert whole.memory - frozen.memory > 2 * 4 * 2 * WIDTH * 80  # both moments, float32, of two seeds


def test_a_line_for_each_stage(monkeypatch):
    out = Console(file=io.StringIO(), width=120)
    monkeypatch.setattr(module, "Console", lambda: out)
    cells = {"plain": CELL, "staged": STAGED}
    module.print_costs(cells, Loaded({CELL.data: DATA}, {name: {} for name in cells}), OPTIONS)
    text = out.file.getvalue()
    lines = [line.split() for line in text.splitlines()]
    begun = [line[: line.index("32")] for line in lines if line[:1] in (["plain"], ["staged"])]
    assert begun == [["plain"], ["staged", "1/3"], ["staged", "2/3"], ["staged", "3/3"]]
    assert "stage staged 1/3 learns heads\n" in text
    assert "stage staged 2/3 learns fusion, head[s]\n" in text
    assert "stage staged 3/3 learns everything\n" in text
