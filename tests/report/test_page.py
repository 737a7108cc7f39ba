"""The page: self-contained, escaped, well formed, the numbers of results.json, equal bytes for equal folders."""

import base64
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mmjax.report.numbers import interval
from mmjax.report.page import write_report
from mmjax.report.rows import ordered_cells
from mmjax.runs.read import read_run

ROOT = Path(__file__).parents[2]
VOID = {"meta", "img", "br", "hr", "input", "link"}


class Page(HTMLParser):
    """Every tag must be closed by its own end; keeps the tags with their attributes, and the rows of the tables."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.rows, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else at {self.getpos()}"

    def handle_data(self, data):
        self.text.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def text(run_folder, tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("out") / "new" / "report.html"
    return write_report([run_folder], out).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def test_the_page_is_self_contained(page, text):
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "base")
        for name in ("src", "href", "xlink:href", "srcset", "data", "poster", "action"):
            if name in attributes:
                assert attributes[name].startswith(("data:", "#")), (tag, name, attributes[name][:80])
    assert not re.search(r"@import|url\((?!#)", text)
    addresses = set(re.findall(r"https?://[^\s\"'<]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # namespaces, never fetched


def test_ids_are_unique_or_name_equal_shapes(text):
    shapes: dict[str, set[str]] = {}
    for match in re.finditer(r'<(\w+) id="([^"]+)"[^>]*>', text):
        shapes.setdefault(match[2], set()).add(match[0])
    assert shapes and all(len(each) == 1 for each in shapes.values())



def _lines(page: Page) -> list[list[str]]:
    return [[" ".join(cell.split()) for cell in row] for row in page.rows]


def _edited(folder: Path, edit) -> str:
    """The page of the run after `edit(results)`."""
    results = json.loads((folder / "results.json").read_text())
    edit(results)
    (folder / "results.json").write_text(json.dumps(results))
    return write_report([folder], folder / "report.html").read_text(encoding="utf-8")


def test_every_number_of_the_tables_is_that_of_the_results(page, run_folder):
    results = read_run(run_folder).results
    lines = _lines(page)
    starts = [i for i, line in enumerate(lines) if line[:1] == ["cell"] and "verdicts" in line]
    for (task, described), start in zip(results["tasks"].items(), starts, strict=True):
        names = [name for name in ordered_cells(results) if task in results["cells"][name]["tasks"]]
        scored = {name: results["cells"][name]["tasks"][task] for name in names}
        scores = {name: found["subsets"][found["complete"]] for name, found in scored.items()} | described["baselines"]
        header = [column.removesuffix(" ↓") for column in lines[start]]
        for line, (name, of) in zip(lines[start + 1 :], scores.items()):
            assert line[0].split()[0] == name
            for metric, estimate in of.items():
                shown = interval(estimate, described["metrics"][metric]["bounds"])
                assert line[header.index(metric)] == shown, (task, name, metric)
        assert line[header.index("parameters")] == ""  # of the last row, a baseline


def test_details_have_the_digits_of_their_metric(page, run_folder):
    scored = read_run(run_folder).results["cells"]["gated"]["tasks"]
    lines = _lines(page)
    details = scored["label"]["details"]
    assert ["food", *(interval(details[f"{metric}/food"]) for metric in ("precision", "recall", "f1"))] in lines
    start = lines.index(["", "median_rank ↓"])
    rank = scored["matching"]["details"]["median_rank/image -> text"]
    assert lines[start + 1] == ["image -> text", interval(rank, (1, None))]


def test_differences_and_what_would_settle_them(page, run_folder):
    results, lines = read_run(run_folder).results, _lines(page)
    start = next(i for i, line in enumerate(lines) if "text single modality" in line)
    rivals = [column.split()[0] for column in lines[start]]
    row = next(line for line in lines[start:] if line[0] == "gated")
    for verdict in results["cells"]["gated"]["tasks"]["label"]["verdicts"]:
        if verdict["metric"] == "accuracy":
            difference = verdict["difference"]
            shown = row[rivals.index(verdict["against"])]
            assert f"{difference['verdict']} {interval(difference, signed=True)}" in shown
            assert ("needs about 4,400 test units or 17 seeds" in shown) == (difference["verdict"] == "inconclusive")


def test_conclusions_of_both_tasks_lead_the_page(text):
    places = [text.index(part) for part in ("text alone (0.700 accuracy) beats gated (0.650)", "gated (accuracy",
                                            "gated (recall@1", "The tables make 16 comparisons", "Results on test: label",
                                            "Results on test: matching", "Learning curves")]  # fmt: skip
    assert places == sorted(places)


def test_data_is_text_and_never_markup(page, text):
    assert "<script" not in text and "<b>vehicles" not in text and "<i>kept" not in text and "a<b>" not in text
    shown = "".join(page.text)
    assert "A crow. <script>alert('caption')</script>" in shown
    assert "<b>vehicles</b> & $x$" in shown  # in the tables and, as real text, in the drawings
    assert "mathdefault" not in shown


def test_images_and_sounds_are_embedded_byte_for_byte(page, run_folder):
    for tag, kind, suffix in (("img", "image/png", "png"), ("audio", "audio/mpeg", "mp3")):
        embedded = [attributes["src"] for name, attributes in page.tags if name == tag]
        index = json.loads((run_folder / "examples/index.json").read_text())
        files = [run_folder / "examples" / e[{"png": "image", "mp3": "sound"}[suffix]] for e in index
                 if e[{"png": "image", "mp3": "sound"}[suffix]]]  # fmt: skip
        assert len(files) > 2
        assert [base64.b64decode(uri.removeprefix(f"data:{kind};base64,")) for uri in embedded] == [
            file.read_bytes() for file in files
        ]
    assert "no sound" in " ".join(page.text)


def test_cards_show_the_answers_of_the_selected_cell(page, run_folder):
    shown, lines = read_run(run_folder).shown("gated"), _lines(page)
    answers = [line for line in lines if line and line[0] in ("all", "audio", "image", "text") and len(line) in (2, 3)]
    expected = []
    for task in ("label", "matching"):
        for entry in shown[task]:
            for subset, answer in entry.items():
                mark = {None: "", True: "✓ correct: ", False: "✗ wrong: "}[answer and answer["correct"]]
                score = ["0.75"] if answer and answer["score"] is not None else []
                words = f"{mark}{answer['predicted']}" if answer else "absent"
                expected.append(["all" if "+" in subset else subset, words, *score])
    assert [line for line in answers if "correct:" in line[1] or "wrong:" in line[1] or line[1] in ("absent", "rank 3 of 47")
            ] == expected  # fmt: skip


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
    groups, _ = re.findall(r"<h2>By language: label</h2>(.*?)</section>", text, re.S)
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
        results["tasks"]["label"]["baselines"]["tfidf_svm"] = {name: nothing for name in ("accuracy", "f1_macro", "ece")}

    text = _edited(make_run(tmp_path / "run"), edit)
    Page(text)
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)



def test_stages_of_the_cells_that_have_some(text):
    (section,) = re.findall(r"<h2>Training stages</h2>(.*?)</section>", text, re.S)
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", section, re.S)]
    assert rows[1:] == [
        ["gated", "1 to 80", "fusion, heads", "4,321", "0.415"],
        ["", "81 to 200", "all", "98,765", "–"],
    ]
