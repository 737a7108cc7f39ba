"""The page: self-contained, escaped, well formed, the numbers of results.json, equal bytes for equal folders."""

import base64
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mmjax.report.examples import cards
from mmjax.report.page import _differences, _duration, write_report
from mmjax.runs.read import read_run
from mmjax.runs.schema import full_subset
from mmjax.report.tables import interval, ordered_cells

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


def test_every_number_of_the_table_is_that_of_the_results(page, run_folder):
    results = read_run(run_folder).results
    lines = [[" ".join(cell.split()) for cell in row] for row in page.rows]
    header = lines[0]
    column = {name: header.index(name) for name in ("accuracy", "macro F1", "ECE", "parameters", "best alone")}
    for name, line in zip(ordered_cells(results), lines[1:]):
        cell = results["cells"][name]
        full = cell["subsets"][full_subset(cell)]
        assert line[0].split()[0] == name
        assert line[column["accuracy"]] == interval(full["accuracy"])
        assert line[column["macro F1"]] == interval(full["f1_macro"])
        assert line[column["ECE"]] == interval(full["ece"])
        assert line[column["parameters"]] == f"{cell['parameters']:,}"
        for verdict in cell["verdicts"]:
            against = {"majority": "against majority", "best_single": "against best single: text"}[verdict["against"]]
            said = line[header.index(against)]
            assert said.endswith(f"{verdict['verdict']} {interval(verdict['difference'], signed=True)}")
        if len(cell["modalities"]) > 1:
            strongest = max(cell["modalities"], key=lambda m: cell["subsets"][m]["accuracy"]["mean"])
            assert line[column["best alone"]] == f"{strongest} {cell['subsets'][strongest]['accuracy']['mean']:.3f}"
    for name, line in zip(results["floors"], lines[1 + len(results["cells"]):]):
        assert line[column["accuracy"]] == interval(results["floors"][name]["accuracy"])
        assert line[column["macro F1"]] == interval(results["floors"][name]["f1_macro"])


def test_data_is_text_and_never_markup(page, text):
    assert "<script" not in text and "<b>vehicles" not in text and "<i>kept" not in text
    said = "".join(page.text)
    assert "A crow. <script>alert('caption')</script>" in said
    assert "<b>vehicles</b> & $x$" in said  # in the tables and, as real text, in the drawings


def test_pictures_and_sounds_are_embedded_byte_for_byte(page, run_folder):
    for tag, kind, suffix in (("img", "image/png", "png"), ("audio", "audio/mpeg", "mp3")):
        embedded = [attributes["src"] for name, attributes in page.tags if name == tag]
        files = sorted((run_folder / "examples").glob(f"*.{suffix}"))
        assert [base64.b64decode(uri.removeprefix(f"data:{kind};base64,")) for uri in embedded] == [
            file.read_bytes() for file in files
        ]
    assert "no sound" in " ".join(page.text)


def test_a_card_says_what_the_cell_said(run_folder):
    run = read_run(run_folder)
    probabilities = run.probabilities("gated")
    for card, example in zip(cards(run, "gated"), run.examples()):
        assert [o.subset for o in card.opinions] == ["audio+image+text", "audio", "image", "text"]
        for opinion in card.opinions:
            row = probabilities[opinion.subset][example["row"]]
            if opinion.subset == "audio" and example["sound"] is None:
                assert opinion.said is None  # the model's prior is not an opinion on a sound that is not there
            else:
                assert opinion.probability == row.max() and opinion.right == (opinion.said == card.label)


def test_equal_folders_give_equal_bytes(make_run, run_folder, text, tmp_path):
    again = write_report([make_run(tmp_path / "elsewhere")], tmp_path / "again.html")
    assert again.read_text(encoding="utf-8") == text
    assert str(run_folder) not in text and "elsewhere" not in text


