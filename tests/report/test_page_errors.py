"""The page and its command: missing keys, wrong panels, missing extras and wrong paths are named."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmjax.report.__main__ import report
from mmjax.report.maps import draw_maps
from mmjax.report.page import write_report
from mmjax.report.panels import draw_panel
from mmjax.report.settings import duration, settings_that_differ
from mmjax.runs.schema import RunError

ROOT = Path(__file__).parents[2]
VOID = {"meta", "img", "br", "hr", "input", "link"}




def test_a_missing_key_is_named(make_run, tmp_path):
    folder = make_run(tmp_path / "run")
    results = json.loads((folder / "results.json").read_text())
    del results["tasks"]["label"]["warnings"]
    (folder / "results.json").write_text(json.dumps(results))
    with pytest.raises(RunError, match=r"results.json: missing key 'tasks\.label\.warnings'"):
        write_report([folder], tmp_path / "report.html")


def test_panels_that_are_wrong_are_named():
    with pytest.raises(RunError, match=r"key 'panels\[0\].panel' is 'pie'; the report can draw matrix, points, histogram"):
        draw_panel({"panel": "pie"}, "panels[0]")
    with pytest.raises(RunError, match=r"missing key 'panels\[2\].counts'"):
        draw_panel({"panel": "histogram", "title": "t", "edges": [1], "label": ""}, "panels[2]")


def test_settings_that_differ_are_found_wherever_they_are():
    a = {"fusion": {"type": "Gated", "width": 64}, "optim": {"lr": 0.001}, "steps": 400}
    b = {"fusion": {"type": "Concat"}, "optim": {"lr": 0.001}, "steps": 400, "encoders": {}}
    assert settings_that_differ([a, b]) == {
        "fusion.type": ["Gated", "Concat"],
        "fusion.width": ["64", "–"],
        "encoders": ["–", "{}"],
    }
    assert settings_that_differ([a, a]) == {}


def test_durations():
    expected = {0.04: "0.0 s", 59.9: "59.9 s", 311: "5 min 11 s", 3600: "1 h 0 min", 7322: "2 h 2 min"}
    assert {seconds: duration(seconds) for seconds in expected} == expected


def test_no_page_of_no_runs(tmp_path):
    with pytest.raises(ValueError, match="at least one run folder"):
        write_report([], tmp_path / "report.html")


def test_unknown_media_are_refused(make_run, tmp_path):
    folder = make_run(tmp_path / "run")
    shutil.move(folder / "examples/label-5.png", folder / "examples/label-5.svg")  # an SVG document may hold scripts
    index = folder / "examples/index.json"
    index.write_text(index.read_text().replace("label-5.png", "label-5.svg"))
    with pytest.raises(RunError, match=r"cannot show '\.svg'"):
        write_report([folder], tmp_path / "report.html")


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2"])
def test_without_the_extra_the_error_names_what_to_install(missing, make_run, tmp_path, monkeypatch):
    folder = make_run(tmp_path / "run", seed=2)  # no other test draws its numbers
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"pip install 'mmjax\[report\]'"):
        write_report([folder], tmp_path / "report.html")


def test_the_table_needs_no_extra():
    code = "import sys, mmjax.report.tables, mmjax.report.page; assert not {'matplotlib', 'jinja2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_command_reports_problems_in_one_line(run_folder, tmp_path):
    command = [sys.executable, "-m", "mmjax.report"]
    run = lambda *args: subprocess.run([*command, *map(str, args)], capture_output=True, text=True, check=False, cwd=ROOT)
    done = run(tmp_path)
    assert (done.returncode, done.stderr) == (1, f"error: {tmp_path / 'results.json'}: missing file\n")
    done = run(run_folder, "--out", tmp_path)
    assert (done.returncode, done.stderr) == (1, f"error: --out {tmp_path} is a folder; name a file\n")


def test_a_page_that_cannot_be_written_is_one_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mmjax.report", "run", "--out", "x" * 300])
    with pytest.raises(SystemExit, match=r"^error: x{300}: File name too long$"):
        report()


def test_a_closed_pipe_is_no_error():
    command = f"{sys.executable} -m mmjax.report --help | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stderr == "" and done.stdout.startswith("usage: python -m mmjax.report")


def test_maps_name_the_file_or_the_words_that_do_not_fit():
    panel = {"panel": "maps", "title": "t", "examples": [{"id": "1", "target": "<b>", "maps": [{"modality": "image"}]}]}
    assert "&lt;b&gt;" in draw_maps(panel, "panels[0]", {}.get)
    of = panel["examples"][0]["maps"][0]
    of["picture"] = "a.png"
    with pytest.raises(RunError, match=r"key 'panels\[0\].examples\[0\].maps\[0\].picture' is 'a.png', which is no file"):
        draw_maps(panel, "panels[0]", {}.get)
    del of["picture"]
    of |= {"words": ["a", "b"], "weights": [0.5]}
    with pytest.raises(RunError, match="has 1 entries for 2 words"):
        draw_maps(panel, "panels[0]", {}.get)
    with pytest.raises(RunError, match=r"missing key 'panels\[0\].title'"):
        draw_maps({"panel": "maps", "examples": []}, "panels[0]", {}.get)
