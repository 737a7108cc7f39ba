"""From the predictions of every cell to the numbers of `results.json`: a pure function of what the run folder holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from mmjax.evaluate.floors import majority, one_hot_logits, tfidf_svm
from mmjax.evaluate.statistics import (
    Resampling,
    Score,
    difference,
    mean_confusion,
    resample,
    scores,
    scores_per_class,
    verdict,
)
from mmjax.evaluate.subsets import subset_name

INTERVAL = "95 %, paired bootstrap over leak-free groups of test examples and over seeds"
TABLE_METRICS = ("accuracy", "f1_macro")


@dataclass(frozen=True)
class Truth:
    """The test split, by row: label Int[n], weight Float[n], group Int[n] (clusters), language str[n]; classes' names."""

    label: np.ndarray
    weight: np.ndarray
    group: np.ndarray
    language: np.ndarray
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Predicted:
    """What one cell says: logits Float[s k n c] for seeds s and subsets k. validation: its mean best accuracy there."""

    logits: Float[np.ndarray, "s k n c"]
    subsets: tuple[tuple[str, ...], ...]
    validation: float

    @property
    def modalities(self) -> tuple[str, ...]:
        return max(self.subsets, key=len)

    def of(self, subset: tuple[str, ...]) -> Float[np.ndarray, "s n c"]:
        return self.logits[:, self.subsets.index(subset)]


def to_json(scored: Mapping[str, Score]) -> dict[str, Any]:
    return {name: score.to_json() for name, score in scored.items()}


def scored_subsets(cell: Predicted, truth: Truth, resampling: Resampling) -> dict[str, dict[str, Score]]:
    """{subset: {metric: Score}} over the test split."""
    return {
        subset_name(subset): scores(cell.of(subset), truth.label, truth.weight, resampling) for subset in cell.subsets
    }


def by_language(cell: Predicted, truth: Truth, resampling: Resampling) -> dict[str, Any]:
    """{language: rows and scores} over the rows with speech in it; `alone` is the audio by itself. Each row weighs 1."""
    if "audio" not in cell.modalities:
        return {}
    table = {}
    for language in sorted(set(truth.language.tolist()) - {""}):
        weight = (truth.language == language).astype(np.float32)
        scored = {
            "all": scores(cell.of(cell.modalities), truth.label, weight, resampling),
            "unimodal_heads": scores(cell.of(("audio",)), truth.label, weight, resampling),
        }
        of = {name: {m: score[m].to_json() for m in TABLE_METRICS} for name, score in scored.items()}
        table[language] = {"rows": int(weight.sum()), **of["all"], "unimodal_heads": of["unimodal_heads"]}
    return table


def cell_table(cell: Predicted, truth: Truth, resampling: Resampling) -> dict[str, Any]:
    """What one cell's entry says of its predictions, verdicts apart."""
    full = cell.of(cell.modalities)
    of_class = scores_per_class(full, truth.label, truth.weight, resampling)
    true_weight = np.bincount(truth.label, truth.weight, minlength=len(truth.classes))
    return {
        "subsets": {name: to_json(scored) for name, scored in scored_subsets(cell, truth, resampling).items()},
        "languages": by_language(cell, truth, resampling),
        "per_class": {
            name: {metric: of_class[metric][k].to_json() for metric in ("precision", "recall", "f1")}
            | {"weight": float(true_weight[k])}
            for k, name in enumerate(truth.classes)
        },
        "confusion": mean_confusion(full, truth.label, truth.weight).tolist(),
    }


def floor_predictions(train: Mapping[str, Any], validation: Mapping[str, Any], test_text: Sequence[str], classes: int) -> dict:
    """{floor: predicted Int[n]} for the test rows. train, validation: {"text", "label", "weight"}, a row an example and text.

    majority: the commonest class of the training split; tfidf_svm: TF-IDF and a linear SVM on the text, where there is any.
    """
    usual = majority(train["label"], train["weight"], classes)
    if not any(text.strip() for text in train["text"]):
        return {"majority": np.full(len(test_text), usual)}
    svm = tfidf_svm(
        list(train["text"]),
        train["label"].tolist(),
        list(test_text),
        (list(validation["text"]), validation["label"].tolist()),
        train["weight"],
    )
    return {"majority": np.full(len(test_text), usual), "tfidf_svm": svm}


def verdicts(mine: Mapping[str, Score], floors: Mapping[str, tuple[str, Mapping[str, Score]]]) -> list[dict[str, Any]]:
    """One entry a floor and metric: the paired difference and what it allows one to say. floors: {key: (name, scores)}."""
    entries = []
    for against, (name, theirs) in floors.items():
        for metric in TABLE_METRICS:
            gap = difference(mine[metric], theirs[metric])
            entry = {"against": against, "name": name, "metric": metric, "difference": gap._asdict()}
            entries.append(entry | {"verdict": verdict(gap)})
    return entries


def tabulate(cells: Mapping[str, Predicted], floors: Mapping[str, np.ndarray], truth: Truth) -> dict[str, Any]:
    """{"cells": {name: entry}, "floors", "best_cell", "interval"}: the part of results.json that is scored.

    The best cell is a fusion wherever one was run; it, and the best single modality that is a floor to the fusions, are chosen
    on validation, never on test.
    """
    seeds = {name: cell.logits.shape[0] for name, cell in cells.items()}
    draws = {count: resample(truth.group, count) for count in {1, *seeds.values()}}
    table = {name: cell_table(cell, truth, draws[seeds[name]]) for name, cell in cells.items()}
    full = {
        name: scores(cell.of(cell.modalities), truth.label, truth.weight, draws[seeds[name]])
        for name, cell in cells.items()
    }
    classes = len(truth.classes)
    below = {
        name: scores(one_hot_logits(predicted, classes)[None], truth.label, truth.weight, draws[1])
        for name, predicted in floors.items()
    }
    singles = [name for name, cell in cells.items() if len(cell.modalities) == 1]
    fused = [name for name in cells if name not in singles]
    best_single = max(singles, key=lambda name: cells[name].validation, default=None)
    names = {"majority": "the majority class", "tfidf_svm": "TF-IDF + linear SVM on the text"}
    compared = {name: (names[name], scored) for name, scored in below.items()}
    for name, cell in cells.items():
        against = dict(compared)
        if best_single and len(cell.modalities) > 1:
            alone = cells[best_single].modalities[0]
            against["best_single"] = (f"{alone} alone ({best_single})", full[best_single])
        table[name]["verdicts"] = verdicts(full[name], against)
        table[name]["validation_accuracy"] = cell.validation
    summary = {name: {m: scored[m].to_json() for m in TABLE_METRICS} for name, scored in below.items()}
    single = {"cell": best_single} | {m: full[best_single][m].to_json() for m in TABLE_METRICS} if best_single else None
    return {
        "cells": table,
        "floors": {"tfidf_svm": None} | summary | {"best_single": single},
        "best_cell": max(fused or singles, key=lambda name: cells[name].validation),
        "interval": INTERVAL,
    }
