"""Several runs in one page: joint tables, paired differences if the test sets are equal, overlaid curves."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from mmjax.describe import as_json
from mmjax.report.curves import limits
from mmjax.report.joint import joint_curves, joint_tasks
from mmjax.report.page import write_report
from mmjax.report.pairs import restore_task
from mmjax.runs.folder import read_arrays, write_arrays
from mmjax.runs.read import Run, read_run
from mmjax.tasks import Classify, Retrieve
from tests.report.parsed import Page

CELLS = ("gated", "concat", "text", "image", "audio")


def _page(runs: list[Path], out: Path) -> tuple[str, Page]:
    text = write_report(runs, out / "report.html").read_text(encoding="utf-8")
    return text, Page(text)


def _differences(page: Page) -> dict[tuple[str, str], list[str]]:
    """{(cell of run 2, rival): [verdict, difference, p]} of the table of paired differences."""
    lines = page.lines()
    start = next(i for i, line in enumerate(lines) if line[:3] == ["run", "cell", "against"])
    rows = {}
    for line in lines[start + 1 :]:
        if line[0] != "2":
            return rows
        rows[line[1], line[2]] = [line[3].split()[-1], *line[4:6]]
    return rows


def _accuracy(folder: Path, cell: str) -> float:
    """Mean over the seeds of both parts, on the complete input."""
    parts = [read_arrays(file) for file in sorted((folder / "cells" / cell).glob("*/outcomes.npz"))]
    complete = max((name for name in parts[0] if name.endswith("/predicted")), key=len).removesuffix("/predicted")
    return float(np.concatenate([part[f"{complete}/label"] == part[f"{complete}/predicted"] for part in parts]).mean())


@pytest.fixture(scope="module")
def both(make_run, run_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("joint")
    other = make_run(folder / "other", seed=1)
    return other, *_page([run_folder, other], folder)


def test_the_joint_table_has_the_cells_of_all_runs(both):
    lines = both[2].lines()
    start = next(i for i, line in enumerate(lines) if line[:2] == ["run", "cell"] and "verdicts" in line)
    rows = [(line[0], line[1].removeprefix("★")) for line in lines[start + 1 : start + 13]]
    order = ("concat", "gated", "text", "image", "audio")
    assert rows == [*(("1", c) for c in order), *(("2", c) for c in order), ("1", "majority"), ("1", "tfidf_svm")]


def test_cells_are_compared_unit_by_unit_across_runs(both, run_folder):
    other, _, page = both
    found = _differences(page)
    expected = {(cell, "gated of run 1 selected cell") for cell in CELLS}
    assert found.keys() == expected | {(cell, f"{cell} of run 1 same cell") for cell in CELLS if cell != "gated"}
    for (cell, against), (_, difference, _) in found.items():
        gap = _accuracy(other, cell) - _accuracy(run_folder, against.split()[0])
        assert float(difference.split()[0]) == pytest.approx(gap, abs=0.0005)
    shown = " ".join("".join(page.text).split())
    assert "The test sets of runs 1 and 2 are equal, so that differences are paired unit by unit." in shown
    assert "Holm's correction was not applied to these 9 comparisons." in shown
    assert "Its metrics are not those of a task in mmjax.tasks" in shown  # of matching, whose fields are not those of Retrieve


def _joint(*folders: Path) -> dict[str, dict]:
    """{task: its values for joint.html}"""
    return {task["name"]: task for task in joint_tasks([read_run(folder) for folder in folders])}


def test_a_run_is_identical_to_its_copy(make_run, run_folder, results, tmp_path):
    results["comparisons"]["holm"] = True
    task = _joint(run_folder, make_run(tmp_path / "copy", results=results))["label"]
    own = [line for line in task["differences"] if line.against.split()[0] == line.cell]
    assert [(line.cell, line.difference["verdict"], line.text) for line in own] == [
        (cell, "identical", "") for cell in ("concat", "gated", "text", "image", "audio")
    ]
    assert task["sentence"].endswith("Holm's correction was applied to these 9 comparisons.")


def test_other_test_sets_are_not_compared(make_run, run_folder, tmp_path):
    other = make_run(tmp_path / "other", seed=1)
    arrays = read_arrays(other / "units/label/all.npz")
    write_arrays(other / "units/label/all.npz", arrays | {"target/label": (arrays["target/label"] + 1) % 3})
    task = _joint(run_folder, other)["label"]
    assert task["sentence"] == "The test sets differ, so that cells of different runs are not compared."
    assert task["differences"] == [] and not any(line["marks"] for line in task["lines"])
    task = _joint(run_folder, other, run_folder)["label"]  # the third run has the test set of the first one
    assert {line.run for line in task["differences"]} == {"3"}
    assert task["sentence"].startswith("The test sets of runs 1 and 3 are equal, so")
    assert "Other test sets differ" in task["sentence"]


def test_tasks_with_other_metrics_are_not_in_one_table(make_run, run_folder, results, tmp_path):
    results["tasks"]["matching"]["kind"] = "Rank"
    assert list(_joint(run_folder, make_run(tmp_path / "other", results=results))) == ["label"]


def test_runs_with_equal_metrics_share_a_table_whatever_the_first_run_has(run_folder, results):
    results["tasks"]["label"]["metrics"]["theirs"] = {"higher_is_better": True, "bounds": [0.0, 1.0]}
    first, second, third = Run(run_folder, results), read_run(run_folder), read_run(run_folder)
    tasks = joint_tasks([first, second, third])
    assert [(task["name"], task["runs"]) for task in tasks] == [("label", "runs 2 and 3"), ("matching", "all runs")]
    assert {line["run"] for line in tasks[0]["lines"]} == {2, 3} and {line.run for line in tasks[0]["differences"]} == {"3"}
    tasks = joint_tasks([first, second, first, second])
    assert [task["runs"] for task in tasks] == ["runs 1 and 3", "runs 2 and 4", "all runs"]


def test_learning_curves_of_runs_are_overlaid(both, run_folder):
    drawn = re.findall(r'aria-label="Learning curves of (\w+) in 2 runs"', both[1])
    assert drawn == ["concat", "gated", "text", "image", "audio"]
    one, other = read_run(run_folder), read_run(both[0])
    for run, kept in ((one, ("gated", "text")), (other, ("image",))):
        run.results["cells"] = {name: run.results["cells"][name] for name in kept}
        run.results["tasks"]["label"]["best_cell"] = kept[0]
    ranges = limits([one.curves("gated"), other.curves("image")], {})
    (svg,) = joint_curves([one, other], ranges)  # no cell in common: the selected ones
    assert 'aria-label="Learning curves of selected cells in 2 runs"' in svg
    lines = re.findall(r'<path d="([^"]*)"[^>]*stroke: (var\(--blue[^)]*\)|var\(--orange[^)]*\))', svg)
    assert len(lines) == 4 and len({points for points, _ in lines}) == 4  # two axes, two runs


def test_tasks_are_restored_from_their_description():
    for task in (Classify("image.label"), Retrieve("a.embedding", "b.embedding", k=(1, 3), both=False)):
        described = {"kind": type(task).__name__, "task": json.loads(json.dumps(as_json(task)))}
        assert restore_task(described) == task
    assert restore_task({"kind": "TheirTask", "task": {"class": "TheirTask"}}) is None
    assert restore_task({"kind": "Classify", "task": {"class": "Classify", "source": "0123", "output": "label"}}) is None
    extended = Classify("label", extra={"mine": Classify("x").metrics["ece"]})
    assert restore_task({"kind": "Classify", "task": as_json(extended)}) is None
