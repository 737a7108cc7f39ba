"""Reading a run folder: what is missing, wrong or damaged is named by its file and its key."""

import json
from pathlib import Path

import numpy as np
import pytest

from mmjax.runs.examples import chosen_examples
from mmjax.runs.folder import read_arrays, read_record, sha256, write_arrays, write_record
from mmjax.runs.read import read_baselines, read_outcomes, read_run, read_units
from mmjax.runs.schema import RunError
from mmjax.runs.write import (
    Part,
    has_baselines,
    part_is_done,
    write_baselines,
    write_cell,
    write_part,
    write_units,
)
from mmjax.types import Units
from tests.report.run_folders import write_run


def _edit(folder: Path, path: list[str], value=None) -> None:
    """Sets a key of results.json, or removes it (None)."""
    results = json.loads((folder / "results.json").read_text())
    *outer, last = path
    inner = results
    for name in outer:
        inner = inner[name]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    (folder / "results.json").write_text(json.dumps(results))


@pytest.mark.parametrize(
    "key",
    [
        ["name"],
        ["tasks", "label", "headline"],
        ["data", "leak_free"],
        ["cells", "gated", "tasks", "label", "verdicts"],
        ["cells", "text", "tasks", "label", "subsets", "text", "ece", "high"],
        ["comparisons", "count"],
        ["peak_memory_bytes"],
    ],
)
def test_a_missing_key_is_named_with_its_file(key, tmp_path):
    write_run(tmp_path)
    _edit(tmp_path, key)
    with pytest.raises(RunError) as error:
        read_run(tmp_path)
    assert str(error.value) == f"{tmp_path / 'results.json'}: missing key '{'.'.join(key)}'"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (["schema"], 1, "schema is 1, not 2: another version of mmjax wrote this run"),
        (["tasks", "label", "best_cell"], "nobody", "'tasks.label.best_cell' names 'nobody'"),
        (["tasks", "label", "headline"], "bleu", "'tasks.label.headline' names 'bleu'"),
        (["tasks", "label", "baselines", "majority"], {}, "'tasks.label.baselines.majority' lacks the metric 'accuracy'"),
        (["cells", "gated", "parameters"], "many", "key 'cells.gated.parameters' must be int, not 'many'"),
        (["cells", "gated", "parameters"], True, "key 'cells.gated.parameters' must be int, not True"),
        (["cells", "gated", "tasks", "label", "complete"], "smell", "'cells.gated.tasks.label.subsets' lacks 'smell'"),
        (["cells", "gated", "tasks", "label", "subsets", "text"], {}, "subsets.text' lacks the metric 'accuracy'"),
        (["seconds"], "long", "key 'seconds' must be int or float"),
    ],
)
def test_a_wrong_value_is_named(key, value, message, tmp_path):
    write_run(tmp_path)
    _edit(tmp_path, key, value)
    with pytest.raises(RunError) as error:
        read_run(tmp_path)
    assert message in str(error.value)


def test_a_verdict_is_a_known_word_against_a_known_rival(tmp_path):
    write_run(tmp_path)
    key = ["cells", "gated", "tasks", "label", "verdicts"]
    verdict = read_run(tmp_path).results["cells"]["gated"]["tasks"]["label"]["verdicts"][0]
    _edit(tmp_path, key, [{**verdict, "difference": {**verdict["difference"], "verdict": "superb"}}])
    with pytest.raises(RunError, match=r"verdicts\[0\]\.difference\.verdict' must be one of better, worse, inconclusive"):
        read_run(tmp_path)
    _edit(tmp_path, key, [{**verdict, "against": "luck"}])
    with pytest.raises(RunError, match=r"verdicts\[0\]\.against' names 'luck'"):
        read_run(tmp_path)


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(RunError, match=r"results\.json: missing file"):
        read_run(tmp_path)
    write_run(tmp_path, folds=[0])
    curves = tmp_path / "cells" / "concat" / "fold0" / "curves.jsonl"
    good = curves.read_text()
    curves.write_text(good.replace("1", "2", 1))
    with pytest.raises(RunError, match=r"concat/fold0/curves\.jsonl is damaged or missing .*--resume"):
        read_run(tmp_path)
    curves.unlink()
    with pytest.raises(RunError, match=r"concat/fold0/curves\.jsonl is damaged or missing"):
        read_run(tmp_path)
    curves.write_text(good)
    run = read_run(tmp_path)
    next((tmp_path / "examples").glob("*.png")).unlink()
    with pytest.raises(RunError, match=r"index\.json: names '.*png', but its folder has no such file"):
        run.examples()


