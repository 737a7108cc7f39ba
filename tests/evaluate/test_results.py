"""The scored part of results.json, from predictions made by hand."""

import json

import numpy as np
import pytest

from mmjax.evaluate.results import Predicted, Truth, by_language, floor_predictions, tabulate
from mmjax.evaluate.statistics import resample
from mmjax.evaluate.subsets import subset_name, subsets_of

ROWS, CLASSES = 60, ("a", "b", "c")
LABEL = np.arange(ROWS) % 3
TRUTH = Truth(
    label=LABEL,
    weight=np.ones(ROWS, np.float32),
    group=np.arange(ROWS) // 2,  # 30 groups of two rows
    language=np.array(["lt", "el", ""])[np.arange(ROWS) // 20],  # 20 rows each
    classes=CLASSES,
)


def logits(right, seeds=2):
    """Float[s n c]: certain and right where `right`, certain of the next class elsewhere."""
    said = np.where(right, LABEL, (LABEL + 1) % 3)
    return np.tile(10 * np.eye(3, dtype=np.float32)[said], (seeds, 1, 1))


def cell(modalities, validation, right, **of_subset):
    """A cell that is right in the rows `right`, and in those of `of_subset` for the subset with that name."""
    subsets = subsets_of(modalities)
    each = [logits(of_subset.get(subset_name(subset).replace("+", "_"), right)) for subset in subsets]
    return Predicted(np.stack(each, axis=1), subsets, validation)


ROW = np.arange(ROWS)
HALF, MOST, ALL, NONE = ROW % 2 == 0, ROW % 6 > 0, ROW >= 0, ROW < 0  # 1/2, 5/6, 1 and 0 of the rows
CELLS = {
    "good": cell(("audio", "text"), 0.5, ALL, audio=ROW < 20, text=NONE),
    "lucky": cell(("audio", "text"), 0.6, NONE),  # the best on validation, and the worst on test
    "even": cell(("audio", "text"), 0.1, HALF),
    "text": cell(("text",), 0.9, HALF),  # the best single on validation; of all cells too, but it does not fuse
    "audio": cell(("audio",), 0.2, MOST),  # would be the best single on test
}
FLOORS = {"majority": np.zeros(ROWS, np.int64), "tfidf_svm": np.where(MOST, LABEL, (LABEL + 1) % 3)}


@pytest.fixture(scope="module")
def results():
    return tabulate(CELLS, FLOORS, TRUTH)


def verdict_of(results, name, against):
    found = [v for v in results["cells"][name]["verdicts"] if (v["against"], v["metric"]) == (against, "accuracy")]
    assert len(found) == 1
    return found[0]


def test_choices_are_made_on_validation(results):
    assert results["best_cell"] == "lucky"
    assert results["floors"]["best_single"]["cell"] == "text"
    assert results["floors"]["best_single"]["accuracy"]["mean"] == pytest.approx(0.5)
    assert {name: entry["validation_accuracy"] for name, entry in results["cells"].items()} == {
        name: given.validation for name, given in CELLS.items()
    }


def test_without_fusion_the_best_cell_is_a_single_one_and_without_singles_there_is_no_floor_of_them():
    singles = tabulate({name: CELLS[name] for name in ("text", "audio")}, FLOORS, TRUTH)
    assert singles["best_cell"] == "text"
    fused = tabulate({name: CELLS[name] for name in ("good", "even")}, FLOORS, TRUTH)
    assert fused["best_cell"] == "good"
    assert fused["floors"]["best_single"] is None
    assert {v["against"] for v in fused["cells"]["good"]["verdicts"]} == {"majority", "tfidf_svm"}


def test_accuracies_of_every_subset(results):
    subsets = results["cells"]["good"]["subsets"]
    assert set(subsets) == {"audio", "text", "audio+text"}
    means = {name: subset["accuracy"]["mean"] for name, subset in subsets.items()}
    assert means == pytest.approx({"audio": 1 / 3, "text": 0, "audio+text": 1})
    assert subsets["audio"]["accuracy"]["per_seed"] == pytest.approx([1 / 3, 1 / 3])
    assert set(results["cells"]["text"]["subsets"]) == {"text"}


def test_floors(results):
    # Every third row is of class a; the SVM of this test is right in 5 of 6.
    assert results["floors"]["majority"]["accuracy"]["mean"] == pytest.approx(1 / 3)
    assert results["floors"]["tfidf_svm"]["accuracy"]["mean"] == pytest.approx(5 / 6)
    # F1 of a is 2 * (1/3) / (1/3 + 1) = 1/2, of b and c 0.
    assert results["floors"]["majority"]["f1_macro"]["mean"] == pytest.approx(1 / 6)


def test_verdicts_point_the_right_way(results):
    expected = {  # accuracies 1, 0, 1/2 (text again), against text's 1/2
        "good": ("better", 0.5),
        "lucky": ("worse", -0.5),
        "even": ("inconclusive", 0.0),
    }
    for name, (word, gap) in expected.items():
        found = verdict_of(results, name, "best_single")
        assert (found["verdict"], found["difference"]["mean"]) == (word, pytest.approx(gap, abs=1e-6))
        assert found["name"] == "text alone (text)"
        assert found["difference"]["low"] <= found["difference"]["mean"] <= found["difference"]["high"]
    assert verdict_of(results, "good", "tfidf_svm")["verdict"] == "better"
    assert verdict_of(results, "text", "tfidf_svm")["verdict"] == "worse"
    assert verdict_of(results, "audio", "majority")["verdict"] == "better"


def test_equal_predictions_differ_by_exactly_nothing(results):
    """Paired: "even" says what "text" says, so no draw of rows can tell them apart. Seeds are equal here as well."""
    gap = verdict_of(results, "even", "best_single")["difference"]
    assert (gap["low"], gap["high"]) == pytest.approx((0, 0), abs=1e-6)


def test_a_single_modality_is_not_judged_against_itself(results):
    for name in ("text", "audio"):
        assert {v["against"] for v in results["cells"][name]["verdicts"]} == {"majority", "tfidf_svm"}


def test_by_language(results):
    table = results["cells"]["good"]["languages"]
    assert set(table) == {"lt", "el"}  # rows without speech have no language
    assert [table[code]["rows"] for code in ("lt", "el")] == [20, 20]
    assert [table[code]["accuracy"]["mean"] for code in ("lt", "el")] == pytest.approx([1, 1])
    assert table["lt"]["unimodal_heads"]["accuracy"]["mean"] == pytest.approx(
        1
    )  # alone, the audio is right in the first 20 rows
    assert table["el"]["unimodal_heads"]["accuracy"]["mean"] == pytest.approx(0)
    assert results["cells"]["text"]["languages"] == {}


def test_a_row_of_a_language_weighs_one_whatever_its_weight_elsewhere():
    weights = np.where(ROW % 20 == 0, 100, 1).astype(np.float32)
    truth = Truth(TRUTH.label, weights, TRUTH.group, TRUTH.language, CLASSES)
    right = ROW % 20 < 5  # 5 of the 20 rows of each language, the heavy one among them
    table = by_language(cell(("audio",), 0.0, right), truth, resample(truth.group, 2))
    assert table["el"]["accuracy"]["mean"] == pytest.approx(5 / 20)


def test_per_class_and_confusion(results):
    entry = results["cells"]["audio"]  # wrong where row % 6 == 0: half of class a's 20 rows, said to be b
    np.testing.assert_allclose(entry["confusion"], [[10, 10, 0], [0, 20, 0], [0, 0, 20]])
    assert entry["per_class"]["a"]["recall"]["mean"] == pytest.approx(1 / 2)
    assert entry["per_class"]["b"]["precision"]["mean"] == pytest.approx(2 / 3)
    assert entry["per_class"]["c"]["f1"]["mean"] == pytest.approx(1)
    assert [entry["per_class"][name]["weight"] for name in CLASSES] == [20, 20, 20]


def test_it_is_json(results):
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_the_order_of_cells_changes_nothing(results):
    turned = tabulate(dict(reversed(CELLS.items())), FLOORS, TRUTH)
    assert turned == results


def test_floor_predictions_learn_from_training_alone():
    train = {"text": ["cat dog"] * 6 + ["car bus"] * 4, "label": np.array([1] * 6 + [0] * 4), "weight": np.ones(10)}
    validation = {"text": ["cat", "bus"], "label": np.array([1, 0]), "weight": np.ones(2)}
    said = floor_predictions(train, validation, ["bus", "dog", "car"], 2)
    assert said["majority"].tolist() == [1, 1, 1]
    assert said["tfidf_svm"].tolist() == [0, 1, 0]
