"""The experiments with real weights, in small sizes. The weights are fetched through pip."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmjax.runs.read import read_run

pytestmark = pytest.mark.parity
ROOT = Path(__file__).parents[3]
SMALL = "--seeds 2 --steps 12 --batch 8 --evaluate-every 6".split()


@pytest.mark.parametrize(
    ("name", "cells", "flags"),
    [
        ("stamps_pretrained", "concat from_scratch", "--data.speech-languages lt --data.image-size 16"),
        ("stamps_pretrained", "kernel", "--data.speech-languages lt"),
        ("transfer", "features lora", "--steps 2 --evaluate-every 1"),
        ("matching_vgg_gru", "pretrained", "--data.image-size 16"),
        ("cross_attention", "pretrained", "--data.image-size 16"),
    ],
)
def test_with_real_weights(name, cells, flags, tmp_path):
    command = [sys.executable, f"experiments/{name}.py", *cells.split(), *SMALL, *flags.split(), "--out", tmp_path / "run"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    finished = subprocess.run([str(part) for part in command], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert set(read_run(tmp_path / "run").results["cells"]) == set(cells.split())


@pytest.mark.parametrize("name", ["stamps_pretrained", "transfer", "matching_vgg_gru", "cross_attention"])
def test_every_cell_fits_its_data(name, monkeypatch):
    import runpy

    from mmjax.experiment.load import load_and_check

    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    file = runpy.run_path(str(ROOT / "experiments" / f"{name}.py"))
    load_and_check(file["ABLATIONS"] | file.get("BY_NAME", {}))
