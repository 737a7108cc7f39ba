"""A run killed after training, while its results were written, is mended by --resume; its other cells stay in the table."""

import json
import shutil

import pytest

from mmjax.runs.read import read_run
from tests.end_to_end.conftest import FLAGS, ROOT

SCORED = ("subsets", "languages", "per_class", "confusion", "verdicts", "best_step")


@pytest.mark.end_to_end
def test_what_a_kill_left_out_is_written(commands, whole, tmp_path):
    file = ROOT / "experiments" / "stamps_fusion.py"
    out = tmp_path / "run"
    shutil.copytree(whole(file), out)
    for missing in ("results.json", "report.html", "test.npz", "cells/text/cell.json", "cells/text/predictions.npz"):
        (out / missing).unlink()
    (out / "cells" / "text" / "curves.jsonl").write_text("half a li")
    args = ["text", *FLAGS, "--checkpoint-every", 1000, "--tensorboard", "--out", out]
    commands.run(file, *args, "--resume")
    before, after = (read_run(folder).results for folder in (whole(file), out))
    assert next(iter(after["cells"])) == "text" and set(after["cells"]) == set(before["cells"])
    for cell, entry in after["cells"].items():
        for part in SCORED:
            assert entry[part] == before["cells"][cell][part], (cell, part)
    assert after["floors"] == before["floors"] and after["best_cell"] == before["best_cell"]
    assert (out / "report.html").stat().st_size > 10_000

    other = commands.start(file, *args, "--resume", "--data.fold", 1)
    output, _ = other.communicate()
    assert other.returncode == 1
    assert "its test rows differ in label" in output and "data.fold" in output  # refused before anything was written
    assert json.loads((out / "results.json").read_text()) == after
