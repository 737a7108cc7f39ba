"""Reading a run folder: what is missing or wrong is named by its file and its key."""

import json
from pathlib import Path

import numpy as np
import pytest

from mmjax.runs.read import read_run
from mmjax.runs.schema import RunError


def _edit(folder: Path, path: str, value=None) -> None:
    """Set (or, with None, remove) a key of results.json; `path` is dotted."""
    results = json.loads((folder / "results.json").read_text())
    *outer, last = path.split(".")
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
        "name",
        "best_cell",
        "task.classes",
        "cells.gated.verdicts",
        "cells.text.subsets.text.ece.high",
        "cells.gated.subsets.audio+image+text",
        "cells.concat.subsets.image",
        "floors.majority.accuracy",
        "floors.tfidf_svm",
        "peak_memory_bytes",
    ],
)
def test_missing_key_is_named_with_its_file(key, make_run, tmp_path):
    _edit(make_run(tmp_path), key)
    with pytest.raises(RunError) as error:
        read_run(tmp_path)
    assert str(error.value) == f"{tmp_path / 'results.json'}: missing key '{key}'"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("best_cell", "nobody", "'best_cell' names 'nobody'"),
        ("cells.gated.parameters", "many", "key 'cells.gated.parameters' must be int, not 'many'"),
        ("cells.gated.parameters", True, "key 'cells.gated.parameters' must be int, not True"),
        ("cells.gated.confusion", [[1.0]], "'cells.gated.confusion' must be 3 x 3"),
        ("cells.gated.best_step", [1], "'cells.gated.best_step' must have one step for each of the seeds"),
        ("cells.gated.per_class", {}, "'cells.gated.per_class' must have exactly the classes"),
        ("floors.best_single", 3, "key 'floors.best_single' must be an object"),
        ("seconds", "long", "key 'seconds' must be int or float"),
    ],
)
def test_wrong_value_is_named(key, value, message, make_run, tmp_path):
    _edit(make_run(tmp_path), key, value)
    with pytest.raises(RunError) as error:
        read_run(tmp_path)
    assert message in str(error.value)


def test_verdict_must_be_a_known_word_against_a_known_floor(make_run, tmp_path):
    folder = make_run(tmp_path)
    verdict = read_run(folder).results["cells"]["gated"]["verdicts"][0]
    _edit(folder, "cells.gated.verdicts", [{**verdict, "verdict": "superb"}])
    with pytest.raises(RunError, match=r"verdicts\[0\]\.verdict' must be one of better, worse, inconclusive"):
        read_run(folder)
    _edit(folder, "cells.gated.verdicts", [{**verdict, "against": "luck"}])
    with pytest.raises(RunError, match=r"verdicts\[0\]\.against' names 'luck'"):
        read_run(folder)


def test_missing_files_are_named(make_run, tmp_path):
    with pytest.raises(RunError, match=r"results\.json: missing file"):
        read_run(tmp_path)
    run = read_run(make_run(tmp_path))
    for file, read in {
        "cells/gated/curves.jsonl": lambda: run.curves("gated"),
        "cells/gated/predictions.npz": lambda: run.probabilities("gated"),
        "examples/0.png": run.examples,
        "test.npz": run.examples,
        "examples/index.json": run.examples,
    }.items():
        (tmp_path / file).unlink()
        with pytest.raises(RunError) as error:
            read()
        assert Path(file).name in str(error.value)


def test_truncated_json_names_the_file_and_line(make_run, tmp_path):
    run = read_run(make_run(tmp_path))
    file = tmp_path / "cells/gated/curves.jsonl"
    file.write_text(file.read_text() + '{"step": 250, "train')
    with pytest.raises(RunError, match=r"curves\.jsonl line 6: not JSON"):
        run.curves("gated")
    file.write_text('{"step": 0, "train_loss": [1, 2, 3], "validation_loss": [1, 2], "validation_accuracy": [0, 0, 0]}')
    with pytest.raises(RunError, match="'validation_loss' has 2 values for 3 seeds"):
        run.curves("gated")
    file.write_text("\n")
    with pytest.raises(RunError, match="no lines"):
        run.curves("gated")


def test_null_in_a_curve_is_nan(make_run, tmp_path):
    run = read_run(make_run(tmp_path))
    point = {"step": 0, "train_loss": [None] * 3, "validation_loss": [2, 2, 2], "validation_accuracy": [0, 0, 0.5]}
    (tmp_path / "cells/gated/curves.jsonl").write_text(json.dumps(point))
    curves = run.curves("gated")
    assert np.isnan(curves["train_loss"]).all() and curves["train_loss"].shape == (1, 3)
    assert curves["validation_loss"].tolist() == [[2, 2, 2]]


def test_probabilities_are_averaged_over_seeds_after_the_softmax(make_run, tmp_path):
    run = read_run(make_run(tmp_path))
    # the cell "text" has one subset; seed 0 is certain of class 0 and seeds 1 and 2 of class 1: 1/3 and 2/3.
    # The softmax of the mean logits would be (e^-166, 1, ...) instead.
    logits = np.full((3, 1, 40, 3), -1000, np.float32)
    logits[0, ..., 0] = logits[1:, ..., 1] = 0
    np.savez(tmp_path / "cells/text/predictions.npz", logits=logits, subsets=np.array(["text"]))
    np.testing.assert_allclose(run.probabilities("text")["text"][7], [1 / 3, 2 / 3, 0], atol=1e-12)


def test_misshapen_predictions_are_refused(make_run, tmp_path):
    run = read_run(make_run(tmp_path))
    np.savez(tmp_path / "cells/text/predictions.npz", logits=np.zeros((2, 1, 40, 3)), subsets=np.array(["text"]))
    with pytest.raises(RunError, match=r"shape \(2, 1, 40, 3\); expected \(3 seeds"):
        run.probabilities("text")
    np.savez(tmp_path / "cells/text/predictions.npz", logits=np.zeros((3, 1, 40, 3)), subsets=np.array(["image"]))
    with pytest.raises(RunError, match="'subsets' lacks 'text'"):
        run.probabilities("text")


def test_example_of_another_row_is_refused(make_run, tmp_path):
    run = read_run(make_run(tmp_path))
    index = tmp_path / "examples/index.json"
    examples, labels = json.loads(index.read_text()), run.test()["label"]
    examples[0]["row"] = int(np.flatnonzero(labels != labels[examples[0]["row"]])[0])
    index.write_text(json.dumps(examples))
    with pytest.raises(RunError, match=r"key '\[0\]\.label' is"):
        run.examples()
    examples[0]["row"] = 40
    index.write_text(json.dumps(examples))
    with pytest.raises(RunError, match=r"key '\[0\]\.row' is 40, and test\.npz has 40 rows"):
        run.examples()


def test_examples_may_not_reach_outside_their_folder(make_run, tmp_path):
    run = read_run(make_run(tmp_path))
    index = tmp_path / "examples/index.json"
    index.write_text(index.read_text().replace('"0.png"', '"../results.json"'))
    with pytest.raises(RunError, match=r"names '\.\./results\.json'"):
        run.examples()
