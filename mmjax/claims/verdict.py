"""Verdicts as they are stored, and whether they still describe the project."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmjax.claims.claim import Claim
from mmjax.claims.fingerprints import CHECKOUT, code_fingerprint, data_fingerprint
from mmjax.claims.judge import RULINGS, Ruling
from mmjax.runs.folder import read_record, write_record
from mmjax.runs.schema import NUMBER, Each, Maybe, RunError, check

__all__ = ["DECISIVE", "Verdict", "read_verdict", "stale", "verdict_file", "write_verdict"]

# packages whose versions may change a number
DECISIVE = ("jax", "flax", "optax", "numpy", "scikit-learn", "pillow", "soundfile", "soxr", "tokenizers")
_RECORD = {
    "verdict": str,
    "rulings": [{"compared": str, "found": str, "verdict": str, "detectable": Maybe(NUMBER)}],
    "date": str,
    "seconds": NUMBER,
    "device": str,
    "versions": Each(str),
    "claim": str,
    "code": str,
    "shipped_data": str,
    "data": str,
}


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim as it was found.

    verdict: one of `judge.RULINGS`. date: ISO 8601. seconds: of all trainings and evaluations. device, versions: as in the
    run's results. claim, code, shipped_data: fingerprints at that time. data: the run's fingerprint of the loaded data.
    """

    verdict: str
    rulings: tuple[Ruling, ...]
    date: str
    seconds: float
    device: str
    versions: Mapping[str, str]
    claim: str
    code: str
    shipped_data: str
    data: str


def verdict_file(folder: Path, name: str) -> Path:
    """Where the verdict on a claim is stored. folder: of the claims."""
    return folder / "results" / f"{name}.json"


def write_verdict(file: Path, verdict: Verdict) -> None:
    """Writes the verdict with a hash of its content."""
    write_record(file, asdict(verdict) | {"rulings": [ruling._asdict() for ruling in verdict.rulings]})


def read_verdict(file: Path) -> Verdict | None:
    """The stored verdict; None if there is none. RunError, naming the file and the key, if it is damaged or was edited."""
    if not file.is_file():
        return None
    record = read_record(file)
    check(record, _RECORD, str(file))
    for key, value in [("verdict", record["verdict"]), *(("rulings", one["verdict"]) for one in record["rulings"])]:
        if value not in RULINGS:
            raise RunError(f"{file}: key '{key}' has {value!r}; it must be one of {', '.join(RULINGS)}")
    rulings = tuple(Ruling(**{name: one[name] for name in Ruling._fields}) for one in record["rulings"])
    return Verdict(**{name: record[name] for name in _RECORD} | {"rulings": rulings})


def stale(claim: Claim, verdict: Verdict, experiment: Path) -> list[str]:
    """What has changed since the verdict, of "claim", "code", "data" and "versions"; empty if it still holds.

    experiment: the file of the claim's command. The present versions are those pinned in constraints/, so that the answer is
    the same on every machine.
    """
    changed = {
        "claim": verdict.claim != claim.fingerprint,
        "code": not experiment.is_file() or verdict.code != code_fingerprint(experiment),
        "data": verdict.shipped_data != data_fingerprint(),
        "versions": _other_versions(verdict.versions),
    }
    return [name for name, differs in changed.items() if differs]


def _other_versions(versions: Mapping[str, Any]) -> bool:
    """Whether the versions differ from those pinned for that Python. Nothing pinned, as in an installed package: no."""
    python = ".".join(versions.get("python", "").split(".")[:2])
    file = CHECKOUT / "constraints" / f"python{python}.txt"
    if not file.is_file():
        return False
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)", file.read_text(), re.M))
    known = {name: versions[name] for name in DECISIVE if versions.get(name, "not installed") != "not installed"}
    return any(pinned.get(name, version) != version for name, version in known.items())
