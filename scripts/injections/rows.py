"""The rows of the scoreboard `scripts/faults.py`: what is injected, how often, and what is expected."""

from injections import checkpoints, data, inputs, processes, runs
from injections.row import Row

__all__ = ["ROWS"]

ROWS = (
    Row(1, "kill -9 at a random moment", 100, 1, processes.kills),
    Row(2, "kill -9 inside a save", 50, 1, processes.kills_in_saves),
    Row(3, "SIGTERM, SIGINT, two signals", 20, 1, processes.signals),
    Row(4, "bit flips in arrays of checkpoints", 500, 20, checkpoints.flips_in_arrays),
    Row(5, "files of checkpoints truncated, emptied, zeroed, deleted", None, 12, checkpoints.harmed_files),
    Row(6, "bit flips in notes of checkpoints", 300, 10, checkpoints.flips_in_notes),
    Row(7, "bit flips in finished runs", 240, 20, runs.flips),
    Row(8, "full disks and read-only folders", 20, 5, checkpoints.disks),
    Row(9, "bit flips in records and features", 200, 20, data.flips),
    Row(10, "another number of shards within an epoch", 12, 12, data.shards),
    Row(11, "checkpoints restored on other devices", 16, 2, checkpoints.devices),
    Row(12, "one of two processes killed", 10, 0, processes.lost_peers),
    Row(13, "NaN and infinity in training data", 30, 8, data.nonfinite),
    Row(14, "mistakes on the command line", None, 12, inputs.mistakes),
    Row(15, "hostile images, sounds, texts and weights", None, None, inputs.hostile),
    Row(16, "races of two processes on a folder or cache", 10, 2, processes.races),
)
