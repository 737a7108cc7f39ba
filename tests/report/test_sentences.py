"""The conclusions in words, from numbers made by hand: the answer about fusion first, and a defeat is called one."""

from mmjax.report.sentences import run_sentences, task_sentences

WON = {"mean": 0.033, "low": 0.013, "high": 0.054, "verdict": "better"}
WON_MORE = {"mean": 0.2, "low": 0.15, "high": 0.25, "verdict": "better"}
OPEN = {"mean": 0.012, "low": -0.018, "high": 0.042, "verdict": "inconclusive"}
LOST = {"mean": -0.08, "low": -0.11, "high": -0.05, "verdict": "worse"}
SAME = {"mean": 0.0, "low": 0.0, "high": 0.0, "verdict": "identical"}
POWER = {"detectable": 0.0424, "examples_needed": 1873, "seeds_needed": 12, "p": 0.5}
OPEN_TEXT = "difference +0.012 [-0.018, +0.042]; detectable with 80 % power: 0.042; needs about 1,900 test units or 12 seeds"
STANDING = "accuracy 0.650 [0.600, 0.700], selected on validation"


def _verdict(against, kind, difference, metric="accuracy"):
    return {"against": against, "kind": kind, "metric": metric, "difference": {**POWER, **difference}}


def _cell(modalities, *verdicts, seeds=3):
    complete = "+".join(sorted(modalities.split()))
    estimate = {"mean": 0.65, "low": 0.6, "high": 0.7, "per_seed": [0.65] * seeds}
    scored = {"complete": complete, "subsets": {complete: {"accuracy": estimate}}, "verdicts": list(verdicts)}
    if "+" in complete:
        scored["subsets"] = {"text": {"accuracy": estimate}, **scored["subsets"]}
    return {
        "modalities": sorted(modalities.split()), "experiment": {},
        "fusion": "Concat()", "parameters": 10, "seeds": list(range(seeds)),
        "folds": None, "validation": {"select": "label.accuracy", "mean": 0.7}, "tasks": {"label": scored},
    }  # fmt: skip


def _results(cells, best="fused", warnings=(), higher_is_better=True):
    return {
        "tasks": {
            "label": {
                "headline": "accuracy",
                "metrics": {"accuracy": {"higher_is_better": higher_is_better, "bounds": [0.0, 1.0]},
                            "f1_macro": {"higher_is_better": True, "bounds": [0.0, 1.0]}},
                "best_cell": best, "baselines": {}, "warnings": list(warnings),
            }
        },
        "cells": cells,
        "comparisons": {"count": 4, "holm": False},
        "data": {"folds": None, "leak_free": False},
    }  # fmt: skip


SINGLES = {"text": _cell("text"), "image": _cell("image")}


def _texts(results):
    return [(sentence.tone, sentence.text) for sentence in task_sentences(results, "label")]


def test_a_fusion_that_beats_every_single_modality():
    fused = _cell("image text", _verdict("text", "single", WON), _verdict("image", "single", WON_MORE))
    assert _texts(_results({"fused": fused, **SINGLES})) == [
        ("better", f"fused ({STANDING}) beats every single modality: text by 0.033 [0.013, 0.054] and image by 0.200 "
                   "[0.150, 0.250].")
    ]  # fmt: skip


def test_an_open_verdict_comes_first_with_what_would_settle_it():
    fused = _cell("image text", _verdict("image", "single", WON_MORE), _verdict("text", "single", OPEN))
    assert _texts(_results({"fused": fused, **SINGLES})) == [
        ("inconclusive", f"fused ({STANDING}) is not shown to beat every single modality: it is inconclusive against text "
                         f"({OPEN_TEXT}); it beats image by 0.200 [0.150, 0.250].")
    ]  # fmt: skip


def test_a_defeat_is_stated_first_and_warnings_before_it():
    fused = _cell("image text", _verdict("image", "single", SAME), _verdict("text", "single", LOST))
    warned, (tone, text) = _texts(_results({"fused": fused, **SINGLES}, warnings=["text alone beats fused"]))
    assert warned == ("warning", "text alone beats fused")
    assert tone == "worse" and text == (
        f"fused ({STANDING}) is not shown to beat every single modality: it is worse than text by 0.080 [0.050, 0.110]; "
        "it makes the same predictions as image."
    )


