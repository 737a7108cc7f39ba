"""What users give: mistakes on the command line, and hostile files."""

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np

from injections.row import problem
from mmjax.experiment.cli import run
from tests.faults.hostile import PATTERNS, assert_one_line, read_all
from tests.faults.mistakes import CELLS, MISTAKES

__all__ = ["hostile", "mistakes"]

Faults = Iterator[tuple[str, str | None]]


def mistakes(random: np.random.Generator, count: int | None, scratch: Path) -> Faults:
    """One line that says what is wrong; nothing is written."""
    for i in random.permutation(len(MISTAKES))[:count]:
        args, message = MISTAKES[i]
        yield args, problem(lambda: _refused(args, message, scratch / "run"))


def _refused(args: str, message: str, out: Path) -> None:
    output = io.StringIO()
    with patch.object(sys, "argv", ["file.py", *args.split(), "--out", str(out)]):
        with contextlib.redirect_stderr(output), contextlib.redirect_stdout(io.StringIO()):
            try:
                run(CELLS)
            except SystemExit as stopped:
                assert stopped.code in (1, 2), f"exit code {stopped.code}"
            else:
                raise AssertionError("it ran")
    lines = [line for line in output.getvalue().splitlines() if line.strip()]
    assert len(lines) == 1 and message in " ".join(lines[0].split()), output.getvalue()
    assert not out.exists(), "something was written"


def hostile(random: np.random.Generator, count: int | None, scratch: Path) -> Faults:
    """All files in one process, so that `count` is not used: one line within a second and 500 MB, and no code is executed."""
    del random, count
    results = read_all(scratch)
    for name in PATTERNS:
        yield name, problem(lambda: assert_one_line(name, results[name]))
