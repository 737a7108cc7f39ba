"""What docs/search.md tells a reader to run works: the requests by curl, the code, and the commands of the demonstration."""

import json
import re
import runpy
import shlex
import subprocess

import pytest

from mmjax.experiment.cli import parse
from tests.search.test_server import png, wav
from tests.served import ROOT

PAGE = (ROOT / "docs" / "search.md").read_text()
CURL = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for line in block.splitlines()]


@pytest.mark.end_to_end
def test_the_requests_of_the_page_are_answered(server, tmp_path):
    (tmp_path / "query.png").write_bytes(png(0))
    (tmp_path / "query.wav").write_bytes(wav(0))
    assert len(CURL) == 5 and all(line.startswith("curl http://127.0.0.1:8000/") for line in CURL)
    for line in CURL:
        words = shlex.split(line.replace("http://127.0.0.1:8000", server.address).replace("audio=@", "voice=@"))
        done = subprocess.run([*words, "-sS", "--fail"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (line, done.stderr)
        if "/search" in line:
            answer = json.loads(done.stdout)
            assert answer["results"][0]["caption"] == "a red square"
            (example,) = re.findall(r"```json\n(.*?)```", PAGE, re.S)
            example = json.loads(example)
            assert answer.keys() == example.keys() and answer["results"][0].keys() == example["results"][0].keys()
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")


def test_the_code_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    exec(compile(block, "search.md", "exec"), found := {})
    assert (found["same"].row == found["found"].row).all()
    assert (found["near"].row[:, 0] == found["found"].row[:, 0]).all()


def test_the_demonstration_trains_a_cell_that_exists(monkeypatch):
    script = ROOT / "scripts" / "demo"
    subprocess.run(["bash", "-n", script], check=True)
    text = script.read_text()
    monkeypatch.syspath_prepend(ROOT / "experiments")
    file = runpy.run_path(str(ROOT / "experiments" / "stamps_retrieval.py"))
    cells = re.findall(r"cell=(\w+)", text)
    assert cells == ["frozen_infonce", "scratch_infonce"]
    for cell in cells:
        flags = [cell, "--seeds", "1", "--out", "runs/demo", "--resume"]
        parse(file["ABLATIONS"], flags, "stamps_retrieval.py", file.get("BY_NAME"))
        assert {"image", "text"} <= set(file["ABLATIONS"][cell].encoders)