def test_lower_is_better_turns_the_sign_of_gains_only():
    lower = {"mean": -0.2, "low": -0.25, "high": -0.15, "verdict": "better"}
    fused = _cell("image text", _verdict("text", "single", lower), _verdict("image", "single", OPEN))
    ((_, text),) = _texts(_results({"fused": fused, **SINGLES}, higher_is_better=False))
    assert "beats text by 0.200 [0.150, 0.250]" in text and "difference +0.012 [-0.018, +0.042]" in text


def test_every_single_modality_is_not_claimed_for_modalities_without_a_cell():
    fused = _cell("audio image text", _verdict("text", "single", WON), _verdict("image", "single", WON_MORE))
    ((_, text),) = _texts(_results({"fused": fused, **SINGLES}))
    assert "beats every single-modality cell: " in text and text.endswith("No cell was trained on audio alone.")


def test_other_cells_are_grouped_by_rival_and_verdict():
    better = (_verdict("text", "single", WON), _verdict("image", "single", WON_MORE))
    harder = {**OPEN, "detectable": 0.051, "examples_needed": None, "seeds_needed": 30}
    cells = {
        "fused": _cell("image text", *better),
        "late": _cell("image text", *better),
        "early": _cell("image text", _verdict("text", "single", OPEN), _verdict("image", "single", WON)),
        "tensor": _cell("image text", _verdict("text", "single", harder), _verdict("image", "single", LOST)),
        **SINGLES,
    }
    assert _texts(_results(cells))[1] == (
        "worse",
        "2 of 4 multimodal cells beat every single modality: fused and late. Against text, early and tensor are inconclusive "
        "(detectable with 80 % power: 0.042 to 0.051; need about 1,900 test units or 12 to 30 seeds). Against image, tensor "
        "is worse by 0.080 [0.050, 0.110].",
    )


def test_differences_that_nothing_settles():
    never = {**OPEN, "examples_needed": None, "seeds_needed": None}
    ((_, text),) = _texts(_results({"fused": _cell("text image", _verdict("text", "single", never)), **SINGLES}))
    assert text.endswith("; detectable with 80 % power: 0.042; needs both more test units and more seeds).")
    some = {"early": _cell("text image", _verdict("text", "single", never)),
            "late": _cell("text image", _verdict("text", "single", OPEN))}  # fmt: skip
    ((_, text),) = _texts(_results({**some, **SINGLES}, best=None))
    assert text == (
        "Neither multimodal cell is shown to beat every single modality. Against text, early and late are inconclusive "
        "(detectable with 80 % power: 0.042; 1 of the 2 need about 1,900 test units or 12 seeds)."
    )


def test_a_verdict_that_is_open_after_correction_only_gives_its_p_value_and_what_it_needs():
    corrected = {**WON, "verdict": "inconclusive", "p": 0.081}
    ((_, text),) = _texts(_results({"fused": _cell("text image", _verdict("text", "single", corrected)), **SINGLES}))
    assert "(difference +0.033 [+0.013, +0.054]; detectable with 80 % power: 0.042; p 0.081 after Holm's correction; " in text
    assert "; needs about 1,900 test units or 12 seeds)" in text
    some = {"early": _cell("text image", _verdict("text", "single", corrected)),
            "late": _cell("text image", _verdict("text", "single", OPEN))}  # fmt: skip
    ((_, text),) = _texts(_results({**some, **SINGLES}, best=None))
    assert "1 of the 2: p 0.081 after Holm's correction; need about 1,900 test units or 12 seeds" in text


def test_baselines_follow_in_one_sentence():
    both = [_verdict("majority", "baseline", WON_MORE), _verdict("svm", "baseline", WON)]
    cells = {"fused": _cell("image text", _verdict("text", "single", WON), *both), "text": _cell("text", *both)}
    cells["image"] = _cell("image", _verdict("majority", "baseline", OPEN), _verdict("svm", "baseline", LOST))
    assert _texts(_results(cells))[1:] == [
        ("better", "fused beats every baseline: majority by 0.200 [0.150, 0.250] and svm by 0.033 [0.013, 0.054]."),
        ("worse", "2 of 3 cells beat every baseline: fused and text. Against majority, image is inconclusive "
                  f"({OPEN_TEXT}). Against svm, image is worse by 0.080 [0.050, 0.110]."),
    ]  # fmt: skip


