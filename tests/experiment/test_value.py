"""What an experiment refuses before anything compiles, and how it is told as JSON."""

import importlib.util
import json
from dataclasses import dataclass, replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.data.dataset import Column, Dataset, Rows
from mmjax.encoders import CNN, FrameRNN, TextRNN
from mmjax.experiment import Experiment, ExperimentError, resolved, summary
from mmjax.fusion import Concat, FiLM, MeanLogits, Parallel, Serial
from mmjax.heads import Classifier, Mean, Regressor
from mmjax.losses import On
from mmjax.train.balance import OGMGE, GradNorm
from mmjax.train.loop import differences
from mmjax.train.optim import Adam
from mmjax.train.stages import Stage
from mmjax.types import Padded

FILES = sorted((Path(__file__).parents[1] / "experiments").glob("*.py"))
# Of a data set `check` looks at these: two modalities, a vocabulary of 30, and one target of 4 classes.
DATA = Dataset(
    columns={
        "image": Column(1, lambda i: np.zeros((8, 8, 4), np.float32), lambda x: x),
        "text": Column(1, lambda i: Padded(np.zeros(5, np.int32), np.int32(3)), lambda x: x),
    },
    splits={"train": Rows({}, {"label": np.zeros(2, np.int32)}, np.ones(2, np.float32))},
    classes={"label": tuple("abcd")},
    sizes={"image": {}, "text": {"vocabulary": 30}},
    about={},
    dropped={},
    fingerprint="",
    media=dict,
    source="",
)
GOOD = Experiment(
    data=None,
    encoders={"image": CNN(widths=(4,)), "text": TextRNN(vocabulary=30, embedding=4)},
    fusion=Concat(width=4),
    heads={"label": Classifier(4)},
)


def ablations(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ABLATIONS


def test_what_fits_is_accepted():
    GOOD.check(DATA)
    replace(GOOD, fusion=MeanLogits(4), heads={"label": Mean()}).check(DATA)
    replace(GOOD, encoders={"text": TextRNN(vocabulary=31)}).check(DATA)  # more than needed is fine


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoders": {"text": TextRNN(vocabulary=29)}}, r"encoders\.text\.vocabulary is 29, .* 30 tokens"),
        ({"heads": {"label": Classifier(5)}}, r"heads\.label\.classes is 5, but 'label' has 4 classes"),
        ({"fusion": MeanLogits(3)}, r"fusion\.classes is 3, but 'label' has 4 classes"),
        ({"encoders": {"audio": FrameRNN()}}, r"encoders\.audio: the data have no 'audio'; they have image, text"),
        ({"heads": {"mood": Classifier(4)}}, r"heads\.mood: the data have no 'mood'; they have label"),
        ({"encoders": {}}, "at least one encoder"),
        ({"heads": {}}, "at least one encoder and one head"),
        ({"encoders": {"image": CNN(widths=(4, 4, 4, 4))}}, r"CNN\.widths has 4 stages.* at least 16 px a side and got 8 x 8"),
        ({"fusion": Concat(dropout=1.0)}, r"Dropout\.rate is 1\.0"),
        ({"heads": {"label": Classifier(4), "other": Classifier(4)}}, r"heads\.other: the data have no 'other'"),
        ({"encoders": {"text": CNN()}}, r"encoders\.text: CNN\(\) does not take .*int32"),
        ({"encoders": {"image": TextRNN(vocabulary=30)}}, r"encoders\.image: TextRNN\(.*\) does not take float32\["),
        ({"fusion": FiLM("audio")}, r"fusion: FiLM\(.*audio"),
        ({"fusion": Serial(("image", "sound"), Concat(), Concat())}, r"fusion: Serial.*sound.*modalities, which are"),
        ({"fusion": Parallel({"a": MeanLogits(3)}, Concat())}, r"fusion\.branches\.a\.classes is 3, but 'label' has 4"),
        ({"heads": {"label": Regressor(2)}}, r"label: Regressor\(.*\) gives .*but 'label' has 4 classes"),
        ({"balance": GradNorm(("a", "b"))}, r"training: GradNorm\.tasks is .*; the loss gives \['loss'\]"),
        ({"balance": OGMGE()}, r"training: OGMGE compares the outputs"),
        ({"unimodal_heads": {"sound": {"label": Classifier(4)}}}, r"alone\.sound: no encoder gives 'sound'"),
        ({"unimodal_heads": {"text": {"label": Classifier(5)}}}, r"alone\.text\.label\.classes is 5, but 'label' has 4"),
        ({"stages": (Stage(1.0, ("encoder_text",)),)}, r"training: stages: no parameter begins with 'encoder_text'"),
        ({"loss": On("mood")}, r"training: there is no output 'mood' to learn from"),
        ({"optim": Adam(lr=0.0)}, r"training: Adam\.lr is 0\.0"),
        ({"score": "image.label"}, r"score is 'image\.label', but the outputs are label"),
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"batch": -1}, "batch is -1"),
        ({"evaluate_every": 0}, "evaluate_every is 0"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes, message):
    with pytest.raises(ExperimentError, match=message):
        replace(GOOD, **changes).check(DATA)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_cell_is_told_as_json(file, monkeypatch):
    monkeypatch.syspath_prepend(str(file.parent))  # as `python experiments/NAME.py` has it
    cells = {name: resolved(experiment) for name, experiment in ablations(file).items()}
    assert json.loads(json.dumps(cells, allow_nan=False)) == cells  # nothing is changed by being written and read
    assert len({json.dumps(cell, sort_keys=True) for cell in cells.values()}) == len(cells)  # and no two are the same
    for cell in cells.values():
        assert cell["class"] == "Experiment"
        assert "object at 0x" not in json.dumps(cell)  # an address is another one in the next process


def test_resolved_by_hand():
    cell = resolved(replace(GOOD, optim=Adam(lr=0.5)))
    assert cell["encoders"]["image"] == {"class": "CNN", "widths": [4], "dropout": 0.0, "dtype": "float32"}
    assert cell["optim"] == {"class": "Adam", "lr": 0.5, "clip": 1.0, "schedule": {"class": "Constant"}}
    assert cell["loss"] == "cross_entropy"
    assert resolved(CNN(dtype=jnp.bfloat16))["dtype"] == "bfloat16"
    assert resolved(CNN(dtype=jnp.dtype("float16")))["dtype"] == "float16"


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
def test_one_other_value_is_one_difference(changes, where):
    lines = differences(resolved(GOOD), resolved(replace(GOOD, **changes)))
    assert [line.split(" was ")[0] for line in lines] == where


def test_any_frozen_dataclass_will_do():
    @dataclass(frozen=True)
    class Mine:
        root: Path = Path("here")
        nested: tuple = ((1, 2), {"a": None})

    told = resolved(Mine())
    source = told.pop("source")  # of a class outside mmjax: an edited one is another experiment
    assert len(source) == 16 and int(source, 16) >= 0
    assert told == {"class": "Mine", "root": "here", "nested": [[1, 2], {"a": None}]}


def test_summary_tells_what_was_given():
    assert summary(Concat(width=64, dropout=0.2)) == "Concat(dropout=0.2)"  # 64 is the default
    assert summary(Concat(width=8)) == "Concat(width=8)"
    assert summary(MeanLogits(9)) == "MeanLogits(classes=9)"
