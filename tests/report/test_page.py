"""The page: self-contained, escaped, well formed, the numbers of results.json, equal bytes for equal folders."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

from mmjax.report.numbers import interval, number
from mmjax.report.page import write_report
from mmjax.report.rows import ordered_cells
from mmjax.runs.read import read_run
from tests.report.parsed import Page

ROOT = Path(__file__).parents[2]


def test_the_page_is_self_contained(page, text):
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "base")
        for name in ("src", "href", "xlink:href", "srcset", "data", "poster", "action"):
            if name in attributes:
                assert attributes[name].startswith(("data:", "#")), (tag, name, attributes[name][:80])
    assert not re.search(r"@import|url\((?!#)", text)
    addresses = set(re.findall(r"https?://[^\s\"'<]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # namespaces, never fetched


def test_only_the_script_of_the_report_may_run(page, text):
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    expected = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [attributes["content"] for _, attributes in page.tags if "http-equiv" in attributes]
    assert policy == (
        "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{expected}'"
    )
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_ids_are_unique_or_name_equal_shapes(text):
    shapes: dict[str, set[str]] = {}
    for match in re.finditer(r'<(\w+) id="([^"]+)"[^>]*>', text):
        shapes.setdefault(match[2], set()).add(match[0])
    assert shapes and all(len(each) == 1 for each in shapes.values())


def _edited(folder: Path, edit) -> str:
    """The page of the run after `edit(results)`."""
    results = json.loads((folder / "results.json").read_text())
    edit(results)
    (folder / "results.json").write_text(json.dumps(results))
    return write_report([folder], folder / "report.html").read_text(encoding="utf-8")


def _scores(results, task: str) -> dict:
    """{row: scores} of a task's table, in its order."""
    names = [name for name in ordered_cells(results) if task in results["cells"][name]["tasks"]]
    scored = {name: results["cells"][name]["tasks"][task] for name in names}
    return {name: found["subsets"][found["complete"]] for name, found in scored.items()} | results["tasks"][task]["baselines"]


def test_every_number_of_the_tables_is_that_of_the_results(page, run_folder):
    results = read_run(run_folder).results
    lines = page.lines()
    for kind in ("verdicts", "fusion"):  # the table of results, and that of all metrics
        found = [i for i, line in enumerate(lines) if line[0] == "cell" and kind in line]
        for (task, described), start in zip(results["tasks"].items(), found, strict=True):
            scores, metrics = _scores(results, task), described["metrics"]
            header = [column.removesuffix(" ↓") for column in lines[start]]
            for line, (name, of) in zip(lines[start + 1 :], scores.items()):
                assert line[0].removeprefix("★") == name
                assert line[0].startswith("★") == (kind == "verdicts" and described["best_cell"] == name)
                for metric, estimate in of.items():
                    with_interval = kind == "fusion" or metric == described["headline"]
                    shown = interval if with_interval else lambda value, bounds: number(value["mean"], bounds)
                    assert line[header.index(metric)] == shown(estimate, metrics[metric]["bounds"]), (task, name, metric)
            assert line[header.index("parameters")] == ""  # of the last row, a baseline


def test_intervals_of_further_metrics_are_there_on_hover(page, run_folder):
    results = read_run(run_folder).results
    hovers = [of["title"] for tag, of in page.tags if tag == "td" and of.get("data-metric") == "ece"]
    assert hovers == [interval(scores["ece"]) for scores in _scores(results, "label").values()]


def test_details_have_the_digits_of_their_metric(page, run_folder):
    scored = read_run(run_folder).results["cells"]["gated"]["tasks"]
    lines = page.lines()
    details = scored["label"]["details"]
    assert ["food", *(interval(details[f"{metric}/food"]) for metric in ("precision", "recall", "f1"))] in lines
    start = lines.index(["", "median_rank ↓"])
    rank = scored["matching"]["details"]["median_rank/image -> text"]
    assert lines[start + 1] == ["image -> text", interval(rank, (1, None))]


def test_verdicts_are_symbols_with_their_numbers_on_hover(page, run_folder):
    signs = [of for _, of in page.tags if of.get("class", "").startswith("sign ") and "title" in of]
    found = read_run(run_folder).results["cells"]["gated"]["tasks"]["label"]["verdicts"]
    found = {verdict["against"]: verdict["difference"] for verdict in found if verdict["metric"] == "accuracy"}
    words = {"better": "better than", "inconclusive": "inconclusive against"}
    expected = [
        (f"sign {of['verdict']}", f"{words[of['verdict']]} {name}: {interval(of, signed=True)}, p {of['p']:.3f}")
        for name in ("text", "image", "audio", "majority", "tfidf_svm")
        for of in [found[name]]
    ]
    shown = [(sign["class"], sign["title"]) for sign in signs]
    assert shown[5:10] == expected  # of the second cell
    assert shown[10:13] == [("sign none", f"not compared with {name}") for name in ("text", "image", "audio")]
    assert all(sign["aria-label"] == sign["title"] for sign in signs)


def test_differences_and_what_would_settle_them(page, run_folder):
    results, lines = read_run(run_folder).results, page.lines()
    start = next(i for i, line in enumerate(lines) if "what would settle it" in line)
    for verdict in results["cells"]["gated"]["tasks"]["label"]["verdicts"]:
        if verdict["metric"] == "accuracy":
            difference, kind = verdict["difference"], {"single": "single modality"}.get(verdict["kind"], verdict["kind"])
            row = next(row for row in lines[start:] if row[:2] == ["gated", f"{verdict['against']} {kind}"])
            assert row[2].endswith(difference["verdict"])
            assert row[3:5] == [interval(difference, signed=True), f"{difference['p']:.3f}"]
            assert ("needs about 4,400 test units or 17 seeds" in row[5]) == (difference["verdict"] == "inconclusive")


