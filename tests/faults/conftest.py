"""A folder with the checkpoints of steps 2 and 4, and copies of it to damage."""

import shutil

import pytest

from tests.faults.saved import write_saved


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return write_saved(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture
def copy(saved, tmp_path):
    """() -> a new copy of the folder with the checkpoints of steps 2 and 4."""

    def fresh():
        shutil.rmtree(tmp_path / "checkpoints", ignore_errors=True)
        return shutil.copytree(saved, tmp_path / "checkpoints")

    return fresh
