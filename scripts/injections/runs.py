"""Damage to the files of a finished run."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from injections.processes import PART, undisturbed
from injections.row import problem
from mmjax.results import load_run
from mmjax.runs.folder import LOCK, check_folder
from mmjax.runs.schema import RunError
from tests.faults.saved import flip

__all__ = ["flips"]

Faults = Iterator[tuple[str, str | None]]


def flips(random: np.random.Generator, count: int | None, scratch: Path) -> Faults:
    """One bit of any file but checkpoints (rows 4 to 6) and report.html, which is written from the others: reading the run
    names the file, or gives the same."""
    out = shutil.copytree(undisturbed(scratch.parent)[0], scratch / "run")
    found = [file for file in sorted(out.rglob("*")) if file.is_file() and file.stat().st_size]
    found = [file for file in found if "checkpoints" not in file.parts and file.name not in (LOCK, "report.html")]
    whole = _digest(out)
    for _ in range(count or 0):
        file = found[random.integers(len(found))]
        before = file.read_bytes()
        what = f"{flip(file, random)} in {file.parent.relative_to(out)}"
        yield what, problem(lambda: _assert_named(out, file, whole))
        file.write_bytes(before)


def _assert_named(out: Path, file: Path, whole: str) -> None:
    try:
        found = _digest(out)
    except RunError as error:
        assert file.name in str(error) and "\n" not in str(error), error
    else:
        assert found == whole, "other numbers were read"


def _digest(out: Path) -> str:
    """sha256 of everything that is read from the run."""
    check_folder(out, resume=True)
    results, digest = load_run(out), hashlib.sha256()
    read = results.run
    digest.update(json.dumps(read.results, sort_keys=True).encode())
    arrays = {"curves": read.curves("both")["all"], "outcomes": read.outcomes("both", "label"), **read.baselines("label")}
    units, _ = read.units("label")
    arrays |= {"units": {**units.target, **units.metadata, "weight": units.weight, "group": units.group}}
    for of in arrays.values():
        for name, x in of.items():
            digest.update(name.encode() + np.ascontiguousarray(x).tobytes())
    digest.update(json.dumps([read.shown("both"), [{**e, "image": None} for e in read.examples()]], default=str).encode())
    digest.update((out / PART / "variables.safetensors").read_bytes())
    return digest.hexdigest()
