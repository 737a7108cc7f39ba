"""Mistakes on the command line of an experiment: one line that names the field and what is valid, never a traceback."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmjax.experiment import main, part
from mmjax.experiment.cli import run
from tests.end_to_end.conftest import ROOT
from tests.faults.mistakes import CELLS, MISTAKES


def refused(capsys, monkeypatch, *args: str, cells=CELLS) -> str:
    """The message of a command that fails, checked to be one line."""
    monkeypatch.setattr(sys, "argv", ["file.py", *args])
    with pytest.raises(SystemExit) as error:
        run(cells)
    assert error.value.code in (1, 2)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    lines = [line for line in captured.err.strip().splitlines() if line.strip()]
    assert len(lines) == 1, captured.err
    return " ".join(captured.err.split())


@pytest.mark.parametrize(("args", "message"), MISTAKES)
def test_mistakes(args, message, capsys, monkeypatch, tmp_path):
    assert message in refused(capsys, monkeypatch, *args.split(), "--out", str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()  # nothing was written


def test_out_is_a_file_or_holds_other_files(capsys, monkeypatch, tmp_path):
    file, thesis = tmp_path / "file", tmp_path / "thesis"
    file.write_text("")
    thesis.mkdir()
    (thesis / "chapter.tex").write_text("all of it")
    assert "is a file; name a folder" in refused(capsys, monkeypatch, "--out", str(file))
    assert "is not a folder" in refused(capsys, monkeypatch, "--out", str(file / "run"))
    for more in ([], ["--resume"]):
        assert "is not a run of mmjax" in refused(capsys, monkeypatch, "--out", str(thesis), *more)
    assert [entry.name for entry in thesis.iterdir()] == ["chapter.tex"]


def test_a_folder_without_permission(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere, so permissions are simulated
    assert "cannot be written to; choose another with --out" in refused(capsys, monkeypatch, "--out", str(tmp_path))
    assert "cannot be created" in refused(capsys, monkeypatch, "--out", str(tmp_path / "run"))


def test_a_full_disk(capsys, monkeypatch, tmp_path):
    def full(self, target):
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(Path, "replace", full)
    message = refused(capsys, monkeypatch, "text", "--out", str(tmp_path / "run"))
    assert "No space left on device; earlier files are intact: continue with --resume" in message
    assert "run.json" in message and not list((tmp_path / "run").rglob("*.partial"))


def test_missing_extras_are_named(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    message = refused(capsys, monkeypatch, "--log", "tensorboard", "--out", str(tmp_path / "run"))
    assert "--log tensorboard needs tensorboardX: pip install 'mmjax[log]'" in message


@pytest.mark.end_to_end
def test_help_into_a_closed_pipe():
    command = f"{sys.executable} experiments/stamps_fusion.py concat --help | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert "usage: python stamps_fusion.py" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM))
@pytest.mark.parametrize("moment", ("mmjax.experiment.load.load_and_check", "mmjax.experiment.cli.parse"))
def test_a_signal_outside_of_training_ends_the_run_in_one_line(capsys, monkeypatch, tmp_path, number, moment):
    """While the data are read, or the command line is."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
    monkeypatch.setattr(moment, lambda *_: os.kill(os.getpid(), number))
    monkeypatch.setattr(sys, "argv", ["file.py", "--out", str(tmp_path / "run")])
    try:
        with pytest.raises(SystemExit) as stopped:
            main(CELLS)
    finally:
        signal.signal(signal.SIGINT, before)
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "stopped at once; continue from the last checkpoint with the same command and --resume\n"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_signal_during_the_predictions_stops_the_run(capsys, monkeypatch, tmp_path):
    """The training is kept: with --resume, the run goes on with the predictions."""
    args = ["text", "--steps", "2", "--batch", "8", "--seeds", "1", "--out", str(tmp_path / "run")]
    predict = part.predict_split

    def signalled(*arguments, axis, **more):
        if axis == 2:  # of the test split
            os.kill(os.getpid(), signal.SIGTERM)
        return predict(*arguments, axis=axis, **more)

    monkeypatch.setattr(part, "predict_split", signalled)
    monkeypatch.setattr(sys, "argv", ["file.py", *args])
    with pytest.raises(SystemExit) as stopped:
        run(CELLS)
    assert stopped.value.code == 130
    said = "stopped during the predictions of cell text; everything is saved: continue with the same command and --resume\n"
    assert capsys.readouterr().err == said

    monkeypatch.setattr(part, "predict_split", predict)
    monkeypatch.setattr("mmjax.train.loop._Run.train", None)  # nothing is trained
    monkeypatch.setattr(sys, "argv", ["file.py", *args, "--resume"])
    run(CELLS)
    assert (tmp_path / "run" / "results.json").is_file()


def test_a_signal_just_before_the_results_stops_the_run(monkeypatch, tmp_path):
    write = part.write_part

    def signalled(*arguments):
        write(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(part, "write_part", signalled)
    args = ["text", "--steps", "1", "--batch", "8", "--seeds", "1", "--out", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", ["file.py", *args])
    with pytest.raises(SystemExit) as stopped:
        run(CELLS)
    assert stopped.value.code == 130
    assert not (tmp_path / "run" / "results.json").exists()
