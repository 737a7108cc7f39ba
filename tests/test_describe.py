"""Values as JSON and as one line, and the differences between two of them."""

import enum
import functools
import importlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.describe import SOURCE, DescribeError, as_json, as_line, differences, from_json, parameter_count
from mmjax.encoders import CNN, TextRNN
from mmjax.experiment import Experiment
from mmjax.fusion import Concat, MeanLogits
from mmjax.heads import Classifier
from mmjax.pretrained.cached_features import FeatureInput
from mmjax.tasks import Classify
from mmjax.train.optim import Adam
from mmjax.types import Metric

FILES = sorted((Path(__file__).parents[1] / "experiments").glob("*.py"))
GOOD = Experiment(
    data=None,
    encoders={"image": CNN(widths=(4,)), "text": TextRNN(vocabulary=30, embedding=4)},
    fusion=Concat(width=4),
    heads={"label": Classifier(4)},
    tasks={"label": Classify("label")},
)


def ablations(file):
    return importlib.import_module(file.stem).ABLATIONS


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_cell_as_json(file, monkeypatch):
    monkeypatch.syspath_prepend(str(file.parent))  # as `python experiments/NAME.py` has it
    cells = {name: as_json(experiment) for name, experiment in ablations(file).items()}
    assert json.loads(json.dumps(cells, allow_nan=False)) == cells  # writing and reading change nothing
    assert len({json.dumps(cell, sort_keys=True) for cell in cells.values()}) == len(cells)  # no two cells are equal
    for cell in cells.values():
        assert cell["class"] == "mmjax.experiment.value:Experiment"
        assert as_json(from_json(cell)) == cell
        assert "object at 0x" not in json.dumps(cell)  # an address differs in the next process


def test_as_json_by_hand():
    cell = as_json(replace(GOOD, optim=Adam(lr=0.5)))
    module = "mmjax.encoders.image:CNN"
    assert cell["encoders"]["image"] == {"class": module, "widths": [4], "dropout": 0.0, "dtype": {"dtype": "float32"}}
    optim = {"class": "mmjax.train.optim:Adam", "lr": 0.5, "clip": 1.0, "schedule": {"class": "mmjax.train.optim:Constant"}}
    assert cell["optim"] == optim
    assert cell["loss"] == {"function": "mmjax.losses.combine:cross_entropy"}
    assert cell["tasks"]["label"]["output"] == "label"
    assert as_json(CNN(dtype=jnp.bfloat16))["dtype"] == {"dtype": "bfloat16"}
    assert as_json(CNN(dtype=jnp.dtype("float16")))["dtype"] == {"dtype": "float16"}


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"optim": Adam(lr=2e-3)}, ["optim.lr"]),
        ({"optim": Adam(clip=2.0)}, ["optim.clip"]),
        ({"batch": 33}, ["batch"]),
        ({"encoders": {**GOOD.encoders, "image": CNN(widths=(5,))}}, ["encoders.image.widths"]),
        ({"encoders": {**GOOD.encoders, "image": CNN(widths=(4,), dtype=jnp.bfloat16)}}, ["encoders.image.dtype.dtype"]),
        ({"loss": max}, ["loss.function"]),
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
    source = described.pop(SOURCE)
    assert len(source) == 16 and int(source, 16) >= 0
    name = "tests.test_describe:test_a_class_outside_mmjax_has_the_hash_of_its_source.<locals>.Mine"
    assert described == {"class": name, "root": {"path": "here"}, "nested": [[1, 2], {"a": None}]}
    with pytest.raises(DescribeError, match=r"<locals>\.Mine cannot be rebuilt; use a class .* at the top of its file"):
        from_json(described)


class Colour(enum.Enum):
    RED = 1


def twice(x, factor=2):
    return x * factor


def test_every_kind_of_value_comes_back():
    values = {
        "array": np.float32([[0.1, 2.5], [np.pi, -1]]),
        "dtype": jnp.dtype(jnp.bfloat16),
        "enum": Colour.RED,
        "path": Path("a/b"),
        "partial": functools.partial(twice, factor=3),
        "module": CNN(widths=(4, 8), dtype=jnp.dtype("float32")),
        "function": nn.relu,
        "metric": Metric(twice, bounds=(0, None)),
        "names": {"class": 1, "path": {"x": (2,)}, 3: "integer key"},
        "infinite": (float("inf"), -float("inf")),
        "features": FeatureInput("minilm", "0123", prompts=("a {}",), max_tokens=7),
        "numbers": (1, 2.5, True, None, "text", np.float32(0.5)),
    }
    found = from_json(json.loads(json.dumps(as_json(values))))
    np.testing.assert_array_equal(found.pop("array"), values["array"])
    partial, expected = found.pop("partial"), values.pop("partial")
    assert partial(7) == expected(7) == 21
    values.pop("array")
    assert found == values


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"function": "os:system"}, "os:system cannot be rebuilt: the standard library has a module of that name"),
        ({"partial": {"function": "subprocess:call"}, "args": [["true"]], "keywords": {}}, "subprocess:call cannot be rebuilt"),
        ({"function": "mmjax.runs.folder:os.system"}, "mmjax.runs.folder:os.system is not a class or function of"),
        ({"function": "mmjax.runs.folder:Path"}, "mmjax.runs.folder:Path is not a class or function of"),
        ({"enum": "numpy:__builtins__", "member": "eval"}, "numpy:__builtins__ is not an enum with the member 'eval'"),
        (as_json("text".upper), "built-in method upper .* cannot be saved"),
        ({"class": "mmjax.losses:cross_entropy"}, "is not a dataclass, module or named tuple"),
        ({"class": "mmjax.encoders.image:Gone"}, "mmjax.encoders.image has no 'Gone' any more"),
        ({"class": "my_modules:Mine"}, "my_modules cannot be imported; add the folder of my_modules.py to PYTHONPATH"),
        ({"class": "mmjax.encoders.image:CNN", "depth": 3}, "has other fields than when it was saved: .*depth"),
        (as_json(lambda x: x), "cannot be rebuilt"),
        (as_json(object()), "object object .* cannot be saved; use a dataclass or a function"),
    ],
)
def test_what_cannot_be_rebuilt_is_named(value, message):
    with pytest.raises(DescribeError, match=message):
        from_json(value)


def test_as_line_shows_what_differs_from_the_defaults():
    assert as_line(Concat(width=64, dropout=0.2)) == "Concat(dropout=0.2)"  # 64 is the default
    assert as_line(Concat(width=8)) == "Concat(width=8)"
    assert as_line(MeanLogits(9)) == "MeanLogits(classes=9)"


def test_parameter_count():
    assert parameter_count({"a": jnp.zeros((2, 3)), "b": [jnp.zeros(4)]}) == 10


def test_a_changed_class_is_not_rebuilt(tmp_path, monkeypatch):
    """The saved parameters would be used by another computation."""
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "their_values.py"
    source = "import dataclasses\n@dataclasses.dataclass(frozen=True)\nclass Theirs:\n    source: str = 'x'\n"
    file.write_text(source)
    described = as_json(importlib.import_module("their_values").Theirs("mine"))
    assert from_json(described).source == "mine"
    described[SOURCE] = "0" * 16
    with pytest.raises(DescribeError, match="their_values:Theirs has changed since it was saved; restore the source"):
        from_json(described)
