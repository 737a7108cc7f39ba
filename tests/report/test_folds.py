"""Folds as one test set: the scores are those of all rows together, and what is no cross-validation is refused."""

import numpy as np
import pytest

from mmjax.report.folds import main, pooled
from mmjax.runs.schema import RunError


@pytest.fixture
def folders(make_run, tmp_path):
    """Two runs with other examples each."""
    made = [make_run(tmp_path / f"fold{k}") for k in range(2)]
    with np.load(made[1] / "test.npz") as arrays:
        test = dict(arrays)
    test["id"] = np.array([f"other/{name}" for name in test["id"]])
    test["group"] = test["group"] + 1000
    test["label"] = (test["label"] + 1) % 3
    np.savez(made[1] / "test.npz", **test)
    return made


def test_scores_of_all_rows_together(folders):
    folds = pooled(folders)
    right, total = 0.0, 0.0
    for folder in folders:
        with np.load(folder / "test.npz") as test, np.load(folder / "cells" / "gated" / "predictions.npz") as said:
            place = said["subsets"].tolist().index(folds.full["gated"])
            hits = (said["logits"][:, place].argmax(-1) == test["label"]).mean(axis=0)
            right, total = right + (hits * test["weight"]).sum(), total + test["weight"].sum()
    assert folds.scores("gated")["accuracy"].mean == pytest.approx(right / total, abs=1e-5)


def test_the_command_prints_cells_subsets_and_languages(folders, capsys):
    main([*map(str, folders), "--against", "text", "--cell", "gated"])
    said = capsys.readouterr().out
    for word in ("gated", "accuracy against text", "gated with some of its modalities", "image+text", "speech alone"):
        assert word in said, word


def test_what_is_no_cross_validation_is_refused(folders, make_run, tmp_path):
    with pytest.raises(RunError, match=r"fold0.* is tested in .*fold0 as well; give each fold once"):
        pooled([folders[0], folders[0]])
    with pytest.raises(SystemExit, match="there is no cell 'txt'; the cells are"):
        main([*map(str, folders), "--against", "txt"])
