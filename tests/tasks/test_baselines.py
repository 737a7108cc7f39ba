"""Baselines: what they learn, and what they do without anything to learn."""

import builtins

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from mmjax.tasks.baselines import TextExamples, has_text, majority_class, text_examples, tfidf_svm
from mmjax.types import Units

ANIMALS = ["a brown cat", "two dogs", "the white horse", "dogs and a cat"]
VEHICLES = ["a red bus", "two cars", "the old car", "cars and a bus"]


def examples(texts, labels):
    return TextExamples(list(texts), np.array(labels), np.ones(len(texts), np.float32))


EXAMPLES = examples(ANIMALS + VEHICLES, [0] * 4 + [1] * 4)


def units(texts, labels, ids, weight):
    metadata = {"id": np.array(ids), "text": np.array(texts)}
    index = np.arange(len(ids))
    return Units({"label": np.array(labels)}, np.array(weight, np.float32), index, metadata, index, index)


def test_the_majority_is_weighted():
    assert majority_class(np.array([0, 0, 2]), np.array([1, 1, 5])) == 2
    assert majority_class(np.array([3, 1]), np.array([1, 1])) == 1  # the smallest of equals
    with pytest.raises(ValueError, match="no majority class"):
        majority_class(np.array([0, 1]), np.zeros(2))


def test_units_with_the_same_id_text_and_label_are_one_example():
    found = text_examples(units(["x", "x", "y", "x"], [0, 0, 0, 1], ["a", "a", "a", "b"], [0.25, 0.25, 0.5, 1]), "label")
    assert found.text == ["x", "y", "x"]
    assert found.target.tolist() == [0, 0, 1]
    assert found.weight.tolist() == [0.5, 0.5, 1]


def test_texts_with_content():
    assert has_text(units(["", "x"], [0, 0], ["a", "b"], [1, 1]))
    assert not has_text(units(["", " \n"], [0, 0], ["a", "b"], [1, 1]))


def test_the_svm_learns_words_and_subwords():
    predicted = tfidf_svm(EXAMPLES, EXAMPLES, ["a dog and a horse", "the bus", "my cat", "our car"])
    np.testing.assert_array_equal(predicted, [0, 1, 0, 1])


def test_the_svm_is_deterministic_and_keeps_the_class_numbers():
    shifted = EXAMPLES._replace(target=EXAMPLES.target + 5)
    runs = [tfidf_svm(shifted, shifted, ANIMALS) for _ in range(2)]
    np.testing.assert_array_equal(*runs)
    assert set(runs[0]) == {5}


def test_the_validation_split_selects_the_features():
    """The validation words never occur in training, so only character features are better than chance."""
    train = examples(["xaaax", "yaaay", "zbbbz", "wbbbw"], [1, 1, 0, 0])
    validation = examples(["kaaak", "maaam", "kbbbk", "mbbbm"], [1, 1, 0, 0])
    np.testing.assert_array_equal(tfidf_svm(train, validation, validation.text), validation.target)


def test_features_are_fitted_on_the_training_split_alone(monkeypatch):
    seen = []
    fit = TfidfVectorizer.fit_transform
    monkeypatch.setattr(TfidfVectorizer, "fit_transform", lambda self, texts, y=None: seen.append(texts) or fit(self, texts))
    tfidf_svm(EXAMPLES, examples(["hidden"], [0]), ["secret"])
    assert seen and all(texts == EXAMPLES.text for texts in seen)


@pytest.mark.parametrize("texts", [["", " ", "\n"], ["same", "same", "same"], ["!", "!", "!"]])
def test_uninformative_texts_give_the_majority_class(texts):
    train = examples(texts, [1, 0, 1])
    np.testing.assert_array_equal(tfidf_svm(train, train, [*texts, "new"]), [1, 1, 1, 1])


def test_a_single_class_is_predicted_everywhere():
    train = EXAMPLES._replace(target=np.full(8, 3))
    np.testing.assert_array_equal(tfidf_svm(train, train, ["a", ""]), [3, 3])


def test_blank_texts_are_predicted_too():
    assert tfidf_svm(EXAMPLES, EXAMPLES, ["", "a bus"])[1] == 1
    assert tfidf_svm(EXAMPLES, EXAMPLES, []).shape == (0,)


def test_an_empty_split_is_named():
    with pytest.raises(ValueError, match="the validation split has none"):
        tfidf_svm(EXAMPLES, examples([], []), ["a"])


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch):
    real = builtins.__import__

    def no_sklearn(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_sklearn)
    with pytest.raises(ImportError, match=r"pip install 'mmjax\[eval\]'"):
        tfidf_svm(EXAMPLES, EXAMPLES, ["a"])
