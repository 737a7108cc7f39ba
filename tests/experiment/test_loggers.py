"""Loggers of learning curves."""

import csv
import sys

import pytest

from mmjax.experiment import ExperimentError
from mmjax.experiment.loggers import LOGGERS, check_loggers, logging_to

FIRST = {"step": 5, "train_loss": [1.5, 2.0], "validation_accuracy": [0.25, 0.5]}
LATER = {"step": 10, "train_loss": [1.0, 1.25], "text_loss": [0.5, 0.75]}  # of a stage with another loss


def test_csv_has_a_line_for_each_evaluation_and_seed(tmp_path):
    with logging_to(["csv"], tmp_path / "part", "concat", (3, 4)) as log:
        log(FIRST)
        log(LATER)
    with logging_to(["csv"], tmp_path / "part", "concat", (3, 4)) as log:  # a resumed run
        log(LATER)
    with (tmp_path / "part" / "curves.csv").open() as file:
        rows = list(csv.reader(file))
    later = [["10", "3", "1.0", "0.5"], ["10", "4", "1.25", "0.75"]]
    assert rows[0] == ["step", "seed", "train_loss", "validation_accuracy"]
    assert rows[1:3] == [["5", "3", "1.5", "0.25"], ["5", "4", "2.0", "0.5"]]
    assert rows[3:] == [["step", "seed", "train_loss", "text_loss"], *later, *later]


def test_several_loggers_and_none(tmp_path):
    with logging_to(["csv", "tensorboard"], tmp_path, "concat", (0, 1)) as log:
        log(FIRST)
    assert list((tmp_path / "tensorboard").rglob("*tfevents*")) and (tmp_path / "curves.csv").is_file()
    with logging_to([], tmp_path / "none", "concat", (0, 1)) as log:
        log(FIRST)
    assert not (tmp_path / "none").exists()
    assert set(LOGGERS) == {"tensorboard", "csv", "wandb"}


@pytest.mark.parametrize(("logger", "module", "extra"), [("tensorboard", "tensorboardX", "log"), ("wandb", "wandb", "wandb")])
def test_a_missing_library_is_named(monkeypatch, logger, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ExperimentError, match=rf"--log {logger} needs {module}: pip install 'mmjax\[{extra}\]'"):
        check_loggers(["csv", logger])
