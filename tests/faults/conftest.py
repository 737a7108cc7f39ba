"""A folder with the checkpoints of steps 2 and 4, and copies of it to damage."""

import shutil

import pytest

from mmjax.train.checkpoint import Checkpoints
from tests.faults.saved import METADATA, notes, tree


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    checkpoints = Checkpoints(folder, METADATA)
    for step in (2, 4):
        checkpoints.save(step, *tree(step), notes(step))
    checkpoints.close()
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    """() -> a new copy of the folder with the checkpoints of steps 2 and 4."""

    def fresh():
        shutil.rmtree(tmp_path / "checkpoints", ignore_errors=True)
        return shutil.copytree(saved, tmp_path / "checkpoints")

    return fresh
