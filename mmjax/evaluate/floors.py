"""Floors under a classification table: a model that does not beat these has learnt nothing from its modalities.

    predicted = tfidf_svm(train_texts, train_labels, test_texts, validation=(validation_texts, validation_labels))
    scores(one_hot_logits(predicted, classes)[None], test_labels, weight, resample(test_groups, seeds=1))

A floor is one seed, and pairs with a model of any number of seeds through `difference`.
"""

from collections.abc import Sequence

import numpy as np

EVERY_SYMBOL = r"\w+|[^\w\s]"  # also what scikit-learn drops unasked: one-letter words, punctuation, emoji


def majority(label, weight, classes: int) -> int:
    """label Int[n], weight Float[n] of the training split -> the class of the largest weight (the first of equals)."""
    label, weight = np.asarray(label), np.asarray(weight, np.float64)
    counted = weight > 0
    if not counted.any():
        raise ValueError("no row has positive weight: there is no majority class")
    return int(np.bincount(label[counted], weight[counted], minlength=classes).argmax())


def one_hot_logits(predicted, classes: int) -> np.ndarray:
    """predicted Int[...] -> Float32[... c], finite logits whose softmax is exactly 1 for the predicted class."""
    return np.where(np.asarray(predicted)[..., None] == np.arange(classes), 0.0, -1e4).astype(np.float32)


def _candidates():
    """Pipelines over word 1-2-grams and over character 2-5-grams within words, each with three strengths of penalty."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_pipeline
        from sklearn.svm import LinearSVC
    except ImportError as error:
        raise ImportError("the TF-IDF floor needs scikit-learn: pip install 'mmjax[eval]'") from error
    words = dict(ngram_range=(1, 2), token_pattern=EVERY_SYMBOL)
    characters = dict(ngram_range=(2, 5), analyzer="char_wb")
    for features in (words, characters):
        for C in (0.1, 1.0, 10.0):
            svm = LinearSVC(C=C, max_iter=20_000, random_state=0)
            yield make_pipeline(TfidfVectorizer(sublinear_tf=True, **features), svm)


def tfidf_svm(
    train_texts: Sequence[str],
    train_labels: Sequence[int] | np.ndarray,
    texts_to_predict: Sequence[str],
    validation: tuple[Sequence[str], Sequence[int] | np.ndarray],
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """A linear SVM on TF-IDF, fitted on the training split alone -> predicted Int[n] for texts_to_predict.

    weight: Float[n] of the training texts, None for ones.
    Of words or characters and three penalties, the pair most accurate on the validation split is used (the first of
    equals). Texts without any content, or one class only, leave nothing to learn: the majority class is predicted.
    """
    train_labels = np.asarray(train_labels)
    for name, texts, labels in (("training", train_texts, train_labels), ("validation", *validation)):
        if len(texts) != len(labels) or len(texts) == 0:
            raise ValueError(f"the {name} split has {len(texts)} texts and {len(labels)} labels")
    weight = np.ones(len(train_labels)) if weight is None else weight
    candidates = list(_candidates())
    if len(np.unique(train_labels)) == 1 or not any(text.strip() for text in train_texts):
        usual = majority(train_labels, weight, int(train_labels.max()) + 1)
        return np.full(len(texts_to_predict), usual)
    fitted = [candidate.fit(train_texts, train_labels, linearsvc__sample_weight=weight) for candidate in candidates]
    best = max(fitted, key=lambda model: model.score(*validation))
    return best.predict(texts_to_predict) if len(texts_to_predict) else np.zeros(0, train_labels.dtype)
