"""Answers that stay the same without a modality, or with that of another example: whether a model ignores it.

An answer is a text or the name of a class. Checksums of the answers are saved for all test units, so answers of any two cells
can be compared later.
"""

import math
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Int, UInt32

from mmjax.data.dataset import Dataset
from mmjax.evaluate.statistics.estimates import finite
from mmjax.evaluate.statistics.variance import Contributions, degrees_of_freedom, score_interval, variance
from mmjax.types import Task, Units

__all__ = ["ALL", "UNDEFINED", "answer_codes", "kept_answers", "same_codes", "share"]

ALL = "answer/all"  # the name of the checksums with all modalities
UNDEFINED = -1


def answer_codes(task: Task, predicted: Any, units: Units, classes: Mapping[str, Any]) -> UInt32[np.ndarray, "s u"] | None:
    """The CRC-32 of each seed's answer to each unit; None if the task's answers are not texts, such as ranks.

    predicted: [s n ...], with all modalities or a subset. classes: {target: names of classes, or a tokenizer}.
    """
    codes = []
    for seed in range(len(jax.tree.leaves(predicted)[0])):
        of_seed = jax.tree.map(lambda leaf, seed=seed: leaf[seed : seed + 1], predicted)
        answers = np.asarray(task.answers(of_seed, classes).get("predicted"))
        if answers.dtype.kind != "U":
            return None
        known = {text: zlib.crc32(text.encode(errors="surrogatepass")) for text in set(answers.ravel().tolist())}
        codes.append([known[text] for text in answers.ravel()[units.entry].tolist()])
    return np.array(codes, np.uint32)


def same_codes(
    codes: UInt32[np.ndarray, "s u"], others: UInt32[np.ndarray, "s u"], defined: Bool[np.ndarray, " u"]
) -> Int[np.ndarray, "s u"]:
    """1 where the answers are the same, 0 where they differ, UNDEFINED elsewhere."""
    return np.where(defined, codes == others, UNDEFINED).astype(np.int8)


def kept_answers(task: Task, predicted: Mapping[str, Any], units: Units, dataset: Dataset) -> dict[str, np.ndarray]:
    """{"answer/all": UInt32[s u], checksums of the answers; "same/MODALITY": Int8[s u], as of `same_codes`, whether the answer
    without a modality is the same, undefined for units that lack it or have no other}; {} if answers are not texts.

    predicted: {subset: [s n ...]} of the test split, the complete input last.
    """
    complete, classes = list(predicted)[-1], {**dataset.classes, **dataset.tokenizers}
    codes = answer_codes(task, predicted[complete], units, classes)
    if codes is None:
        return {}
    found, names = {ALL: codes}, complete.split("+")
    has = {name: np.asarray(dataset.splits["test"].pointer[name])[units.row] >= 0 for name in names}
    for name in names:
        others = [other for other in names if other != name]
        if (subset := "+".join(others)) in predicted:
            defined = has[name] & np.any([has[other] for other in others], axis=0)
            found[f"same/{name}"] = same_codes(codes, answer_codes(task, predicted[subset], units, classes), defined)
    return found


def share(same: Int[np.ndarray, "s u"], units: Units, fold: np.ndarray | None = None) -> dict[str, Any]:
    """The share of equal answers as `ESTIMATE` of `mmjax.runs.schema`, as `estimates` of a mean gives it, but without a
    compiled program. same: of `same_codes`. fold: Int[u], as there."""
    weight = np.where(same[0] >= 0, np.asarray(units.weight, np.float64), 0)
    if not weight.sum():
        return {"mean": None, "low": None, "high": None, "per_seed": [None] * len(same)}
    weight = weight / weight.sum()
    _, group = np.unique(units.group, return_inverse=True)
    size = np.bincount(group, weight)
    value = same @ weight
    parts = np.stack([np.bincount(group, weight * (of_seed - mean)) for of_seed, mean in zip(same, value)])
    parts /= np.sqrt(np.maximum(1 - size, 1e-6))  # CR2
    fold = np.zeros(len(weight), int) if fold is None else np.unique(fold, return_inverse=True)[1]
    of_fold = np.stack([np.bincount(fold, weight * of_seed) for of_seed in same])
    training = of_fold + (of_fold.mean(axis=0).sum() - of_fold.mean(axis=0))  # one seed on a fold, all seeds on the others
    squares = np.bincount(fold, weight) ** 2
    folds = squares.sum() ** 2 / np.sum(squares**2)  # their effective number
    mean, low, high, groups = float(value.mean()), math.nan, math.nan, int(np.count_nonzero(size))
    if groups > 1:
        v = variance([Contributions(parts, training, float(folds))], degrees_of_freedom(size))
        low, high = score_interval(mean, math.sqrt(v.total), v.degrees, (0.0, 1.0), groups)
    return {"mean": mean, "low": finite(low), "high": finite(high), "per_seed": value.tolist()}
