"""Full disks, read-only folders and interrupted saves: one line of text, and the earlier checkpoints stay intact."""

import contextlib
import os
import resource
import shutil
import tempfile
from pathlib import Path

import pytest

from mmjax.train.checkpoint import CheckpointError, Checkpoints
from tests.faults.saved import METADATA, exact, fell_back, notes, restore, tree

# After a failed read, Orbax leaves its event loop to the garbage collector, which complains
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@contextlib.contextmanager
def unprivileged():
    """Permissions apply inside, even to root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_read_only_folder(saved):
    with tempfile.TemporaryDirectory() as parent:  # not tmp_path, whose parents are closed to other users
        os.chmod(parent, 0o755)
        folder = shutil.copytree(saved, Path(parent) / "checkpoints")
        checkpoints = Checkpoints(folder, METADATA)
        os.chmod(folder, 0o555)
        with unprivileged(), pytest.raises(CheckpointError, match=r"cannot write the checkpoint of step 6 .*earlier .* intact"):
            checkpoints.save(6, *tree(6), notes(6))
        with unprivileged(), pytest.raises(CheckpointError, match=r"cannot write checkpoints to .*new.*choose another --out"):
            Checkpoints(folder / "new")
        os.chmod(folder, 0o755)
        checkpoints.close()
        assert not fell_back(folder, "read-only")


def test_a_full_disk(copy):
    """Simulated by a limit on the size of files, which makes writes fail in the same way."""
    folder = copy()
    checkpoints = Checkpoints(folder, METADATA)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(CheckpointError, match=r"cannot write the checkpoint of step 6 to .*free space") as error:
            checkpoints.save(6, *tree(6), notes(6))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(error.value)
    assert (folder / INTERRUPTED).exists()
    checkpoints.close()
    assert not fell_back(folder, "full disk")


INTERRUPTED = "6.orbax-checkpoint-tmp"  # what Orbax leaves of a save of step 6 that failed or was killed


def test_an_interrupted_save_does_not_block_the_step(copy):
    folder = copy()
    shutil.copytree(folder / "2", folder / INTERRUPTED)
    checkpoints = Checkpoints(folder, METADATA)
    assert checkpoints.latest() == 4
    checkpoints.save(6, *tree(6), notes(6))
    checkpoints.close()
    state, best, *_ = restore(folder)
    assert exact((state, best), tree(6))


def test_the_folder_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot write checkpoints to .*file"):
        Checkpoints(tmp_path / "file" / "checkpoints")