def test_the_bytes_do_not_depend_on_the_process(run_folder, text, tmp_path):
    out = tmp_path / "report.html"
    command = [sys.executable, "-W", "error", "-m", "mmjax.report", str(run_folder), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "beats the majority class" in done.stdout
    assert out.read_text(encoding="utf-8") == text


def test_several_runs_make_one_page(make_run, run_folder, tmp_path):
    other = make_run(tmp_path / "other", seed=1, outcome="loss")
    page = Page(write_report([run_folder, other], tmp_path / "report.html").read_text(encoding="utf-8"))
    assert [attributes["id"] for tag, attributes in page.tags if tag == "article"] == ["run-1", "run-2"]
    assert "does NOT beat text alone" in "".join(page.text)


def test_a_run_with_nothing_optional_still_makes_a_page(make_run, tmp_path):
    folder = make_run(tmp_path / "run")
    results = json.loads((folder / "results.json").read_text())
    results["floors"] |= {"tfidf_svm": None, "best_single": None}
    results["cells"] = {"gated": results["cells"]["gated"]}
    cell = results["cells"]["gated"]
    cell["verdicts"], cell["languages"], results["task"]["dropped"] = [], {}, {}
    cell["per_class"]["food"]["precision"] = {"mean": None, "low": None, "high": None}
    cell["confusion"][1] = [0, 0, 0]  # a class without a test row
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "examples/index.json").write_text("[]")
    said = "".join(Page(write_report([folder], tmp_path / "report.html").read_text(encoding="utf-8")).text)
    assert "By language" not in said and "Test examples" not in said and "cannot say whether fusion helps" in said


def test_numbers_that_do_not_exist_do_not_break_the_drawings(make_run, tmp_path):
    folder = make_run(tmp_path / "run")
    results = json.loads((folder / "results.json").read_text())
    nothing = dict.fromkeys(("mean", "low", "high"), float("nan"))  # json writes it as NaN
    results["cells"]["concat"]["subsets"]["image+text"]["accuracy"] = {**nothing, "per_seed": [float("nan")] * 3}
    results["cells"]["concat"]["subsets"]["audio+image+text"]["accuracy"] = {**nothing, "per_seed": [0.5, 0.5, None]}
    results["floors"]["tfidf_svm"] = {"accuracy": nothing, "f1_macro": nothing}
    (folder / "results.json").write_text(json.dumps(results))
    text = write_report([folder], tmp_path / "report.html").read_text(encoding="utf-8")
    Page(text)
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_settings_that_differ_are_found_wherever_they_are():
    a = {"fusion": {"type": "Gated", "width": 64}, "optim": {"lr": 0.001}, "steps": 400}
    b = {"fusion": {"type": "Concat"}, "optim": {"lr": 0.001}, "steps": 400, "encoders": {}}
    assert _differences([a, b]) == {
        "fusion.type": ["Gated", "Concat"],
        "fusion.width": ["64", "–"],
        "encoders": ["–", "{}"],
    }
    assert _differences([a, a]) == {}


def test_durations_are_for_people():
    said = {0.04: "0.0 s", 59.9: "59.9 s", 311: "5 min 11 s", 3600: "1 h 0 min", 7322: "2 h 2 min"}
    assert {seconds: _duration(seconds) for seconds in said} == said


def test_no_page_of_no_runs(tmp_path):
    with pytest.raises(ValueError, match="at least one run folder"):
        write_report([], tmp_path / "report.html")


def test_unknown_media_are_refused(make_run, tmp_path):
    folder = make_run(tmp_path / "run")
    shutil.move(folder / "examples/0.png", folder / "examples/0.svg")  # an SVG is a document, which may hold scripts
    index = folder / "examples/index.json"
    index.write_text(index.read_text().replace("0.png", "0.svg"))
    with pytest.raises(ValueError, match=r"cannot show '\.svg'"):
        write_report([folder], tmp_path / "report.html")


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2"])
def test_without_the_extra_the_error_says_what_to_install(missing, run_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"pip install 'mmjax\[report\]'"):
        write_report([run_folder], tmp_path / "report.html")


def test_the_table_needs_no_extra():
    code = "import sys, mmjax.report.tables, mmjax.report.page; assert not {'matplotlib', 'jinja2'} & set(sys.modules)"
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_the_command_reports_a_bad_folder_in_one_line(tmp_path):
    command = [sys.executable, "-m", "mmjax.report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path / 'results.json'}: missing file\n"


def test_stages_of_the_cells_that_have_some(run_folder, tmp_path):
    page = write_report([run_folder], tmp_path / "report.html").read_text(encoding="utf-8")
    (section,) = re.findall(r"<h2>Stages of the training</h2>(.*?)</section>", page, re.S)
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", section, re.S)]
    assert rows[1:] == [
        ["gated", "1 to 80", "fusion, heads", "4,321", "0.415"],
        ["", "81 to 200", "all", "98,765", "-"],
    ]
