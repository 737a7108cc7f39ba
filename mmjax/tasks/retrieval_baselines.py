"""Baselines of retrieval: one order for all queries, and the words of queries and candidates."""

from typing import Any

import numpy as np
from jaxtyping import Float

from mmjax.data.dataset import Column, Dataset
from mmjax.tasks.baselines import check_scikit_learn
from mmjax.tasks.text_baselines import features_of, is_numeric
from mmjax.types import Padded

__all__ = ["WORDS", "popular_order", "popularity", "tfidf_vectors"]

WORDS = 4096  # the most frequent words of the test candidates and queries


def popularity(data: Dataset, modality: str | None) -> Float[np.ndarray, " n"] | None:
    """How close each test row's item is to the mean of the training items, a cosine after division by the deviations; 0 without
    the modality, and for fused tokens, whose modality is "". For token ids, the logarithm of the mean training frequency of its
    tokens. None for other items, such as waveforms."""
    found = np.zeros(len(data.splits["test"]), np.float32)
    if not modality:
        return found
    column, train = data.columns[modality], np.asarray(data.splits["train"].pointer[modality])
    test = np.asarray(data.splits["test"].pointer[modality])
    known, asked = np.unique(train[train >= 0]), np.flatnonzero(test >= 0)
    if not len(known) or not len(asked):
        return found
    if is_numeric(column.read(0)):
        x, y = features_of(column, known), features_of(column, test[asked])
        scale = np.maximum(x.std(axis=0), 1e-6)
        mean = (x / scale).mean(axis=0)
        y = y / scale
        found[asked] = y @ mean / np.maximum(np.linalg.norm(y, axis=1) * np.linalg.norm(mean), 1e-12)
        return found
    if _array(column.read(0)).dtype not in (np.int32, np.int64):
        return None
    frequency = np.zeros(1 + max(_largest(column, known), _largest(column, np.unique(test[asked]))))
    for item in known.tolist():
        np.add.at(frequency, _ids(column, item), 1)
    found[asked] = [np.log1p(frequency[_ids(column, item)].mean()) for item in test[asked].tolist()]
    return found


def popular_order(query: Float[np.ndarray, " n"], gallery: Float[np.ndarray, " n"]) -> dict[str, Float[np.ndarray, "n 2"]]:
    """Embeddings whose products, query + gallery, order candidates alike for each query, in both directions."""
    ones = np.ones_like(query)
    return {"query": np.stack([query, ones], axis=1), "gallery": np.stack([ones, gallery], axis=1)}


def tfidf_vectors(data: Dataset, query: str, gallery: str) -> dict[str, Float[np.ndarray, "n w"]]:
    """TF-IDF of the words of two metadata columns of the test rows, of unit length, by the idf of the candidates.

    Raises ImportError, with the remedy, without scikit-learn.
    """
    check_scikit_learn()
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = {name: [str(text) for text in data.metadata["test"][column]] for name, column in
             (("query", query), ("gallery", gallery))}  # fmt: skip
    vectorizer = TfidfVectorizer(sublinear_tf=True, max_features=WORDS, token_pattern=r"(?u)\b\w+\b")
    try:
        vectorizer.fit(sorted(set(texts["gallery"])))
    except ValueError:  # no words at all
        return {name: np.zeros((len(rows), 1), np.float32) for name, rows in texts.items()}
    return {name: vectorizer.transform(rows).toarray().astype(np.float32) for name, rows in texts.items()}


def _array(item: Any) -> np.ndarray:
    return np.asarray(item.x[: max(int(item.length), 1)] if isinstance(item, Padded) else item)


def _ids(column: Column, item: int) -> np.ndarray:
    return _array(column.read(item)).reshape(-1)


def _largest(column: Column, items: np.ndarray) -> int:
    return max(int(_ids(column, item).max()) for item in items.tolist())
