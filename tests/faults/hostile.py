"""All hostile files, read in one process with little memory, and what is expected of each; for the tests and the scoreboard."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.faults import hostile_media, hostile_settings, hostile_weights

ROOT = Path(__file__).parents[2]
FILES = hostile_weights.FILES | hostile_settings.FILES
MEDIA = {"image": hostile_media.IMAGES, "audio": hostile_media.AUDIO, "text": hostile_media.TEXTS}
PATTERNS = {f"{kind}: {name}": ("DataError", pattern) for kind, all in MEDIA.items() for name, (_, pattern) in all.items()}
PATTERNS["audio seconds: noise"] = ("DataError", "it should be MP3, Ogg, FLAC or WAV")
PATTERNS |= {f"ctranslate2: {name}": ("WeightsError", pattern) for name, (_, pattern) in hostile_weights.CTRANSLATE2.items()}
PATTERNS |= {name: ("WeightsError", pattern) for name, (_, pattern) in FILES.items()}


def read_all(folder: Path) -> dict[str, dict[str, Any]]:
    """{name: what reading the file gave}. One process reads all; its address space may grow by 500 MB."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "error"}
    command = [sys.executable, str(ROOT / "tests" / "faults" / "run_hostile.py"), str(folder)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert not list(folder.rglob("executed*"))
    return {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}


def assert_one_line(name: str, found: dict[str, Any]) -> None:
    """found: what reading the file of this name gave."""
    error, pattern = PATTERNS[name]
    assert found["error"] == error, found
    assert "given" in found["message"] and len(found["message"].splitlines()) == 1 and len(found["message"]) < 1500, found
    assert re.search(pattern, found["message"]), found
    assert "memory" not in found["message"]  # refused by its declared size, not by the limit of the process
    assert found["seconds"] < 1, found
