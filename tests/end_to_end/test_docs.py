"""The pages of docs/: the site builds without a warning, commands fit their experiments, and code runs."""

import re
import runpy
import shlex

import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.experiment.check import check
from mmjax.experiment.cli import parse
from mmjax.types import Batch
from tests.end_to_end.conftest import ROOT
from tests.end_to_end.test_readme import PYTHON, README
from tests.tasks.test_generate import pictures

PAGES = {path.name: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
COMMANDS = [
    (page, words)
    for page, text in PAGES.items()
    for block in re.findall(r"```bash\n(.*?)```", text, re.S)
    for line in block.splitlines()
    if (words := shlex.split(line, comments=True))
]


@pytest.mark.end_to_end
def test_the_site_builds_without_a_warning(commands, tmp_path):
    commands.finish(commands.launch("scripts/docs", "--site-dir", tmp_path / "site"))
    for page in PAGES:
        assert (tmp_path / "site" / page.replace(".md", ".html")).stat().st_size > 5_000
    assert "Nagrani" in (tmp_path / "site" / "api" / "fusion.html").read_text()  # of a docstring
    fetched = re.compile(r'<(?:link|script|img)[^>]*(?:href|src)="(?!https?://[^"]*"[^>]*rel="canonical)https?://')
    assert not [page for page in (tmp_path / "site").glob("*.html") if fetched.search(page.read_text())]


def test_every_page_is_in_the_menu_and_the_readme_links_to_it():
    menu = (ROOT / "scripts" / "mkdocs.yml").read_text()
    for page in PAGES:
        assert f": {page}\n" in menu, page
        assert page == "index.md" or f"(docs/{page})" in README, page


def test_there_are_commands():
    assert len(COMMANDS) > 3


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[" ".join(words)[:60] for _, words in COMMANDS])
def test_commands_fit_their_experiments(page, words, monkeypatch):
    """Cells and flags exist. The commands of the README, which are also in docs/, run; all experiments run, shrunk."""
    if words[0].startswith("scripts/"):
        assert (ROOT / words[0]).is_file(), page
    elif words[:2] == ["python", "-m"]:
        assert (ROOT / (words[2].replace(".", "/") + ".py")).is_file() or (ROOT / words[2].replace(".", "/")).is_dir(), page
    elif words[0] == "python" and words[1].startswith("experiments/"):
        monkeypatch.syspath_prepend(ROOT / "experiments")
        file = runpy.run_path(str(ROOT / words[1]))
        cells = file.get("FULL") if "--full" in words else file["ABLATIONS"]
        try:
            parse(cells, words[2:], words[1], file.get("BY_NAME"))
        except SystemExit as stop:
            assert stop.code == 0 and "--help" in words, page
    else:
        assert words[0] in ("pip", "git", "cd", "export", "python"), f"{page}: {words}"


def test_code_of_the_readme_is_the_same_in_the_pages():
    assert PYTHON[0] in PAGES["table_in_a_paper.md"]
    assert PYTHON[1] in PAGES["your_own_parts.md"]


@pytest.mark.parametrize("page", PAGES)
def test_python_code_is_valid(page):
    for block in re.findall(r"```python\n(.*?)```", PAGES[page], re.S):
        compile(block, page, "exec")


def test_the_captioner_of_the_page_is_valid():
    block = re.findall(r"```python\n(.*?)```", PAGES["text_generation.md"], re.S)[0]
    exec(compile(block, "text_generation.md", "exec"), found := {})
    images, captions = pictures()
    experiment = found["captioner"](list(images), captions, ["train", "test", "validation"] * 16)
    check(experiment, experiment.data.load())


def test_the_loss_of_ones_own():
    block = re.findall(r"```python\n(.*?)```", PAGES["your_own_parts.md"], re.S)[1]
    exec(compile(block, "your_own_parts.md", "exec"), found := {})
    # p = (.8, .2) and target 0: -log .8 + .1 * (.8 log .8 + .2 log .2) * -1, by hand.
    logits = jnp.log(jnp.array([[0.8, 0.2]])) + 5
    batch = Batch({}, {}, {"label": jnp.array([0])}, jnp.ones(1))
    entropy = -(0.8 * np.log(0.8) + 0.2 * np.log(0.2))
    np.testing.assert_allclose(found["confident"]({"label": logits}, batch), [-np.log(0.8) + 0.1 * entropy], rtol=1e-5)
