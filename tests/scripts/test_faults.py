"""The scoreboard: its quick form, in three parts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def scoreboard(tmp_path, *args: str) -> tuple[int, str, dict]:
    """(exit code, output, the JSON)."""
    command = [sys.executable, ROOT / "scripts" / "faults.py", *args, "--json", tmp_path / "faults.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    file = tmp_path / "faults.json"
    return done.returncode, done.stdout + done.stderr, json.loads(file.read_text()) if file.exists() else {}


@pytest.mark.end_to_end
@pytest.mark.parametrize("rows", ["1,2,3,7,16", "4,5,6,8,9,10", "11,13"])
def test_a_few_faults(tmp_path, rows):
    """Of all rows but mistakes (test_command_line.py), hostile files (test_hostile_input.py) and lost peers, which are a slow
    test (end_to_end/test_processes.py). Rows 1, 2, 3, 7 and 16 share an undisturbed run."""
    code, output, board = scoreboard(tmp_path, "--quick", "--rows", rows, "--seed", "3")
    assert code == 0 and board["seed"] == 3, output
    assert [row["row"] for row in board["rows"]] == [int(number) for number in rows.split(",")]
    assert all(row["injected"] == row["as_expected"] > 0 for row in board["rows"])


def test_unexpected_results_are_kept_with_what_was_injected(monkeypatch, tmp_path):
    """A row whose second fault has another result."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import faults
    from injections.row import Row, problem

    def inject(random, count, scratch):
        for number in range(count):
            yield f"fault {number}", problem(lambda: 1 / (number - 1))

    entry = faults._entry(Row(1, "a row", 5, 3, inject), 3, 0, tmp_path)
    assert (entry["injected"], entry["as_expected"]) == (3, 2)
    assert entry["unexpected"] == [{"injected": "fault 1", "found": "ZeroDivisionError: division by zero"}]


@pytest.mark.end_to_end
def test_an_unknown_row_is_refused(tmp_path):
    code, output, _ = scoreboard(tmp_path, "--rows", "99")
    assert code == 2 and "there is no row 99; the rows are 1 kill -9" in output
