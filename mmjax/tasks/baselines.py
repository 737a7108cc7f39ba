"""Baselines that are fitted on the training split: a constant answer, and linear models on TF-IDF of the texts.

The text baselines need scikit-learn: pip install 'mmjax[eval]'.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmjax.types import Units

__all__ = [
    "PENALTIES", "TOKEN", "TextExamples", "check_scikit_learn", "has_text", "label_frequencies", "majority_class",
    "text_examples", "tfidf_labels", "tfidf_ridge", "tfidf_svm", "weighted_median",
]

TOKEN = r"\w+|[^\w\s]"  # scikit-learn's default pattern drops one-letter words, punctuation and emoji
PENALTIES = (0.1, 1.0, 10.0)  # candidates for C of `LinearSVC` and alpha of `Ridge`


class TextExamples(NamedTuple):
    """Training examples of a text model. text: e strings; target: array [e ...]; weight: Float32[e]."""

    text: list[str]
    target: np.ndarray
    weight: np.ndarray


def majority_class(label: np.ndarray, weight: np.ndarray) -> int:
    """The class with the largest total weight; the smallest one of tied classes. label: Int[n]; weight: Float[n].

    Raises ValueError if no weight is positive.
    """
    if not (np.asarray(weight) > 0).any():
        raise ValueError("no training example has positive weight, so there is no majority class")
    return int(np.bincount(label, np.asarray(weight, np.float64)).argmax())


def label_frequencies(target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The weighted share of units to which each label applies, Float64[l]; 0 for a label that is never known.

    target: Int[u l], 1 or 0, negative if unknown. weight: Float[u].
    """
    known = weight[:, None] * (target >= 0)
    return (known * (target == 1)).sum(axis=0) / np.maximum(known.sum(axis=0), 1e-30)


def has_text(units: Units) -> bool:
    """Whether the metadata have a column "text" with at least one text that is not blank."""
    return any(str(text).strip() for text in units.metadata.get("text", ()))


def text_examples(units: Units, target: str) -> TextExamples:
    """Merges units with the same id, text and target into one example with their total weight.

    Rows that repeat a text, such as the recordings of one sentence by several speakers, then count as one example.
    """
    _, answer = np.unique(units.target[target], axis=0, return_inverse=True)
    keys = np.stack([units.metadata["id"].astype(str), units.metadata["text"].astype(str), answer.reshape(-1).astype(str)])
    _, first, example = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    weight = np.bincount(example, units.weight).astype(np.float32)
    return TextExamples(units.metadata["text"][first].tolist(), units.target[target][first], weight)


def weighted_median(values: np.ndarray, weight: np.ndarray) -> float:
    """The weighted median of values Float[n]; if two values are in the middle, their mean, as in NumPy. weight: Float[n]."""
    order = np.argsort(values)
    values, below = values[order], np.cumsum(weight[order], dtype=np.float64)
    return float(np.mean([values[np.searchsorted(below, below[-1] / 2, side)] for side in ("left", "right")]))


def check_scikit_learn() -> None:
    """Raises ImportError with the remedy if scikit-learn is missing."""
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ImportError("the TF-IDF baseline needs scikit-learn: pip install 'mmjax[eval]'") from error