def test_one_baseline_and_one_cell():
    cells = {"text": _cell("text", _verdict("majority", "baseline", OPEN))}
    ((tone, text),) = _texts(_results(cells, best="text"))
    assert tone == "inconclusive" and text == (
        f"text ({STANDING}) is inconclusive against majority ({OPEN_TEXT})."
    )


def test_a_reference_cell():
    cells = {name: _cell("image text", _verdict("late", "cell", value)) for name, value in
             {"a": WON, "b": WON_MORE, "c": LOST, "d": SAME}.items()}  # fmt: skip
    assert _texts(_results({**cells, "late": _cell("image text")}, best="a"))[-1] == (
        "worse",
        "Against late, a and b are better by 0.033 [0.013, 0.054] and 0.200 [0.150, 0.250]; d makes the same predictions; "
        "c is worse by 0.080 [0.050, 0.110].",
    )


def test_another_metric_with_another_verdict():
    fused = _cell("image text", _verdict("text", "single", WON), _verdict("text", "single", OPEN, "f1_macro"))
    assert _texts(_results({"fused": fused, "text": _cell("text"), "image": _cell("image")}))[-1] == (
        "inconclusive", f"By f1_macro, fused is inconclusive against text ({OPEN_TEXT})."
    )  # fmt: skip


def test_without_single_modalities_nothing_is_claimed_for_fusion():
    results = _results({"fused": _cell("image text", _verdict("majority", "baseline", WON))})
    first, second = _texts(results)
    assert first == ("note", "No cell was trained on a single modality, so the table does not show whether fusion helps.")
    assert second == ("better", f"fused ({STANDING}) beats majority by 0.033 [0.013, 0.054].")
    del results["cells"]["fused"]["tasks"]["label"]["subsets"]["text"]  # no single modality can answer this task
    assert len(_texts(results)) == 1


def test_a_single_modality_with_another_name_shows_its_modality():
    fused = _cell("image text", _verdict("bag", "single", WON))
    ((_, text),) = _texts(_results({"fused": fused, "bag": _cell("text"), "image": _cell("image")}))
    assert "beats bag (text) by 0.033" in text


def test_a_task_without_a_selection_of_its_own_names_the_other_one():
    results = _results({"fused": _cell("image text", _verdict("chance", "baseline", WON))})
    results["tasks"]["other"] = {**results["tasks"]["label"], "best_cell": None}
    results["cells"]["fused"]["tasks"]["other"] = results["cells"]["fused"]["tasks"]["label"]
    *_, last = task_sentences(results, "other")
    assert last.text.startswith("fused (accuracy 0.650 [0.600, 0.700], selected on validation by label.accuracy) beats chance")
    assert "Each cell was trained once and scored on all 2 tasks." in [note.text for note in run_sentences(results)]


def test_notes_of_the_run():
    results = _results({"fused": _cell("image text", seeds=1), **SINGLES})
    assert [note.text for note in run_sentences(results)] == [
        "The table makes 4 comparisons by accuracy. Holm's correction was not applied: where there is no difference, each has "
        "a 5 % chance of a false verdict.",
        "Only one seed of fused was trained: nothing is claimed about other seeds. Intervals cover the choice of test examples "
        "only.",
    ]
    results["comparisons"]["holm"] = results["data"]["leak_free"] = True
    results["data"]["folds"] = 5
    for cell in results["cells"].values():
        cell["folds"], cell["seeds"] = [0, 1, 2, 3, 4], [0]
    assert [note.text for note in run_sentences(results)] == [
        "The table makes 4 comparisons by accuracy. Holm's correction was applied to the verdicts, not to the intervals: the "
        "chance of any false verdict in a table is at most 5 %.",
        "One seed was trained: nothing is claimed about other seeds. Intervals cover the choice of test examples only.",
        "The test predictions of 5 folds are joined into one test set.",
        "The splits are leak-free: no example and no group of related examples is in two of them.",
    ]