def test_conclusions_of_both_tasks_lead_the_page(text):
    places = [text.index(part) for part in ("text alone (0.700 accuracy) beats gated (0.650)", "gated (accuracy",
                                            "gated (recall@1", "The tables make 16 comparisons", "Results on test: label",
                                            "Results on test: matching", "Learning curves")]  # fmt: skip
    assert places == sorted(places)


def test_data_is_text_and_never_markup(page, text):
    assert text.count("<script") == 1 and "<b>vehicles" not in text and "<i>kept" not in text and "a<b>" not in text
    shown = "".join(page.text)
    assert "A crow. <script>alert('caption')</script>" in shown
    assert "<b>vehicles</b> & $x$" in shown  # in the tables and, as real text, in the drawings
    assert "mathdefault" not in shown


def test_the_bytes_depend_on_the_folder_alone(make_run, run_folder, text, tmp_path):
    other, out = make_run(tmp_path / "elsewhere"), tmp_path / "report.html"
    command = [sys.executable, "-W", "error", "-m", "mmjax.report", str(other), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "gated (accuracy" in done.stdout
    assert out.read_text(encoding="utf-8") == text
    assert str(run_folder) not in text and "elsewhere" not in text


def test_several_runs_with_folds_and_groups_make_one_page(make_run, results, tmp_path):
    results["cells"] = {name: {**results["cells"][name], "folds": [0, 1]} for name in ("gated", "text", "image", "audio")}
    results["data"]["folds"] = 2
    for cell in results["cells"].values():
        cell["tasks"]["label"]["groups"] = results["cells"]["gated"]["tasks"]["label"]["groups"]
    folded = make_run(tmp_path / "folded", results=results)
    text = write_report([folded, folded], tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert [attributes["id"] for tag, attributes in page.tags if tag == "article"] == ["run-1", "run-2"]
    assert sum(attributes.get("aria-label") == "Learning curves of gated" for _, attributes in page.tags) == 2
    shown = " ".join("".join(page.text).split())
    assert "The test predictions of 2 folds are joined into one test set." in shown
    assert "median over seeds of each fold" in shown
    assert "Predictions are averaged over seeds where the task allows." in shown  # a part has all seeds of a fold
    groups, _ = re.findall(r'<h3 id="run-.-1-by-1">By language</h3>(.*?)<h3', text, re.S)
    first, _, others = groups.partition("<summary>Other cells</summary>")
    cells = [re.findall(r'aria-label="accuracy by language of (\w+)"', part) for part in (first, others)]
    assert cells == [["gated", "text", "image"], ["audio"]]  # the selected cell comes first


def test_a_run_with_nothing_optional_still_makes_a_page(make_run, tmp_path):
    folder = make_run(tmp_path / "run")
    (folder / "examples/index.json").unlink()

    def edit(results):
        results["cells"] = {"gated": results["cells"]["gated"]}
        results["tasks"] = {"label": results["tasks"]["label"]}
        results["tasks"]["label"] |= {"baselines": {}, "warnings": []}
        cell = results["cells"]["gated"]
        cell["stages"], results["data"]["dropped"], results["comparisons"]["count"] = [], {}, 0
        cell["tasks"] = {"label": {**cell["tasks"]["label"], "verdicts": [], "groups": {}, "panels": [], "details": {}}}

    shown = "".join(Page(_edited(folder, edit)).text)
    for heading in ("Results on test", "Subsets of the modalities", "Learning curves"):
        assert heading in shown
    for heading in ("By language", "Test examples", "Differences", "Details", "Training stages", "comparisons"):
        assert heading not in shown
    assert "does not show whether fusion helps" in shown


def test_numbers_that_do_not_exist_do_not_break_the_drawings(make_run, tmp_path):
    def edit(results):
        nothing = {**dict.fromkeys(("mean", "low", "high"), float("nan")), "per_seed": [None] * 3}  # json writes it as NaN
        label = results["cells"]["concat"]["tasks"]["label"]
        label["subsets"]["image+text"]["accuracy"] = nothing
        label["subsets"]["audio+image+text"]["accuracy"] = {**nothing, "per_seed": [0.5, 0.5, None]}
        gated = results["cells"]["gated"]["tasks"]["label"]
        gated["groups"]["language"]["fr"]["subsets"]["audio"]["accuracy"] = nothing
        gated["verdicts"][0]["difference"]["p"] = float("nan")
        results["tasks"]["label"]["baselines"]["tfidf_svm"] = {name: nothing for name in ("accuracy", "f1_macro", "ece")}

    text = _edited(make_run(tmp_path / "run"), edit)
    Page(text)
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)
    assert 'data-value="None"' not in text  # sorting takes an empty value for a missing one


def test_stages_of_the_cells_that_have_some(text):
    (section,) = re.findall(r"<h2>Training stages</h2>(.*?)</section>", text, re.S)
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", section, re.S)]
    assert rows[1:] == [
        ["gated", "1 to 80", "fusion, heads", "4,321", "0.415"],
        ["", "81 to 200", "all", "98,765", "–"],
    ]
