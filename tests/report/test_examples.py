"""Examples: media are embedded once or stay in the run folder; answers of every cell; placeholders for absent inputs."""

import base64
import json
from urllib.parse import unquote, urljoin

import numpy as np
import pytest

from mmjax.report import examples
from mmjax.report.page import write_report
from mmjax.runs.read import read_run
from tests.report.parsed import Page
from tests.report.run_folders import ATTENTION


def test_each_image_and_sound_is_embedded_once_byte_for_byte(page, run_folder):
    index = json.loads((run_folder / "examples/index.json").read_text())
    for tag, key, kind in (("img", "image", "image/png"), ("audio", "sound", "audio/wav")):
        elements = [attributes for name, attributes in page.tags if name == tag]
        embedded = {of["id"]: of["src"] for of in elements if "src" in of}
        uris = [embedded[of.get("id") or of["data-copy"]] for of in elements]
        shown = [base64.b64decode(uri.removeprefix(f"data:{kind};base64,")) for uri in uris]
        assert shown == [(run_folder / "examples" / example[key]).read_bytes() for example in index if example[key]]
        assert len(embedded) == len(set(embedded.values())) == len(elements) / 2  # both tasks have the same media
        assert all(of.get("loading") == "lazy" or of.get("preload") == "none" for of in elements)
    assert "no sound" in " ".join(page.text)


def test_weights_become_levels():
    """35 levels of the largest weight of a word and modality, and the percentage of the modality."""
    found = examples.attention_of(ATTENTION)
    assert found.modalities == ("audio", "image", "text")
    assert found.tokens == ((), (), ("a", "<i>crow</i>"))
    half, quarter = "i", "9"  # 35 / 2 = 17.5 is rounded to the even 18; 35 / 4 = 8.75 to 9
    assert found.words[0] == ("rank", f"20 {half}z{half}|70 z{quarter}{half}0|10 z0")
    assert found.words[3] == ("47", "0 000|100 000z|0 00")
    assert examples.attention_of(None) is None


def test_large_media_stay_in_the_run_folder(make_run, tmp_path, monkeypatch):
    """The links lead there from the folder of the page, which is elsewhere."""
    monkeypatch.chdir(tmp_path)
    folder = make_run(tmp_path / "runs" / "100 % #1?")
    monkeypatch.setattr(examples, "MAX_FILE", 1000)  # the images have less, the sounds have more
    page = Page(write_report(["runs/100 % #1?"], "pages/report.html").read_text(encoding="utf-8"))
    assert {tag for tag, attributes in page.tags if attributes.get("src", "").startswith("data:")} == {"img"}
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a" and attributes["href"].endswith(".wav")]
    files = [unquote(urljoin((tmp_path / "pages/report.html").as_uri(), link)).removeprefix("file://") for link in links]
    sounds = [folder / "examples" / f"{task}-{unit}.wav" for task in ("label", "matching") for unit in (5, 17)]
    assert files == [str(file) for file in sounds] and all(file.is_file() for file in sounds)
    assert all(link.startswith("../runs/") for link in links)  # no path of this machine
    assert "sound of 2 kB, in the run folder" in " ".join(page.text)


@pytest.mark.parametrize("text_is_used", [True, False])
def test_absent_text_is_mentioned_only_if_text_is_a_modality(make_run, results, tmp_path, text_is_used):
    if not text_is_used:
        results["cells"] = {name: results["cells"][name] for name in ("image", "audio")}
        results["tasks"] = {"label": {**results["tasks"]["label"], "best_cell": "image"}}
        for cell in results["cells"].values():
            cell["tasks"] = {"label": {**cell["tasks"]["label"], "verdicts": []}}
    folder = make_run(tmp_path / "run", results=results)
    index = json.loads((folder / "examples/index.json").read_text())
    index[0]["caption"] = None
    (folder / "examples/index.json").write_text(json.dumps(index))
    text = write_report([folder], tmp_path / "report.html").read_text(encoding="utf-8")
    assert ("no text" in text) == text_is_used


def test_cards_show_the_answers_of_every_cell(page, run_folder):
    run, lines = read_run(run_folder), page.lines()
    start = next(i for i, line in enumerate(lines) if line[0] == "all" and len(line) > 1)
    order = {"label": ("gated", "concat", "text", "image", "audio"), "matching": ("gated", "concat")}  # the selected cell first
    expected = []
    for task, cells in order.items():
        for i in range(3):
            for subset, answer in ((s, a) for cell in cells for s, a in run.shown(cell)[task][i].items()):
                mark = {None: "", True: "✓ correct: ", False: "✗ wrong: "}[answer and answer["correct"]]
                score = [f"{answer['score']:.2f}"] if answer and answer["score"] is not None else []
                words = f"{mark}{answer['predicted']}" if answer else "absent"
                expected.append(["all" if "+" in subset else subset, words, *score])
    found = [line for line in lines[start:] if line[0] in ("all", "audio", "image", "text") and len(line) in (2, 3)
             and (" correct:" in line[1] or " wrong:" in line[1] or line[1] in ("absent", "rank 3 of 47"))]  # fmt: skip
    assert found == expected


def test_the_seeds_whose_predictions_are_shown_are_counted(page):
    """The first of the two parts of each cell has two of its three seeds."""
    assert "Predictions are averaged over the first 2 of 3 seeds where the task allows." in " ".join(page.text)


def test_ignored_inputs_are_counted_and_named_for_each_example(page):
    lines = page.lines()
    assert [line for line in lines if line[0] == "same"] == [["same", "without image"]]  # of three examples and five cells
    start = next(i for i, line in enumerate(lines) if "with another image" in line)
    assert " ".join(lines[start + 1]).split() == ["gated", *"0.250 [0.125, 0.500] 0.250 [0.125, 0.500]".split()]


def test_an_answer_stays_the_same_if_that_of_each_seed_does():
    """Seed 1 changes its answer to the first example; the third one has no image."""
    same = {"image": {"removed": np.array([[1, 1, -1], [0, 1, -1]]), "replaced": np.array([[1, 1, -1], [1, 0, -1]])}}
    assert examples.same_texts(same, [0, 1, 2]) == ["with another image", "without image", ""]
