"""Shortcuts: what a simple model reaches from each modality alone, and from sizes and metadata alone.

A model that never sees an image, hears a recording or reads a word should not beat the majority. Where it does, the set can be
solved in part for the wrong reason.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmjax.data.build.features import CONTENTS, metadata_table, size_table
from mmjax.data.build.items import Item, column, modalities, parts_of
from mmjax.data.build.split import strata
from mmjax.data.splits import grouped_folds

__all__ = [
    "DECISIVE", "ERRORS", "LEAST_GAIN", "SOLVED", "Probe", "combined", "forest", "linear", "probe", "shortcuts", "warnings",
    "words",
]  # fmt: skip

SOLVED = 0.9  # accuracy of a shortcut that solves the set
DECISIVE = 0.5  # share of the gap between majority and the best content that makes a shortcut decisive
LEAST_GAIN = 0.02  # accuracy above the majority that is worth a warning
ERRORS = 3.0  # standard errors above the majority that count as more


class Probe(NamedTuple):
    """One simple model. content: whether it sees the content of a modality. n: scored items. accuracy: out of fold. majority:
    share of the most frequent class of the same items. error: standard error of the difference, clustered by group.
    probabilities: Float[n_items classes], out of fold; NaN for items without these features."""

    name: str
    content: bool
    n: int
    accuracy: float
    majority: float
    error: float
    probabilities: np.ndarray

    @property
    def beats_majority(self) -> bool:
        return self.accuracy - self.majority > max(LEAST_GAIN, ERRORS * self.error)


def probe(name: str, features: Any, rows: Sequence[int], labels: np.ndarray, groups: np.ndarray, model: Callable[[], Any],
          content: bool, seed: int = 0) -> Probe | None:  # fmt: skip
    """Cross-validates a model by group.

    features: of the items `rows`, [m f] or m texts. labels, groups: Int[n] of all items. model: () -> a classifier of
    scikit-learn. None if fewer than two groups or classes have these features.
    """
    rows = np.asarray(rows, np.int64)
    y, g = labels[rows], groups[rows]
    classes, folds = int(labels.max()) + 1, min(5, len(np.unique(g)))
    if folds < 2 or len(np.unique(y)) < 2:
        return None
    of = grouped_folds(g, y, folds, seed)
    probabilities = np.zeros((len(rows), classes))
    most = np.bincount(y).argmax()
    take = (lambda x, at: [x[i] for i in at]) if isinstance(features, list) else (lambda x, at: x[at])
    for fold in range(folds):
        train, test = np.flatnonzero(of != fold), np.flatnonzero(of == fold)
        if len(np.unique(y[train])) == 1:
            probabilities[test, y[train][0]] = 1
            continue
        fitted = model().fit(take(features, train), y[train])
        probabilities[np.ix_(test, fitted.classes_)] = fitted.predict_proba(take(features, test))
    hit, base = probabilities.argmax(axis=1) == y, y == most
    all_items = np.full((len(labels), classes), np.nan)
    all_items[rows] = probabilities
    difference = hit.astype(float) - base
    return Probe(name, content, len(rows), float(hit.mean()), float(base.mean()), _clustered(difference, g), all_items)


def _clustered(difference: np.ndarray, groups: np.ndarray) -> float:
    """The standard error of a mean whose terms depend on each other within groups."""
    _, of = np.unique(groups, return_inverse=True)
    sums = np.bincount(of, difference - difference.mean())
    return float(np.sqrt((sums**2).sum() * len(sums) / max(1, len(sums) - 1)) / len(difference))


def linear() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=3000))


def words() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True)
    return make_pipeline(vectors, LogisticRegression(C=10.0, max_iter=3000))


def forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(25, min_samples_leaf=3, random_state=0)


def shortcuts(items: Sequence[Item], label: str, groups: np.ndarray, ignored: Iterable[str] = (), seed: int = 0,
              progress: Callable[[Sequence], Iterable] = iter) -> list[Probe]:  # fmt: skip
    """Probes of a column of classes: each modality, then text length, file sizes and metadata.

    ignored: columns that are no metadata, such as ids, other labels and ratings. Raises ImportError without scikit-learn.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ImportError("probes for shortcuts need scikit-learn: pip install 'mmjax[eval]'") from error
    labels = strata(column(items, label))
    found = []
    for modality, kind in modalities(items).items():
        rows, parts = parts_of(items, modality)
        contents = [part.text() for part in parts] if kind == "text" else np.stack([CONTENTS[kind](p) for p in progress(parts)])
        found.append(probe(modality, contents, rows, labels, groups, words if kind == "text" else linear, True, seed))
    everything = list(range(len(items)))
    tables = {
        "text length": size_table(items, ("text",)),
        "file size": size_table(items, ("image", "audio"), progress),
        "metadata": metadata_table(items, {label, *ignored})[0],
    }
    for name, table in tables.items():
        if table.shape[1]:
            found.append(probe(name, table, everything, labels, groups, forest, False, seed))
    return [one for one in found if one is not None]


def warnings(probes: Sequence[Probe]) -> list[str]:
    """One sentence for each shortcut that beats the majority."""
    best = max((one.accuracy - one.majority for one in probes if one.content), default=0.0)
    sentences = []
    for one in probes:
        if one.content or not one.beats_majority:
            continue
        gain = one.accuracy - one.majority
        share = gain / best if best > 0 else float("inf")
        if one.accuracy >= SOLVED or share >= DECISIVE:
            verb = "solves this set" if one.accuracy >= SOLVED else "explains much of what can be learned from this set"
        else:
            verb = "helps on this set"
        sentences.append(
            f"A shortcut {verb}: {one.name} alone reaches an accuracy of {one.accuracy:.3f}; the majority class has "
            f"{one.majority:.3f}."
        )
    return sentences


def combined(probes: Sequence[Probe]) -> np.ndarray:
    """Float[n classes]: the mean out-of-fold probability over the modalities that an item has; NaN without any."""
    stack = np.stack([one.probabilities for one in probes if one.content])
    there = ~np.isnan(stack[..., 0])
    total = np.where(there[..., None], stack, 0).sum(axis=0)
    return np.where(there.any(axis=0)[:, None], total / np.maximum(there.sum(axis=0), 1)[:, None], np.nan)
