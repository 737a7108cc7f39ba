"""The terminal's table: it fits, its numbers are those of results.json, and names are never markup."""

import io

import pytest
from rich.console import Console

from mmjax.report.numbers import interval, number
from mmjax.report.rows import folds_text
from mmjax.report.tables import print_results, results_table


def _text(results, task: str = "label", width: int = 80, told: int | None = None) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(results_table(results, task, told or width))
    return console.file.getvalue()


@pytest.mark.parametrize(("width", "told"), [(80, 80), (80, 100), (100, 100), (140, 140)])
@pytest.mark.parametrize("task", ["label", "matching"])
def test_table_fits_and_keeps_every_number(task, width, told, results):
    text = _text(results, task, width, told)
    assert max(map(len, text.splitlines())) <= width
    metrics = results["tasks"][task]["metrics"]
    first, *rest = metrics
    for cell in results["cells"].values():
        if task not in cell["tasks"]:
            continue
        scored = cell["tasks"][task]
        scores = scored["subsets"][scored["complete"]]
        line = next(line for line in text.splitlines() if interval(scores[first]) in line)
        shown = line.split(interval(scores[first]))[1].split()[:2]
        assert shown == [number(scores[metric]["mean"], metrics[metric]["bounds"]) for metric in rest]
    for scores in results["tasks"][task]["baselines"].values():
        assert interval(scores[first]) in text
    assert "[low, high]" in text  # rich would read it as markup


def test_order_and_verdict_words(results):
    results["cells"] = dict(sorted(results["cells"].items(), key=lambda item: len(item[1]["modalities"])))
    lines = _text(results, width=140).splitlines()
    row = {name: next(i for i, line in enumerate(lines) if line.startswith(name))
           for name in ("concat", "gated *", "text", "image", "audio", "majority", "tfidf_svm")}  # fmt: skip
    assert list(row.values()) == sorted(row.values())
    assert lines[row["gated *"]].rstrip().endswith("beats majority, image, audio")
    assert lines[row["gated *"] + 1].strip() == "inconclusive: tfidf_svm, text"
    narrow = _text(results, width=80)
    assert "+ majority, image, audio" in narrow and "? tfidf_svm, text" in narrow
    assert "+ better, ? inconclusive, - worse, = identical" in " ".join(narrow.split())


def test_names_that_look_like_markup_are_kept(results):
    results["cells"]["late[red]mean"] = {**results["cells"]["gated"], "fusion": "[bold]Late()"}
    text = _text(results, width=130)
    assert "late[red]mean" in text and "[bold]Late()" in text


def test_lower_is_better_and_folds_are_marked(results):
    text = _text(results)
    assert "ece ↓" in text and "accuracy ↓" not in text and "↓ lower is better" in text and "folds" not in text
    results["data"]["folds"] = 5
    for cell in results["cells"].values():
        cell["folds"] = [0, 1, 2, 3, 4]
    assert "label on test (47 units, 5 folds)" in _text(results)
    assert folds_text([0, 2], 5) == "2 of 5 folds" and folds_text(None, 5) == ""


def test_print_results_gives_each_table_its_conclusions(results):
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    print_results(results, console)
    text = console.file.getvalue()
    parts = ["label on test", "! text alone (0.700 accuracy) beats gated (0.650)", "? gated (accuracy", "matching on test",
             "+ gated (recall@1", "The tables make 16 comparisons by accuracy and recall@1."]  # fmt: skip
    places = [text.index(part) for part in parts]
    assert places == sorted(places) and max(map(len, text.splitlines())) <= 80
