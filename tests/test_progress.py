"""Progress of a run: what is printed without a terminal, and the speed and the time left in the bars."""

import io
import re
import time

import pytest
from rich.console import Console

from mmjax.progress import Progress

RECORD = {"train_loss": [1.0, 3.0], "validation_loss": [0.5, 0.7], "validation_score": [0.0, 0.0]}


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves by hand: a list with the time in seconds."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_the_speed_leaves_out_compilation(clock):
    """After the first call of 10 steps, 40 steps of 64 examples take 20 s."""
    out = io.StringIO()
    with Progress(Console(file=out, width=200, force_terminal=False)) as progress:
        progress.cell("both", 50, 64)
        clock[0] += 60
        progress.step(10)
        clock[0] += 20
        progress.evaluated({**RECORD, "step": 50})
        progress.step(50)
    assert "trained both: 50 steps at 128 examples/s, training loss 2.00, validation loss 0.600" in out.getvalue()


def test_one_call_has_no_speed(clock):
    out = io.StringIO()
    with Progress(Console(file=out, width=200, force_terminal=False)) as progress:
        progress.cell("both", 50, 64)
        progress.evaluated({**RECORD, "step": 50})
        progress.step(50)
    assert "trained both: 50 steps, training loss 2.00" in out.getvalue()


def test_the_bars_show_the_speed_and_the_time_left(monkeypatch):
    """Ten steps of 64 examples take 5 s; the first of two runs of 50 steps has 20 left, both have 70."""
    monkeypatch.setenv("TERM", "xterm")  # a dumb terminal has no bars
    out, now = io.StringIO(), [0.0]
    with Progress(Console(file=out, width=120, force_terminal=True, get_time=lambda: now[0]), 2, 100) as progress:
        progress.cell("both", 50, 64)
        for done in (10, 20, 30):
            now[0] += 5
            progress.step(done)
    shown = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", out.getvalue())
    assert re.search(r"training both \(1 of 2\) .*30/50 +0:00:15 left 0:00:10 128 examples/s", shown)
    assert re.search(r"all training runs .*30/100 +0:00:15 left 0:00:35", shown)


def test_lines_are_no_markup_and_are_not_wrapped_in_a_log():
    out = io.StringIO()
    line = "data: 8 rows through [red]drawings[/red].csv, " + "x" * 100
    with Progress(Console(file=out, width=80, force_terminal=False)) as progress:
        progress.print(line)
    assert out.getvalue().strip() == line
