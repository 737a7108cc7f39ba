"""The parts and examples of the jobs of a sweep, collected in one run folder."""

import json

import pytest

from mmjax.runs.folder import MARKER, write_record
from mmjax.runs.schema import RunError
from mmjax.sweep import collect


def job(folder, cell, *entries, seeds=1):
    """A run folder with one part of a cell, and with examples (task, id)."""
    part = folder / "cells" / cell / "all"
    write_record(part / "part.json", {"identity": {"seeds": list(range(seeds))}, "sha256": {}})
    (part / "said.txt").write_text(folder.name)
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


def test_parts_of_other_experiments_are_kept(tmp_path):
    """One of them is enough to change nothing. A part of the same experiment is replaced, and a damaged one."""
    out = job(tmp_path / "out", "two", seeds=10)
    said = lambda: {file.parts[-3]: file.read_text() for file in (out / "cells").glob("*/all/said.txt")}
    jobs = [job(tmp_path / "a", "one"), job(tmp_path / "b", "two")]
    with pytest.raises(RunError, match=r"out/cells/two/all holds another experiment: seeds was \[0, 1,.* and is \[0\]\. "):
        collect(jobs, out)
    assert said() == {"two": "out"}
    collect([job(tmp_path / "c", "two", seeds=10), jobs[0]], out)
    assert said() == {"two": "c", "one": "a"}
    (out / "cells" / "two" / "all" / "part.json").write_text("{}")
    collect(jobs, out)
    assert said() == {"two": "b", "one": "a"}
