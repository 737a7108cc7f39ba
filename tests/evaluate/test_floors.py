import builtins

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from mmjax.evaluate.floors import majority, one_hot_logits, tfidf_svm
from mmjax.evaluate.statistics import resample, scores

ANIMALS, VEHICLES = (
    ["a brown cat", "two dogs", "the white horse", "dogs and a cat"],
    ["a red bus", "two cars", "the old car", "cars and a bus"],
)
TEXTS, LABELS = ANIMALS + VEHICLES, [0] * 4 + [1] * 4


def test_majority_goes_by_weight_and_ignores_padding():
    assert majority([0, 0, 2, -1, -1, -1], [1, 1, 5, 0, 0, 0], classes=4) == 2
    assert majority([3, 1], [1, 1], classes=4) == 1  # the first of equals
    with pytest.raises(ValueError, match="no row"):
        majority([0, 1], [0, 0], classes=2)


def test_one_hot_logits_score_like_the_predictions_they_came_from():
    predicted, label = np.array([0, 1, 2, 2]), np.array([0, 1, 2, 0])
    logits = one_hot_logits(predicted, 4)
    assert logits.shape == (4, 4) and logits.dtype == np.float32 and np.isfinite(logits).all()
    table = scores(logits[None], label, np.ones(4), resample(np.arange(4), seeds=1, draws=20))
    assert table["accuracy"].mean == 0.75
    assert table["ece"].mean == 0.25  # always certain, and wrong in one row of four


def test_svm_learns_words_and_subwords():
    predicted = tfidf_svm(TEXTS, LABELS, ["a dog and a horse", "the bus", "my cat", "our car"], (TEXTS, LABELS))
    np.testing.assert_array_equal(predicted, [0, 1, 0, 1])


def test_svm_is_deterministic_and_keeps_the_labels_as_given():
    runs = [tfidf_svm(TEXTS, np.array(LABELS) + 5, ANIMALS, (TEXTS, np.array(LABELS) + 5)) for _ in range(2)]
    np.testing.assert_array_equal(*runs)
    assert set(runs[0]) == {5}


def test_validation_chooses_the_features():
    """Words never seen in training leave word features clueless; their letters do not."""
    train = ["xaaax", "yaaay", "zbbbz", "wbbbw"]
    unseen, labels = ["kaaak", "maaam", "kbbbk", "mbbbm"], [1, 1, 0, 0]
    np.testing.assert_array_equal(tfidf_svm(train, labels, unseen, (unseen, labels)), labels)


def test_features_come_from_the_training_split_alone(monkeypatch):
    seen = []
    fit = TfidfVectorizer.fit_transform
    monkeypatch.setattr(
        TfidfVectorizer, "fit_transform", lambda self, texts, y=None: seen.append(texts) or fit(self, texts)
    )
    tfidf_svm(TEXTS, LABELS, ["secret"], (["hidden"], [0]))
    assert seen and all(texts == TEXTS for texts in seen)


@pytest.mark.parametrize("texts", [["", " ", "\n"], ["same", "same", "same"], ["!", "!", "!"]])
def test_texts_that_say_nothing_give_the_majority(texts):
    predicted = tfidf_svm(texts, [1, 0, 1], [*texts, "new"], (texts, [1, 0, 1]))
    np.testing.assert_array_equal(predicted, [1, 1, 1, 1])


def test_a_single_class_is_predicted_everywhere():
    np.testing.assert_array_equal(tfidf_svm(TEXTS, [3] * 8, ["a", ""], (TEXTS, [3] * 8)), [3, 3])


def test_empty_texts_among_others_are_predicted_too_and_no_text_gives_no_prediction():
    assert tfidf_svm(TEXTS, LABELS, ["", "a bus"], (TEXTS, LABELS))[1] == 1
    assert tfidf_svm(TEXTS, LABELS, [], (TEXTS, LABELS)).shape == (0,)


def test_unusable_splits_are_named():
    with pytest.raises(ValueError, match="training split has 8 texts and 2 labels"):
        tfidf_svm(TEXTS, [0, 1], TEXTS, (TEXTS, LABELS))
    with pytest.raises(ValueError, match="validation split has 0 texts"):
        tfidf_svm(TEXTS, LABELS, TEXTS, ([], []))


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def no_sklearn(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_sklearn)
    with pytest.raises(ImportError, match=r"pip install 'mmjax\[eval\]'"):
        tfidf_svm(TEXTS, LABELS, TEXTS, (TEXTS, LABELS))
