"""Full disks, read-only folders and interrupted saves: one line of text, and the earlier checkpoints stay intact."""

import os
import shutil
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from mmjax.train.checkpoint import CheckpointError, Checkpoints
from tests.faults.disk import full_disk, unprivileged
from tests.faults.saved import METADATA, exact, fell_back, notes, restore, tree

# After a failed read, Orbax leaves its event loop to the garbage collector, which complains
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def test_a_read_only_folder(saved):
    with tempfile.TemporaryDirectory() as parent:  # not tmp_path, whose parents are closed to other users
        os.chmod(parent, 0o755)
        folder = shutil.copytree(saved, Path(parent) / "checkpoints")
        checkpoints = Checkpoints(folder, METADATA)
        os.chmod(folder, 0o555)
        with unprivileged(), pytest.raises(CheckpointError, match=r"cannot write the checkpoint of step 6 .*earlier .* intact"):
            checkpoints.save(6, *tree(6), notes(6))
            checkpoints.wait()
        with unprivileged(), pytest.raises(CheckpointError, match=r"cannot write checkpoints to .*new.*choose another --out"):
            Checkpoints(folder / "new")
        os.chmod(folder, 0o755)
        checkpoints.close()
        assert not fell_back(folder, "read-only")


NEXT = {
    "wait": lambda checkpoints: checkpoints.wait(),
    "save": lambda checkpoints: checkpoints.save(8, *tree(8), notes(8)),
    "close": lambda checkpoints: checkpoints.close(),
}


@pytest.mark.parametrize("call", NEXT)
def test_a_full_disk_is_an_error_of_the_next_call(copy, call):
    folder = copy()
    checkpoints = Checkpoints(folder, METADATA)
    with full_disk():
        checkpoints.save(6, *tree(6), notes(6))
        with pytest.raises(CheckpointError, match=r"cannot write the checkpoint of step 6 to .*free space") as error:
            NEXT[call](checkpoints)
    assert "\n" not in str(error.value)
    assert (folder / INTERRUPTED).exists()
    checkpoints.close()  # the error is raised once
    assert not fell_back(folder, "full disk")


def test_training_goes_on_while_a_checkpoint_is_written(copy, monkeypatch):
    """The arrays change after `save` returns; the checkpoint has what they were."""
    folder, go_on = copy(), threading.Event()
    checkpoints = Checkpoints(folder, METADATA)
    save = checkpoints._manager.save
    monkeypatch.setattr(checkpoints._manager, "save", lambda *args, **kwargs: go_on.wait(60) and save(*args, **kwargs))
    state, best = tree(6)
    on_host = np.array(state.params["dense"]["kernel"])
    given = state.replace(params={**state.params, "dense": {**state.params["dense"], "kernel": on_host}})
    checkpoints.save(6, given, best, notes(6))
    assert checkpoints.latest() == 4
    on_host[:] = 0
    go_on.set()
    checkpoints.close()
    restored, restored_best, *_ = restore(folder)
    assert exact((restored, restored_best), tree(6))


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
