"""Damaged and missing files of a run: they are named, and --resume writes them again; its other cells stay in the table."""

import json
import shutil

import numpy as np
import pytest

from mmjax.runs.read import read_run
from mmjax.runs.schema import RunError
from tests.end_to_end.conftest import FLAGS, ROOT

FILE = ROOT / "experiments" / "stamps_fusion.py"


@pytest.mark.end_to_end
def test_damaged_and_missing_files_are_written_again(commands, whole, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(whole(FILE), out)
    part = out / "cells" / "text" / "all"
    for missing in ("results.json", "report.html", "units/label/all.npz", "cells/text/cell.json"):
        (out / missing).unlink()
    (part / "curves.jsonl").write_text("half a li")
    damage = np.frombuffer((part / "outcomes.npz").read_bytes(), np.uint8).copy()
    damage[len(damage) // 2] ^= 1
    (part / "outcomes.npz").write_bytes(damage.tobytes())
    args = ["text", *FLAGS, "--checkpoint-every", 1000, "--log", "tensorboard", "csv", "--out", out]
    output = " ".join(commands.run(FILE, *args, "--resume").split())
    for name in ("curves.jsonl", "outcomes.npz"):
        assert f"{name} is damaged or missing; this part is evaluated again from its last checkpoint" in output
    before, after = (read_run(folder).results for folder in (whole(FILE), out))
    assert next(iter(after["cells"])) == "text" and set(after["cells"]) == set(before["cells"])
    for entry in (*after["cells"].values(), *before["cells"].values()):
        for scored in entry["tasks"].values():  # rivals are in the order of the cells, and `text` comes first now
            scored["verdicts"].sort(key=lambda verdict: (verdict["metric"], verdict["against"]))
    for cell, entry in after["cells"].items():
        for part in ("tasks", "best_step", "validation", "parameters"):
            assert entry[part] == before["cells"][cell][part], (cell, part)
    assert after["tasks"] == before["tasks"]
    assert (out / "report.html").stat().st_size > 10_000

    index = out / "examples" / "index.json"
    before = index.read_text()
    index.write_text(before[:-20])
    output = "".join(commands.run(FILE, *args, "--resume").split())  # lines may break anywhere in a path
    assert "index.jsonisdamaged;theexamplesarewrittenagain" in output
    assert json.loads(index.read_text()) == json.loads(before)

    other = commands.start(FILE, *args, "--resume", "--data.fold", 1)
    output, _ = other.communicate()
    assert other.returncode == 1
    assert "the test units of task 'label' differ in" in output and "data.fold" in output  # before anything is written
    assert json.loads((out / "results.json").read_text())["tasks"] == after["tasks"]


@pytest.mark.end_to_end
def test_swapped_outcomes_are_noticed(whole, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(whole(FILE), out)
    files = [out / "cells" / cell / "all" / "outcomes.npz" for cell in ("image", "text")]
    first, second = (file.read_bytes() for file in files)
    files[0].write_bytes(second)
    files[1].write_bytes(first)
    with pytest.raises(RunError, match=r"cells/\w+/all/outcomes\.npz is damaged or missing .*--resume"):
        read_run(out)