def test_truncated_curves_name_the_file_and_line(tmp_path):
    write_run(tmp_path, folds=[0])
    run, file = read_run(tmp_path), tmp_path / "cells" / "concat" / "fold0" / "curves.jsonl"
    lines = len(file.read_text().splitlines())
    file.write_text(file.read_text() + '{"step": 250, "train')
    with pytest.raises(RunError, match=rf"curves\.jsonl line {lines + 1}: not JSON"):
        run.curves("concat")
    file.write_text('{"step": 0, "train_loss": [1, 2, 3], "validation_loss": [1, 2]}')
    with pytest.raises(RunError, match="'validation_loss' has 2 values for 3 seeds"):
        run.curves("concat")
    file.write_text("\n")
    with pytest.raises(RunError, match="no lines"):
        run.curves("concat")


def test_null_and_losses_of_another_stage_are_nan_in_curves(tmp_path):
    write_run(tmp_path, folds=[0])
    points = [{"step": 1, "train_loss": [None] * 3, "train_loss/a": [1, 2, 3]}, {"step": 2, "train_loss": [2, 2, 2]}]
    file = tmp_path / "cells" / "concat" / "fold0" / "curves.jsonl"
    file.write_text("".join(json.dumps(point) + "\n" for point in points))
    curves = read_run_curves(tmp_path)
    assert np.isnan(curves["train_loss"][0]).all() and curves["train_loss"][1].tolist() == [2, 2, 2]
    assert curves["train_loss/a"][0].tolist() == [1, 2, 3] and np.isnan(curves["train_loss/a"][1]).all()


def read_run_curves(folder: Path) -> dict[str, np.ndarray]:
    """The curves of a run whose sums are no longer right."""
    record = read_record(folder / "cells" / "concat" / "cell.json")
    write_record(folder / "cells" / "concat" / "cell.json", record | {"sha256": {}})
    return read_run(folder).curves("concat")["fold0"]


def units_of(size: int, fold: int = 0) -> Units:
    ids = np.array([f"{fold} {number}" for number in range(size)])
    target = {"label": np.arange(size) % 3}
    return Units(target, np.ones(size, np.float32), np.arange(size), {"id": ids}, np.arange(size), np.arange(size))


def test_folds_and_groups_of_seeds_are_joined(tmp_path):
    """2 folds of 4 and 3 units, 3 seeds in groups of 2 and 1: outcomes [3 seeds, 7 units] in order."""
    parts = [Part(fold, seeds, False) for fold in (0, 1) for seeds in ((0, 1), (2,))]
    for part in parts:
        size = 4 - part.fold
        write_units(tmp_path, "cell", "label", part, units_of(size, part.fold), print)
        write_baselines(tmp_path, "label", part, {"chance": {"hit": np.full(size, part.fold)}})
        hit = 100 * part.fold + 10 * np.array(part.seeds)[:, None] + np.arange(size)[None]
        outcomes = {"label": {"text": {"hit": hit}, "image+text": {"hit": -hit}}}
        write_part(tmp_path / "cells" / "a" / part.name, {"seeds": part.seeds}, outcomes, [{"step": 1}], {})
    write_cell(tmp_path / "cells" / "a", {}, parts, {})
    record = json.loads((tmp_path / "cells" / "a" / "cell.json").read_text())
    found = read_outcomes(tmp_path / "cells" / "a", record["parts"], "label")
    expected = [[10 * seed + unit for unit in range(4)] + [100 + 10 * seed + unit for unit in range(3)] for seed in range(3)]
    assert found["text"]["hit"].tolist() == expected
    assert found["image+text"]["hit"].tolist() == (-np.array(expected)).tolist()
    units, fold = read_units(tmp_path, "label", ["fold0", "fold1"])
    assert units.metadata["id"].tolist() == [f"0 {k}" for k in range(4)] + [f"1 {k}" for k in range(3)]
    assert fold.tolist() == [0, 0, 0, 0, 1, 1, 1]
    baselines = read_baselines(tmp_path, "label", ["fold0", "fold1"])
    assert baselines["chance"]["hit"].tolist() == [[0, 0, 0, 0, 1, 1, 1]]
    assert set(record["sha256"]) == {
        f"{part.name}/{name}" for part in parts for name in ("curves.jsonl", "examples.json", "outcomes.npz", "part.json")
    }


