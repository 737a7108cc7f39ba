"""The tutorials of custom data run as they are written, with fewer steps and seeds, and take at most 20 lines."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import mmjax
from mmjax.runs.schema import RunError
from tests.data.custom.clips import CLASSES, arrays, clip, write_folder

TUTORIALS = Path(__file__).parents[3] / "docs" / "tutorials"
SHRUNK = {
    "    tasks={": "    steps=20, evaluate_every=20, batch=16, tasks={",
    "seeds=3": "seeds=1, quiet=True",
}


def code_of(name):
    """The script with fewer steps. Its lines without the docstring, comments and blank lines are at most 20."""
    code = (TUTORIALS / f"{name}.py").read_text()
    lines = [line for line in code.split('"""')[2].splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(lines) <= 20
    for given, shrunk in SHRUNK.items():
        assert code.count(given) == 1
        code = code.replace(given, shrunk)
    return compile(code, name, "exec")


@pytest.mark.parametrize("name", ["audio_visual_folder", "audio_visual_arrays"])
def test_a_tutorial_trains_and_reports(tmp_path, monkeypatch, capsys, name):
    write_folder(tmp_path)
    images, waves, labels, speakers = arrays()
    np.savez(tmp_path / "clips.npz", images=images, waves=waves, labels=labels, speakers=speakers)
    monkeypatch.chdir(tmp_path)
    exec(code_of(name), found := {})
    page = (tmp_path / "runs" / "clips" / "report.html").read_text()
    assert "data:image/png;base64" in page and "data:audio/mpeg;base64" in page
    results = mmjax.load_run(tmp_path / "runs" / "clips")
    assert results["both"].classes == {"label": CLASSES}
    dataset = found["data"].load()
    tested = set(dataset.metadata["test"]["speaker" if "folder" in name else "group"].tolist())
    trained = set(dataset.metadata["train"]["speaker" if "folder" in name else "group"].tolist())
    assert tested and not tested & trained
    if "folder" in name:
        with (tmp_path / "clips" / "5.png").open("ab") as file:
            file.write(b"x")  # the same pixels
        with pytest.raises(RunError, match="holds another experiment: data was"):
            mmjax.run({"both": found["both"]}, seeds=1, out=tmp_path / "runs" / "clips", resume=True, quiet=True)
    shutil.rmtree(tmp_path / "clips")  # the trained cell needs no data
    image, wave, label, _ = clip(99)
    answer = results["both"].predict({"image": [image], "audio": [(wave, 16_000)]})["label"]
    assert answer["predicted"].tolist() == [label]
    if "folder" in name:
        assert capsys.readouterr().out.strip().endswith(f"['{clip(36)[2]}']")
