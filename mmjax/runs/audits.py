"""Audits in a run folder: one record for each, and the images and sounds that it shows.

    RUN/audits/CELL/TASK/NAME.json    conclusions, estimates, panels; with the sha256 of the audited files and of its own files
    RUN/audits/CELL/TASK/NAME/        images and sounds that its panels name
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmjax.runs.folder import damaged, read_record, sha256, write_bytes, write_record
from mmjax.runs.schema import ESTIMATE, Each, RunError, check

__all__ = ["AUDIT", "audited_files", "read_audits", "write_audit"]

AUDIT = {
    "name": str,
    "title": str,
    "conclusions": [str],
    "warnings": [str],  # reasons not to believe the conclusions
    "estimates": Each(ESTIMATE),
    "panels": [Each(Any)],  # drawings, see mmjax.tasks.panels
    "note": str,
    "values": Each(Any),
    "audited": str,  # `audited_files` of the cell at that time
    "sha256": Each(str),  # of the files of the audit
}


def write_audit(out: Path, cell: str, task: str, audit: Mapping[str, Any], files: Mapping[str, bytes]) -> Path:
    """Writes an audit, JSON as `AUDIT` without "audited" and "sha256", and its files; returns the path of the record."""
    file = out / "audits" / cell / task / f"{audit['name']}.json"
    for name, content in files.items():
        write_bytes(file.with_suffix("") / name, content)
    sums = {name: sha256(file.with_suffix("") / name) for name in files}
    record = {**audit, "audited": audited_files(out, cell), "sha256": sums}
    check(record, AUDIT, str(file))
    write_record(file, json.loads(json.dumps(record)))
    return file


def read_audits(out: Path, cell: str, task: str) -> dict[str, dict[str, Any]]:
    """{name: `AUDIT`} with two more keys: "files", {name: path}; "stale", whether the cell was written again since the audit.

    RunError if a file is damaged.
    """
    found = {}
    for file in sorted((out / "audits" / cell / task).glob("*.json")):
        record = read_record(file)
        check(record, AUDIT, str(file))
        folder = file.with_suffix("")
        for name in damaged(folder, record["sha256"]):
            raise RunError(f"{folder / name} is damaged or missing (its sha256 differs); repeat the audit {record['name']}")
        paths = {name: folder / name for name in record["sha256"]}
        found[file.stem] = record | {"files": paths, "stale": record["audited"] != audited_files(out, cell)}
    return found


def audited_files(out: Path, cell: str) -> str:
    """A hash of the sha256 of all files of a cell."""
    sums = read_record(out / "cells" / cell / "cell.json")["sha256"]
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()
