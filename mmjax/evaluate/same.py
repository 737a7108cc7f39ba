"""Answers that stay the same without a modality, or with that of another example: whether a model ignores it.

An answer is a text or the name of a class. Checksums of the answers are saved for all test units, so answers of any two cells
can be compared later.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Int, UInt32

from mmjax.data.dataset import Dataset
from mmjax.evaluate.statistics.estimates import estimates
from mmjax.evaluate.statistics.influence import mean_influences
from mmjax.metrics.weighted import mean
from mmjax.types import Metric, Outcomes, Task, Units

__all__ = ["ALL", "SHARE", "UNDEFINED", "answer_codes", "kept_answers", "same_codes", "share"]

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
    """The share of equal answers as `ESTIMATE` of `mmjax.runs.schema`. same: of `same_codes`. fold: as of `estimates`."""
    weight = np.where(same[0] == UNDEFINED, 0, units.weight)
    outcomes = {"same": np.float64(same)}
    found = estimates({"share": SHARE}, outcomes, weight, units.group, fold, program=mean_influences)
    return found["share"].to_json()


def _share(outcomes: Outcomes, weight: Any) -> Any:
    return mean(outcomes["same"], weight)


SHARE = Metric(_share)
