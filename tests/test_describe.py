"""Values as JSON and as one line, and the differences between two of them."""

import importlib.util
import json
from dataclasses import dataclass, replace
from pathlib import Path

import jax.numpy as jnp
import pytest

from mmjax.describe import as_json, as_line, differences, parameter_count
from mmjax.encoders import CNN, TextRNN
from mmjax.experiment import Experiment
from mmjax.fusion import Concat, MeanLogits
from mmjax.heads import Classifier
from mmjax.tasks import Classify
from mmjax.train.optim import Adam

FILES = sorted((Path(__file__).parents[1] / "experiments").glob("*.py"))
GOOD = Experiment(
    data=None,
    encoders={"image": CNN(widths=(4,)), "text": TextRNN(vocabulary=30, embedding=4)},
    fusion=Concat(width=4),
    heads={"label": Classifier(4)},
    tasks={"label": Classify("label")},
)


def ablations(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ABLATIONS


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_cell_as_json(file, monkeypatch):
    monkeypatch.syspath_prepend(str(file.parent))  # as `python experiments/NAME.py` has it
    cells = {name: as_json(experiment) for name, experiment in ablations(file).items()}
    assert json.loads(json.dumps(cells, allow_nan=False)) == cells  # writing and reading change nothing
    assert len({json.dumps(cell, sort_keys=True) for cell in cells.values()}) == len(cells)  # no two cells are equal
    for cell in cells.values():
        assert cell["class"] == "Experiment"
        assert "object at 0x" not in json.dumps(cell)  # an address differs in the next process


def test_as_json_by_hand():
    cell = as_json(replace(GOOD, optim=Adam(lr=0.5)))
    assert cell["encoders"]["image"] == {"class": "CNN", "widths": [4], "dropout": 0.0, "dtype": "float32"}
    assert cell["optim"] == {"class": "Adam", "lr": 0.5, "clip": 1.0, "schedule": {"class": "Constant"}}
    assert cell["loss"] == "cross_entropy"
    assert cell["tasks"]["label"]["output"] == "label"
    assert as_json(CNN(dtype=jnp.bfloat16))["dtype"] == "bfloat16"
    assert as_json(CNN(dtype=jnp.dtype("float16")))["dtype"] == "float16"


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"optim": Adam(lr=2e-3)}, ["optim.lr"]),
        ({"optim": Adam(clip=2.0)}, ["optim.clip"]),
        ({"batch": 33}, ["batch"]),
        ({"encoders": {**GOOD.encoders, "image": CNN(widths=(5,))}}, ["encoders.image.widths"]),
        ({"encoders": {**GOOD.encoders, "image": CNN(widths=(4,), dtype=jnp.bfloat16)}}, ["encoders.image.dtype"]),
        ({"loss": max}, ["loss"]),
    ],
)
def test_one_changed_value_is_one_difference(changes, where):
    lines = differences(as_json(GOOD), as_json(replace(GOOD, **changes)))
    assert [line.split(" was ")[0] for line in lines] == where


def test_a_class_outside_mmjax_has_the_hash_of_its_source():
    @dataclass(frozen=True)
    class Mine:
        root: Path = Path("here")
        nested: tuple = ((1, 2), {"a": None})

    described = as_json(Mine())
    source = described.pop("source")
    assert len(source) == 16 and int(source, 16) >= 0
    assert described == {"class": "Mine", "root": "here", "nested": [[1, 2], {"a": None}]}


def test_as_line_shows_what_differs_from_the_defaults():
    assert as_line(Concat(width=64, dropout=0.2)) == "Concat(dropout=0.2)"  # 64 is the default
    assert as_line(Concat(width=8)) == "Concat(width=8)"
    assert as_line(MeanLogits(9)) == "MeanLogits(classes=9)"


def test_parameter_count():
    assert parameter_count({"a": jnp.zeros((2, 3)), "b": [jnp.zeros(4)]}) == 10