def test_a_part_is_done_if_its_identity_and_sums_match(tmp_path):
    told: list[str] = []
    assert not part_is_done(tmp_path, {"seeds": [0]}, told.append)
    write_part(tmp_path, {"seeds": [0]}, {"label": {"text": {"hit": np.ones((1, 2))}}}, [{"step": 1}], {"seconds": 1.0})
    assert part_is_done(tmp_path, {"seeds": [0]}, told.append) and not told
    with pytest.raises(RunError, match=r"holds another experiment: seeds was \[0\] and is \[0, 1\]"):
        part_is_done(tmp_path, {"seeds": [0, 1]}, told.append)
    write_arrays(tmp_path / "outcomes.npz", {"label/text/hit": np.zeros((1, 2))})
    assert not part_is_done(tmp_path, {"seeds": [0]}, told.append)
    write_part(tmp_path, {"seeds": [0]}, {}, [{"step": 1}], {"validation": [0.5]})
    assert part_is_done(tmp_path, {"seeds": [0]}, told.append)
    assert not part_is_done(tmp_path, {"seeds": [0]}, told.append, ["predictions.npz"])  # wanted, but not saved
    text = (tmp_path / "part.json").read_text()
    for damage in (text.replace("0.5", "9.5"), "[]", "{}", "{half"):  # a changed digit would select the best cell
        (tmp_path / "part.json").write_text(damage)
        assert not part_is_done(tmp_path, {"seeds": [0]}, told.append)
    assert "outcomes.npz is damaged or missing" in told[0] and "predictions.npz" in told[1]
    assert all("part.json" in line for line in told[2:]) and len(told) == 6


def test_damaged_units_are_written_again(tmp_path):
    part, told = Part(None, (0,)), []
    for _ in range(2):
        write_units(tmp_path, "a", "label", part, units_of(4), told.append)
        write_baselines(tmp_path, "label", part, {"chance": {"hit": np.zeros(4)}})
        assert has_baselines(tmp_path, "label", part, told.append) and not told
        for name in ("all.npz", "all.baselines.npz"):
            (tmp_path / "units" / "label" / name).write_bytes(b"half a zip")
        assert not has_baselines(tmp_path, "label", part, told.append)
        write_units(tmp_path, "a", "label", part, units_of(4), told.append)
        assert read_units(tmp_path, "label", ["all"])[0].weight.tolist() == [1] * 4
        assert len(told) == 2 and all("it is written again" in line for line in told)
        told.clear()


def test_units_of_one_task_must_be_the_same_for_all_cells(tmp_path):
    part = Part(None, (0,))
    write_units(tmp_path, "a", "label", part, units_of(4), print)
    write_units(tmp_path, "b", "label", part, units_of(4), print)
    with pytest.raises(RunError, match=r"cell c: the test units of task .label. differ in group, .*from those in .*all\.npz"):
        write_units(tmp_path, "c", "label", part, units_of(5), print)


def test_damaged_arrays_and_pickles_are_refused(tmp_path):
    write_arrays(tmp_path / "a.npz", {"x": np.arange(3)})
    data = bytearray((tmp_path / "a.npz").read_bytes())
    before = sha256(tmp_path / "a.npz")
    data[len(data) // 2] ^= 1
    (tmp_path / "a.npz").write_bytes(data)
    assert sha256(tmp_path / "a.npz") != before
    np.savez(tmp_path / "b.npz", x=np.array([{}], object))
    with pytest.raises(RunError, match=r"b\.npz: damaged \(.*pickle"):
        read_arrays(tmp_path / "b.npz")


def test_examples_are_spread_and_scored():
    units = units_of(400)._replace(weight=np.float32(np.arange(400) >= 200))
    chosen = chosen_examples(units)
    assert len(set(chosen)) == 100 and min(chosen) >= 200
    assert sorted(np.bincount(units.target["label"][chosen]).tolist()) == [33, 33, 34]
    few = units_of(9)._replace(metadata={"id": np.arange(9) // 3})
    assert sorted(few.metadata["id"][chosen_examples(few)].tolist()) == [0, 1, 2]  # each id once
