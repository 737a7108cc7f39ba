"""What two runs of the same cell have in common, for the tests and the scoreboard."""

from pathlib import Path

import numpy as np


def steps_in(checkpoints: Path) -> set[int]:
    """The steps of the checkpoints that are complete."""
    return {int(entry.name) for entry in checkpoints.glob("*") if entry.name.isdigit()}


def unfinished(checkpoints: Path) -> set[str]:
    """What Orbax is writing at this moment, or was writing when it was killed."""
    return {entry.name for entry in checkpoints.glob("*tmp*")}


def assert_same_bits(part: Path, reference: Path) -> None:
    """Equal learning curves and equal outcomes of all subsets."""
    with np.load(part / "outcomes.npz") as ours, np.load(reference / "outcomes.npz") as theirs:
        assert set(ours.files) == set(theirs.files)
        for name in ours.files:
            assert ours[name].dtype == theirs[name].dtype and ours[name].tobytes() == theirs[name].tobytes(), name
    assert (part / "curves.jsonl").read_bytes() == (reference / "curves.jsonl").read_bytes()
