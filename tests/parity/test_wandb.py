"""Weights & Biases writes the learning curves of every seed in offline mode."""

import time

import pytest

from mmjax.experiment.loggers import logging_to

pytestmark = pytest.mark.parity


def test_offline_runs_hold_the_values(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with logging_to(["wandb"], tmp_path, "concat", (0, 1)) as log:
        log({"step": 5, "train_loss": [1.5, 2.25]})
    (file,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    expected = (b"train_loss/seed0", b"train_loss/seed1", b"1.5", b"2.25", b"concat")
    end = time.monotonic() + 30  # its service writes the file after the run has ended
    while time.monotonic() < end and not all(part in file.read_bytes() for part in expected):
        time.sleep(0.1)
    assert [part for part in expected if part not in file.read_bytes()] == []
