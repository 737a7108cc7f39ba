"""Fixtures: run folders of random numbers."""

from pathlib import Path
from typing import Any

import pytest

from mmjax.report.page import write_report
from tests.report.parsed import Page
from tests.report.run_folders import make_results, write_run


@pytest.fixture(scope="session")
def make_run():
    """`write_run`, for tests that change the folder."""
    return write_run


@pytest.fixture
def results() -> dict[str, Any]:
    """A fresh copy of results.json, for tests that change it."""
    return make_results()


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that tests read and do not change."""
    return write_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="session")
def text(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of this run."""
    out = tmp_path_factory.mktemp("out") / "new" / "report.html"
    return write_report([run_folder], out).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def page(text: str) -> Page:
    """The page, read."""
    return Page(text)
