"""Every experiment file runs from beginning to end, all its cells, shrunk by flags alone."""

import ast
import json
from itertools import combinations

import numpy as np
import pytest

from mmjax.report.runs import read_run
from tests.end_to_end.conftest import FLAGS, ROOT

FILES = sorted((ROOT / "experiments").glob("*.py"))
each = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


@each
def test_docstring_gives_command_time_and_expectation(file):
    doc = ast.get_docstring(ast.parse(file.read_text())) or ""
    lines = doc.splitlines()
    for word in ("Run:", "Time:", "Expected:"):
        assert any(line.startswith(word) and line.removeprefix(word).strip() for line in lines), word
    assert f"python experiments/{file.name}" in doc
    assert "TODO" not in file.read_text()


@each
@pytest.mark.end_to_end
def test_whole_file_writes_a_complete_run(file, whole):
    out = whole(file)
    run = read_run(out)
    truth = run.test()
    assert (out / "report.html").stat().st_size > 10_000
    assert run.results["cells"].keys() == {folder.name for folder in (out / "cells").iterdir()}
    for cell, entry in run.results["cells"].items():
        names = entry["modalities"]
        subsets = {"+".join(c) for size in range(1, len(names) + 1) for c in combinations(names, size)}
        assert names == sorted(names)
        assert set(entry["subsets"]) == set(run.probabilities(cell)) == subsets
        assert run.curves(cell)["step"].tolist() == [8, 16, 24]
        # What results.json calls accuracy is what one counts by hand from the predictions that it comes from.
        with np.load(out / "cells" / cell / "predictions.npz") as arrays:
            for k, subset in enumerate(arrays["subsets"]):
                right = arrays["logits"][:, k].argmax(-1) == truth["label"]
                by_hand = (right * truth["weight"]).sum(-1) / truth["weight"].sum()
                np.testing.assert_allclose(entry["subsets"][str(subset)]["accuracy"]["per_seed"], by_hand, atol=1e-6)
        assert list((out / "cells" / cell / "tensorboard").rglob("*tfevents*"))
        assert entry["experiment"]["data"]["image_size"] == 16  # the flags went into every cell, and are told
    assert len(run.examples()) == 12
    json.dumps(run.results, allow_nan=False)


@pytest.mark.end_to_end
def test_streamed_over_four_devices_gives_what_one_device_gives(commands, whole, tmp_path):
    """Read by Grain instead of from the device, and every batch split over four: the same training, to rounding."""
    file = ROOT / "experiments" / "stamps_fusion.py"
    reference = whole(file) / "cells" / "image"
    args = ["image", *FLAGS, "--device-memory", 0, "--plan", "pmap", "--out", tmp_path / "run"]
    output = commands.run(file, *args, devices=4)
    assert "streamed by Grain" in output
    cell = tmp_path / "run" / "cells" / "image"
    assert read_run(tmp_path / "run").results["plan"] == "pmap"
    assert "x 4" in read_run(tmp_path / "run").results["device"]
    assert not list(cell.rglob("*tfevents*"))  # nobody asked for them here
    with np.load(cell / "predictions.npz") as a, np.load(reference / "predictions.npz") as b:
        assert (a["logits"].argmax(-1) == b["logits"].argmax(-1)).mean() > 0.99
        np.testing.assert_allclose(a["logits"], b["logits"], atol=5e-3)
    ours, theirs = (
        [json.loads(line) for line in (at / "curves.jsonl").read_text().splitlines()] for at in (cell, reference)
    )
    for point, expected in zip(ours, theirs, strict=True):
        for name in ("train_loss", "validation_loss"):
            np.testing.assert_allclose(point[name], expected[name], rtol=1e-3, err_msg=name)
        np.testing.assert_allclose(point["validation_accuracy"], expected["validation_accuracy"], atol=1.5 / 169)
