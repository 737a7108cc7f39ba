"""The command line: cells by name, by flags or all; and what it says to a mistake."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest

from mmjax.encoders import CNN, TextRNN
from mmjax.experiment import Experiment, ExperimentError
from mmjax.experiment.cli import Options, parse
from mmjax.experiment.run import check_options
from mmjax.fusion import Concat, MeanLogits
from mmjax.heads import Classifier, Mean


@dataclass(frozen=True)
class Data:
    fold: int = 0


TEXT, IMAGE = {"text": TextRNN(vocabulary=9, embedding=4)}, {"image": CNN(widths=(4, 4))}
BASE = Experiment(Data(), TEXT | IMAGE, Concat(width=4), {"label": Classifier(3)})
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
    options, cells = run("text", "--resume", "--tensorboard", "--steps", "7")
    assert options == Options(resume=True, tensorboard=True)
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


@pytest.mark.parametrize("seeds", ["0", "-3"])
def test_no_seeds(capsys, seeds):
    assert f"--seeds is {seeds}; it must be at least 1" in refused(capsys, f"--seeds={seeds}")


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
    for flag in ("--seeds", "--plan", "--resume", "--optim.lr", "--fusion.width", "--encoders.image.widths"):
        assert flag in out
    assert "--fusion.classes" not in out


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(ExperimentError, match=r"is not empty; go on there with --resume, or choose another with --out"):
        check_options(CELLS, SimpleNamespace(resume=False), [tmp_path])
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]
