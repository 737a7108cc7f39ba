"""The command line: cells by name, flags that change values, and one line for every mistake."""

import typing
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from mmjax.data.decode import DataError
from mmjax.data.held_out import HeldOut
from mmjax.encoders import CNN, TextRNN
from mmjax.experiment import Experiment, ExperimentError
from mmjax.experiment.cli import parse
from mmjax.experiment.load import check_options, fold_numbers
from mmjax.experiment.options import Options, _fits
from mmjax.fusion import Concat, MeanLogits
from mmjax.heads import Classifier, Mean
from mmjax.runs.folder import check_folder, locked, write_json
from mmjax.runs.schema import RunError
from mmjax.tasks import Classify


@dataclass(frozen=True)
class Data:
    fold: int = 0


TEXT, IMAGE = {"text": TextRNN(vocabulary=9, embedding=4)}, {"image": CNN(widths=(4, 4))}
BASE = Experiment(Data(), TEXT | IMAGE, Concat(width=4), {"label": Classifier(3)}, tasks={"label": Classify("label")})
CELLS = {
    "concat": BASE,
    "late": replace(BASE, fusion=MeanLogits(3, width=4), heads={"label": Mean()}),
    "text": replace(BASE, encoders=TEXT),
}


def run(*args):
    return parse(CELLS, list(args), "file.py")


def refused(capsys, *args) -> str:
    with pytest.raises(SystemExit) as error:
        run(*args)
    assert error.value.code == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err


def test_without_a_name_all_cells_run_as_they_are():
    options, cells = run()
    assert cells == CELLS
    assert list(cells) == list(CELLS)
    assert options == Options()


def test_by_name():
    assert run("late")[1] == {"late": CELLS["late"]}
    assert list(run("text", "concat")[1]) == ["text", "concat"]


def test_some_cells_run_by_name_alone(capsys):
    other = {"pretrained": replace(BASE, steps=5)}
    assert list(parse(CELLS, [], "file.py", other)[1]) == list(CELLS)
    assert parse(CELLS, ["pretrained", "late", "--batch", "3"], "file.py", other)[1] == {
        "pretrained": replace(BASE, steps=5, batch=3), "late": replace(CELLS["late"], batch=3)
    }  # fmt: skip
    with pytest.raises(SystemExit):
        parse(CELLS, ["pretraind"], "file.py", other)
    assert "did you mean pretrained?" in capsys.readouterr().err


def test_flags_change_every_cell_that_runs_and_nothing_else():
    options, cells = run("--optim.lr", "0.5", "--steps", "7", "--data.fold", "3", "--seeds", "2")
    assert options == Options(seeds=2)
    for name, cell in cells.items():
        original = CELLS[name]
        assert cell == replace(original, optim=replace(original.optim, lr=0.5), steps=7, data=Data(3))
    assert CELLS["concat"].steps == Experiment.__dataclass_fields__["steps"].default  # the originals are untouched


def test_names_and_flags():
    options, cells = run("concat", "text", "--encoders.text.embedding", "8", "--fusion.width=16", "--plan", "pmap")
    assert options.plan == "pmap"
    assert {name: cell.encoders["text"].embedding for name, cell in cells.items()} == {"concat": 8, "text": 8}
    assert cells["concat"].fusion == Concat(width=16)
    assert cells["concat"].encoders["image"] == CNN(widths=(4, 4))
    assert run("concat", "--encoders.image.widths", "2", "3", "5")[1]["concat"].encoders["image"].widths == (2, 3, 5)


def test_switches_take_no_value():
    options, cells = run("text", "--resume", "--log", "csv", "wandb", "--steps", "7")
    assert options == Options(resume=True, log=("csv", "wandb"))
    assert cells["text"].steps == 7


def test_an_unknown_cell_suggests_the_likely_one(capsys):
    message = refused(capsys, "contact")
    assert "no cell 'contact'" in message
    assert "did you mean concat?" in message
    assert "concat, late, text" in message
    message = refused(capsys, "zzz")
    assert "did you mean" not in message
    assert "concat, late, text" in message


def test_a_flag_of_other_cells_says_where_it_is(capsys):
    message = refused(capsys, "concat", "--fusion.classes", "3")
    assert "cell 'concat' has no flag --fusion.classes; it exists in late:" in message
    message = refused(capsys, "text", "--encoders.image.dropout=0.1")
    assert "no flag --encoders.image.dropout; it exists in concat, late:" in message
    message = refused(capsys, "--heads.label.classes", "3")  # all cells: the first that lacks it is named
    assert "cell 'late' has no flag --heads.label.classes; it exists in concat, text:" in message


def test_a_flag_of_no_cell_says_so(capsys):
    assert "cell 'late' has no flag --optim.momentum; no cell has it" in refused(
        capsys, "late", "--optim.momentum", "1"
    )


def test_a_stray_word(capsys):
    assert "'text' is neither a flag nor the value of one" in refused(capsys, "--steps", "3", "text")


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--seeds", "0", "at least 1"),
        ("--seeds", "-3", "at least 1"),
        ("--seeds-at-once", "0", "at least 1"),
        ("--steps-per-call", "-1", "at least 1"),
        ("--device-memory", "-1", "at least 0"),
        ("--device-memory", "nan", "at least 0"),
    ],
)
def test_values_out_of_range(capsys, flag, value, words):
    message = refused(capsys, f"{flag}={value}")
    assert f"{flag} is {value}" in message.replace("-1.0", "-1") and words in message