def _vectorizers() -> Iterator[Any]:
    """TF-IDF of words (1- and 2-grams), and of characters (2- to 5-grams inside words)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    yield TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=TOKEN)
    yield TfidfVectorizer(sublinear_tf=True, ngram_range=(2, 5), analyzer="char_wb")


def _check_examples(train: TextExamples, validation: TextExamples) -> None:
    for name, examples in (("training", train), ("validation", validation)):
        if not examples.text:
            raise ValueError(f"the TF-IDF baseline needs texts, and the {name} split has none")


def _best_pipeline(models: Sequence[Any], train: TextExamples, validation: TextExamples) -> Any:
    """Fits every pair of TF-IDF and model on `train`; returns the first one with the best score on `validation`."""
    from sklearn.base import clone
    from sklearn.pipeline import make_pipeline

    fitted = []
    for vectorizer in _vectorizers():
        for model in models:
            pipeline = make_pipeline(clone(vectorizer), clone(model))
            weight = {f"{pipeline.steps[-1][0]}__sample_weight": train.weight}
            fitted.append(pipeline.fit(train.text, train.target, **weight))
    return max(fitted, key=lambda pipeline: pipeline.score(validation.text, validation.target))


def tfidf_svm(train: TextExamples, validation: TextExamples, texts: Sequence[str]) -> np.ndarray:
    """A linear SVM on TF-IDF -> the predicted class of each text, Int[t].

    Fitted on `train` alone; features and penalty are selected by the accuracy on `validation`. Predicts the majority class if
    all training texts are blank, or if there is only one class. Raises ValueError if a split has no texts.
    """
    _check_examples(train, validation)
    check_scikit_learn()
    from sklearn.svm import LinearSVC

    if len(np.unique(train.target)) == 1 or not any(text.strip() for text in train.text):
        return np.full(len(texts), majority_class(train.target, train.weight))
    models = [LinearSVC(C=penalty, max_iter=20_000, random_state=0) for penalty in PENALTIES]
    best = _best_pipeline(models, train, validation)
    return best.predict(list(texts)) if len(texts) else np.zeros(0, train.target.dtype)


def tfidf_ridge(train: TextExamples, validation: TextExamples, texts: Sequence[str]) -> np.ndarray:
    """A ridge regression on TF-IDF -> the predicted number of each text, Float[t].

    Fitted on `train` alone; features and penalty are selected by R2 on `validation`. Predicts the weighted mean if all training
    texts are blank. Raises ValueError if a split has no texts.
    """
    _check_examples(train, validation)
    check_scikit_learn()
    from sklearn.linear_model import Ridge

    if not any(text.strip() for text in train.text):
        return np.full(len(texts), np.average(train.target, weights=train.weight))
    best = _best_pipeline([Ridge(alpha=penalty) for penalty in PENALTIES], train, validation)
    return best.predict(list(texts)) if len(texts) else np.zeros(0)


def tfidf_labels(train: TextExamples, validation: TextExamples, texts: Sequence[str]) -> np.ndarray:
    """Linear SVMs on TF-IDF, one per label -> the signed distance of each text to the boundary of each label, Float[t l].

    Fitted on the known labels of `train` alone; features and penalty are shared by all labels and selected by micro F1 on
    `validation`. A label that applies to all training examples, or to none, has a constant distance of 1 or -1. Raises
    ValueError if a split has no texts.
    """
    _check_examples(train, validation)
    check_scikit_learn()
    if not any(text.strip() for text in train.text):
        return np.tile(np.where(label_frequencies(train.target, train.weight) > 0.5, 1.0, -1.0), (len(texts), 1))
    best, best_score = np.zeros((len(texts), train.target.shape[1])), -1.0
    for vectorizer in _vectorizers():
        features = [vectorizer.fit_transform(train.text), vectorizer.transform([*validation.text, *texts])]
        for penalty in PENALTIES:
            margin = np.stack([_label_margin(*features, train, label, penalty) for label in range(best.shape[1])], axis=1)
            score = _f1_micro(margin[: len(validation.text)] > 0, validation)
            if score > best_score:
                best, best_score = margin[len(validation.text) :], score
    return best


def _label_margin(train_features: Any, features: Any, train: TextExamples, label: int, penalty: float) -> np.ndarray:
    from sklearn.svm import LinearSVC

    target = train.target[:, label]
    known = np.flatnonzero(target >= 0)
    if len(np.unique(target[known])) < 2:
        return np.full(features.shape[0], 1.0 if (target[known] == 1).any() else -1.0)
    svm = LinearSVC(C=penalty, max_iter=20_000, random_state=0)
    return svm.fit(train_features[known], target[known], sample_weight=train.weight[known]).decision_function(features)


def _f1_micro(predicted: np.ndarray, examples: TextExamples) -> float:
    weight, true = examples.weight[:, None] * (examples.target >= 0), examples.target == 1
    return float(2 * (weight * (predicted & true)).sum() / max((weight * predicted).sum() + (weight * true).sum(), 1e-30))
