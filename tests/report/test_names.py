"""Names in drawings: long ones keep what distinguishes them, and names that matplotlib treats in its own way are drawn."""

import json

from mmjax.report.page import write_report
from mmjax.report.panels import draw_panel
from mmjax.report.plots import group_panel
from mmjax.report.svg import shorten
from mmjax.tasks import panels
from tests.report.parsed import Page

ESTIMATE = {"mean": 0.5, "low": 0.4, "high": 0.6, "per_seed": [0.5]}


def test_long_names_lose_their_middle():
    cells = ["gated_multimodal_transformer.0.25", "gated_multimodal_transformer.0.5"]
    assert [shorten(cell) for cell in cells] == ["gated_multimod…nsformer.0.25", "gated_multimod…ansformer.0.5"]
    assert shorten("a" * 28) == "a" * 28 and shorten("abcdef", 4) == "ab…f" and shorten("abcdef", 5) == "ab…ef"


def test_a_group_with_a_long_name_keeps_its_count():
    groups = {f"a value of this column, number {k}": {"units": 1000 + k, "subsets": {"x": {"m": ESTIMATE}}} for k in (3, 4)}
    drawn = Page(group_panel("cell", "column", "m", groups, [("o", "x")], (0.0, 1.0), (0.0, 1.0))).text
    assert {"a value of…, number 3 (1003)", "a value of…, number 4 (1004)"} <= set(drawn)


def test_names_that_start_with_an_underscore_are_in_the_legend():
    drawn = Page(draw_panel(panels.lines("t", ["_one", "two"], [0, 1], [[0.1, 0.2], [0.3, 0.4]]), "panels[0]")).text
    assert {"_one", "two"} <= set(drawn)


def test_characters_that_are_not_unicode_are_replaced(make_run, results, tmp_path):
    """In the id of an example, and in the name of a class, which is in a table, in a matrix and in a panel of groups."""
    gated, name = results["cells"]["gated"]["tasks"]["label"], "a\ud800b"
    results["cells"] = {"gated": {**results["cells"]["gated"], "tasks": {"label": {**gated, "verdicts": []}}}}
    results["tasks"] = {"label": results["tasks"]["label"]}
    gated = results["cells"]["gated"]["tasks"]["label"]
    gated["details"][f"f1/{name}"], gated["groups"]["language"][name] = ESTIMATE, gated["groups"]["language"].pop("fr")
    gated["panels"] = [panels.matrix(name, [name], ["c"], [[1.0]])]
    folder = make_run(tmp_path / "run", results=results)
    index = json.loads((folder / "examples/index.json").read_text())
    index[0]["id"] = name
    (folder / "examples/index.json").write_text(json.dumps(index))
    page = Page(write_report([folder], tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.text.count("a?b") >= 4 and "a?b (12)" in page.text  # of the table, the example, the matrix and its title