@pytest.mark.parametrize(
    ("flag", "value", "words"), [("--plan", "both", ["single", "pmap"]), ("--steps", "many", ["int"])]
)
def test_wrong_values(capsys, flag, value, words):
    message = refused(capsys, "concat", flag, value)
    assert flag in message
    assert all(word in message.lower() for word in words)


def test_help_lists_cells_and_flags(capsys):
    with pytest.raises(SystemExit) as error:
        run("concat", "--help")
    assert error.value.code == 0
    out = capsys.readouterr().out
    assert "cells: concat, late, text" in out
    assert "example: python file.py concat --seeds 10 --encoders.text.dropout 0.0 --out runs/mine" in out
    for flag in ("--seeds", "--plan", "--resume", "--optim.lr", "--fusion.width", "--encoders.image.widths"):
        assert flag in out
    assert "number of training steps" in out and "learning rate" in out  # each flag has its own description
    assert "--fusion.classes" not in out and "{fixed}" not in out


def squared_relu(x):
    return jnp.square(jnp.maximum(x, 0))


class Activated(nn.Module):
    """A user's fusion with a function as a field."""

    width: int = 4
    act: Callable = squared_relu

    @nn.compact
    def __call__(self, tokens, *, train=False):
        return tokens["text"]


def test_modules_may_have_functions_as_fields(capsys):
    cells = {"mine": replace(BASE, fusion=Activated())}
    fusion = parse(cells, ["--fusion.width", "7"], "file.py")[1]["mine"].fusion
    assert (fusion.width, fusion.act) == (7, squared_relu)
    for compiled in (jnp.tanh, jax.nn.relu, jax.jit(squared_relu)):
        cell = replace(BASE, fusion=Activated(act=compiled))
        fusion = parse({"mine": cell}, ["--fusion.width", "7"], "file.py")[1]["mine"].fusion
        assert fusion.width == 7 and fusion.act is compiled
    with pytest.raises(SystemExit):
        parse(cells, ["--fusion.act", "gelu"], "file.py")
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "--fusion.act is fixed to <function squared_relu" in message


def test_options_from_python_have_the_types_of_the_command_line():
    hints = typing.get_type_hints(Options)
    for name, right, wrong in (
        ("seeds", 3, (2.5, "3", True, None)), ("seeds_at_once", None, (1.5, "x")), ("plan", "pmap", ("x", None)),
        ("dtype", "bfloat16", ("bf16", 3)), ("device_memory", 1, ("x", None)), ("log", ("csv",), (["csv"], ("x",), "csv")),
        ("holm", True, (1, "yes")), ("against", "text", (3,)), ("out", Path("x"), ("x",)),
    ):  # fmt: skip
        assert _fits(right, hints[name]), name
        assert not any(_fits(value, hints[name]) for value in wrong), name


def test_typos_in_flags_get_a_suggestion(capsys):
    for wrong, right in (("--fusion.widht", "--fusion.width"), ("--sedes", "--seeds"), ("--optim.rl", "--optim.lr")):
        assert f"has no flag {wrong}; did you mean {right}?" in refused(capsys, "concat", wrong, "3")


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("all of it")
    for resume in (False, True):
        with pytest.raises(RunError, match=r"is not a run of mmjax .*--out"):
            check_folder(tmp_path, resume)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


LAYOUT = {"--folds": None}


def test_a_run_is_continued_with_the_same_folds(tmp_path):
    with locked(tmp_path / "run", "mine", LAYOUT):
        pass
    other = {"--folds": "all"}
    with pytest.raises(RunError, match=r"was run with --folds None, not all"), locked(tmp_path / "run", "mine", other):
        pass


def test_a_run_is_continued_with_resume_only(tmp_path):
    with locked(tmp_path / "run", "mine", LAYOUT):
        with pytest.raises(RunError, match=r"is not empty; continue it with --resume, or choose another with --out"):
            check_folder(tmp_path / "run", False)
        check_folder(tmp_path / "run", True)
        with pytest.raises(RunError, match=r"is in use by process \d+"), locked(tmp_path / "run", "mine", LAYOUT):
            pass
    with locked(tmp_path / "run", "mine", LAYOUT):  # free again
        pass


def test_out_must_be_a_folder_of_this_version(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"--out .*file is a file; name a folder"):
        check_folder(tmp_path / "file", False)
    with pytest.raises(RunError, match=r"--out .*file/run cannot be created: .*file is not a folder"):
        check_folder(tmp_path / "file" / "run", False)
    write_json(tmp_path / "old" / "run.json", {"schema": 1})
    with pytest.raises(RunError, match=r"was written by another version of mmjax"):
        check_folder(tmp_path / "old", True)


def test_against_names_a_cell_that_runs():
    with pytest.raises(ExperimentError, match=r"--against is 'txt', not a cell of this run; the cells are concat, late, text"):
        check_options(CELLS, Options(against="txt"))


def test_folds_need_data_with_folds():
    with pytest.raises(DataError, match=r"Data has an official test split, so it has no folds"):
        fold_numbers(CELLS, Options(folds="all"))
    assert fold_numbers(CELLS, Options()) == [None]


def test_folds_are_all_or_one():
    assert run("text", "--folds", "1")[0].folds == 1
    cells = {"mine": replace(BASE, data=HeldOut(None, "artist", ("ann", "bob", "cid")))}
    assert [fold_numbers(cells, Options(folds=folds)) for folds in ("all", 1)] == [[0, 1, 2], [1]]
    with pytest.raises(ExperimentError, match=r"--folds is 3; it must be all, or the number of a fold from 0 to 2"):
        fold_numbers(cells, Options(folds=3))
