"""The terminal's table and the sentences: every number is that of results.json, and a defeat is said to be one."""

import copy
import io

import pytest
from rich.console import Console

from mmjax.runs.read import read_run
from mmjax.runs.schema import full_subset
from mmjax.report.tables import interval, number, ordered_cells, results_table, verdict_sentences


@pytest.fixture(scope="module", params=["win", "draw", "loss"])
def outcome(request, make_run, tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp(request.param), outcome=request.param)
    return request.param, read_run(folder).results


def _text(results, width: int, told: int | None = None) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(results_table(results, told or width))
    return console.file.getvalue()


@pytest.mark.parametrize(("width", "told"), [(80, 80), (80, 100), (100, 100), (140, 140)])
def test_table_fits_and_keeps_every_number(width, told, run_folder):
    results = read_run(run_folder).results
    text = _text(results, width, told)
    assert max(map(len, text.splitlines())) <= width
    for cell in results["cells"].values():
        full = cell["subsets"][full_subset(cell)]
        line = next(line for line in text.splitlines() if interval(full["accuracy"]) in line)
        assert line.split(interval(full["accuracy"]))[1].split()[:2] == [
            number(full["f1_macro"]["mean"]),
            number(full["ece"]["mean"]),
        ]
    for floor in results["floors"].values():
        assert interval(floor["accuracy"]) in text
    assert "[low, high]" in text  # rich would swallow it as markup


def test_baselines_and_floors_come_last(run_folder):
    results = copy.deepcopy(read_run(run_folder).results)
    results["cells"] = dict(sorted(results["cells"].items(), key=lambda item: len(item[1]["modalities"])))
    assert list(results["cells"]) == ["text", "image", "concat", "gated"]
    assert ordered_cells(results) == ["concat", "gated", "text", "image"]
    lines = _text(results, 100).splitlines()
    first = {word: next(i for i, line in enumerate(lines) if line.startswith(word))
             for word in ("gated *", "text", "majority", "best single: text")}
    assert list(first.values()) == sorted(first.values())


def test_names_that_look_like_markup_are_kept(run_folder):
    results = copy.deepcopy(read_run(run_folder).results)
    results["cells"]["late[red]mean"] = {**results["cells"]["gated"], "fusion": "[bold]Late()"}
    assert "late[red]mean" in _text(results, 100) and "[bold]Late()" in _text(results, 100)


def test_numbers_that_do_not_exist_are_dashes():
    assert number(None) == number(float("nan")) == "–"
    assert interval({"mean": 0.5, "low": None, "high": None}) == "0.500 [–, –]"
    assert interval({"mean": 0.294, "low": 0.294, "high": 0.294}) == "0.294"
    assert interval({"mean": 0.012, "low": -0.02, "high": 0.045}, signed=True) == "+0.012 [-0.020, +0.045]"


def test_sentences_say_what_happened(outcome):
    kind, results = outcome
    cell, floors = results["cells"]["gated"], results["floors"]
    own = interval(cell["subsets"]["audio+image+text"]["accuracy"])
    single = f"text alone (concat) ({floors['best_single']['accuracy']['mean']:.3f})"
    majority = {
        "win": f"gated ({own}) beats the majority class (0.294) by 0.300 [0.250, 0.350].",
        "loss": f"gated ({own}) does NOT beat the majority class (0.294) by more than the interval: "
                "difference +0.010 [-0.040, +0.060], inconclusive.",
    }
    expected = {
        "win": [
            f"gated ({own}) beats {single} by 0.050 [0.020, 0.080].",
            "2 of 2 fusions beat text alone (concat): concat +0.048 [+0.018, +0.078], gated +0.050 [+0.020, +0.080].",
        ],
        "draw": [
            f"gated ({own}) does NOT beat {single} by more than the interval: "
            "difference +0.012 [-0.018, +0.042], inconclusive.",
            "No fusion beats text alone (concat) by more than its interval: "
            "best difference +0.012 [-0.018, +0.042] (gated).",
        ],
        "loss": [
            f"gated ({own}) does NOT beat {single}: it is worse, difference -0.080 [-0.110, -0.050].",
            "No fusion beats text alone (concat) by more than its interval: "
            "best difference -0.080 [-0.110, -0.050] (gated).",
            "Not shown to be better than the majority class: concat, text, image.",
        ],
    }  # fmt: skip
    first, second, *rest = verdict_sentences(results)
    assert first == f"gated has accuracy {own} on test with audio+image+text; it was chosen on validation."
    assert second == majority.get(kind, majority["win"])
    assert rest == expected[kind]


def test_the_winner_must_win_by_its_own_verdict(outcome):
    kind, results = outcome
    beats = [s for s in verdict_sentences(results) if s.startswith("gated (") and " beats text alone" in s]
    assert bool(beats) == (kind == "win")


def test_without_a_single_modality_nothing_is_claimed_for_fusion(run_folder):
    results = copy.deepcopy(read_run(run_folder).results)
    results["floors"]["best_single"] = None
    for cell in results["cells"].values():
        cell["verdicts"] = [v for v in cell["verdicts"] if v["against"] != "best_single"]
    assert "so this run cannot say whether fusion helps." in verdict_sentences(results)[-1]


def test_a_single_modality_that_was_chosen_says_that_no_fusion_was_better(run_folder):
    results = {**read_run(run_folder).results, "best_cell": "text"}
    assert "It sees a single modality: no fusion was better on validation." in verdict_sentences(results)[0]
