"""Fixtures of the Stamps tests: the pack from memory, and few items read for the z-scores."""

from functools import cache

import pytest

from mmjax.data.stamps import dataset as stamps_dataset
from mmjax.data.stamps.pack import StampsPack


@pytest.fixture(scope="module")
def in_memory():
    """The TFDS copy in the user's cache is not used, and 24 items per column are read to fit z-scores."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stamps_dataset, "open_source", cache(lambda root: (StampsPack(root), "StampsPack")))
        patch.setattr(stamps_dataset, "MAX_ITEMS", 24)
        yield


@pytest.fixture
def no_media(in_memory, monkeypatch):
    """Loading reads no images and decodes no speech: for tests of rows alone."""
    monkeypatch.setattr(stamps_dataset, "standardized", lambda column, *_: column)


@pytest.fixture(scope="module")
def pack():
    opened = StampsPack()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def records(pack):
    """{id: record of the index}."""
    return {record["id"]: record for record in pack.index}
