"""The examples of the jobs of a sweep, collected in one run folder."""

import json

from mmjax.runs.folder import MARKER
from mmjax.sweep import collect


def job(folder, cell, *entries):
    """A run folder with one part of a cell, and with examples (task, id)."""
    (folder / "cells" / cell / "all").mkdir(parents=True)
    (folder / "cells" / cell / "all" / "part.json").write_text("{}")
    (folder / MARKER).write_text("{}")
    (folder / "examples").mkdir()
    index = [{"task": task, "id": name, "image": None, "sound": None} for task, name in entries]
    (folder / "examples" / "index.json").write_text(json.dumps(index))
    return folder


def test_examples_of_earlier_sweeps_are_kept(tmp_path):
    """Examples of a task are those of the newest sweep, and of its first job; a job without examples removes none."""
    out = tmp_path / "out"
    found = lambda: {(entry["task"], entry["id"]) for entry in json.loads((out / "examples" / "index.json").read_text())}
    collect([job(tmp_path / "a", "one", ("label", "1")), job(tmp_path / "b", "two", ("label", "2"), ("age", "3"))], out)
    assert found() == {("label", "1"), ("age", "3")}
    collect([job(tmp_path / "c", "three", ("label", "4"))], out)
    assert found() == {("label", "4"), ("age", "3")}
    collect([job(tmp_path / "d", "four")], out)
    assert found() == {("label", "4"), ("age", "3")}
    assert sorted(folder.name for folder in (out / "cells").iterdir()) == ["four", "one", "three", "two"]
