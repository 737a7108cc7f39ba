"""Fixtures: run folders of random numbers."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from mmjax.report import audits, joint, sections
from mmjax.report import page as pages
from mmjax.report.page import write_report
from tests.report.parsed import Page
from tests.report.run_folders import make_results, write_run


@pytest.fixture(scope="package", autouse=True)
def drawn_once():
    """Drawings of equal values are made once: most pages of these tests have the same ones, which take most of their time."""
    drawings: dict[Any, str] = {}

    def once(draw):
        def drawing(*values: Any) -> str:
            key = draw.__name__, pickle.dumps(values)
            if key not in drawings:
                drawings[key] = draw(*values)
            return drawings[key]

        return drawing

    with pytest.MonkeyPatch.context() as patch:
        for module, names in (
            (sections, ("draw_panel", "group_panel", "subset_panel")),
            (pages, ("learning_curves",)),
            (joint, ("overlaid_curves",)),
            (audits, ("draw_panel",)),
        ):
            for name in names:
                patch.setattr(module, name, once(getattr(module, name)))
        yield


@pytest.fixture(scope="session")
def make_run():
    """`write_run`, for tests that change the folder."""
    return write_run


@pytest.fixture
def results() -> dict[str, Any]:
    """A fresh copy of results.json, for tests that change it."""
    return make_results()


@pytest.fixture(scope="package")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that tests read and do not change."""
    return write_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="package")
def text(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of this run."""
    out = tmp_path_factory.mktemp("out") / "new" / "report.html"
    return write_report([run_folder], out).read_text(encoding="utf-8")


@pytest.fixture(scope="package")
def page(text: str) -> Page:
    """The page, read."""
    return Page(text)
