"""Baselines of generation: the most common text of the training split, and the text of the nearest training example."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mmjax.data.dataset import Dataset
from mmjax.tasks.baselines import check_scikit_learn
from mmjax.types import Padded

__all__ = ["BLOCK", "MAX_FEATURES", "NGRAMS", "features_of", "is_numeric", "nearest", "nearest_text", "text_baselines"]

MAX_FEATURES = 4096  # of one item; pixels of larger images are averaged, of other items the first ones are used
BLOCK = 256  # rows per product
NGRAMS = (2, 5)  # characters within words, which find related forms of a word


def text_baselines(data: Dataset, target: str, modalities: Iterable[str]) -> dict[str, np.ndarray]:
    """{name: str[n] for the rows of the test split}.

    "most_common": the most frequent training text. "nearest_image", ...: for each of these modalities, the text of the training
    row whose item has the highest cosine similarity; rows without the modality have the most common text. Numbers are compared
    as they are read, z-scored by the training split; texts, which the metadata have under the name of the modality, by TF-IDF.
    Other modalities have no baseline.
    """
    train, test = data.splits["train"], data.splits["test"]
    texts = np.array([" ".join(str(text).split()) for text in data.metadata["train"][target]])
    counts = Counter()
    for text, weight in zip(texts.tolist(), np.asarray(train.weight).tolist()):
        if text:
            counts[text] += weight
    common = counts.most_common(1)[0][0] if counts else ""
    found = {"most_common": np.full(len(test), common)}
    for name in modalities:
        column = data.columns[name]
        known = np.flatnonzero((np.asarray(train.pointer[name]) >= 0) & (texts != ""))
        asked = np.flatnonzero(np.asarray(test.pointer[name]) >= 0)
        if not len(known) or not len(asked):
            continue
        inputs = [data.metadata[split].get(name) for split in ("train", "test")]
        if is_numeric(column.read(0)):
            pairs = ((train, known), (test, asked))
            place = nearest(*(features_of(column, np.asarray(rows.pointer[name])[index]) for rows, index in pairs))
        elif name != target and all(of is not None and np.asarray(of).dtype.kind in "UO" for of in inputs):
            place = nearest_text(*([str(text) for text in of[index]] for of, index in zip(inputs, (known, asked))))
        else:
            continue
        answer = np.full(len(test), common, dtype=np.result_type(texts.dtype, found["most_common"].dtype))
        answer[asked] = texts[known[place]]
        found[f"nearest_{name}"] = answer
    return found


def nearest(known: Float[np.ndarray, "k d"], asked: Float[np.ndarray, "a d"]) -> np.ndarray:
    """For each row of `asked` the row of `known` of the highest cosine similarity after z-scoring by `known`, Int[a]."""
    mean, scale = known.mean(axis=0), known.std(axis=0)
    scale[scale < 1e-6] = np.inf  # constant features do not count
    unit = lambda x: x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    known, asked = unit((known - mean) / scale), unit((asked - mean) / scale)
    blocks = [np.argmax(asked[start : start + BLOCK] @ known.T, axis=1) for start in range(0, len(asked), BLOCK)]
    return np.concatenate(blocks)


def nearest_text(known: Sequence[str], asked: Sequence[str]) -> np.ndarray:
    """For each text of `asked` the text of `known` of the highest cosine similarity, Int[a]: TF-IDF of NGRAMS of characters,
    fitted on `known`. The first text if nothing is shared. Raises ImportError, with the remedy, without scikit-learn."""
    check_scikit_learn()
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(text.strip() for text in known):
        return np.zeros(len(asked), np.int64)
    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=NGRAMS, analyzer="char_wb")
    features, rows = vectorizer.fit_transform(known), vectorizer.transform(asked)
    blocks = [(rows[start : start + BLOCK] @ features.T).toarray() for start in range(0, len(asked), BLOCK)]
    return np.concatenate([block.argmax(axis=1) for block in blocks])


def is_numeric(item: Any) -> bool:
    """Whether items are arrays of numbers to compare; token ids and waveforms (int16) are not."""
    array = item.x if isinstance(item, Padded) else item
    return isinstance(array, np.ndarray) and array.dtype.kind in "fu"


def features_of(column: Any, items: np.ndarray) -> np.ndarray:
    """The items as Float32[n d]; series as their mean over valid steps."""
    unique, place = np.unique(items, return_inverse=True)
    return np.stack([_vector(column.read(int(item))) for item in unique])[place.reshape(-1)]


def _vector(item: Any) -> np.ndarray:
    array = item.x[: max(int(item.length), 1)].mean(axis=0) if isinstance(item, Padded) else np.asarray(item, np.float32)
    if array.ndim == 3:  # an image [h w c]: means of square blocks
        side = math.ceil(math.sqrt(array.size / MAX_FEATURES))
        for axis in (0, 1):
            width = min(side, array.shape[axis])
            whole = array.take(range(array.shape[axis] // width * width), axis)
            array = whole.reshape(*whole.shape[:axis], -1, width, *whole.shape[axis + 1 :]).mean(axis=axis + 1)
    return array.reshape(-1)[:MAX_FEATURES]
