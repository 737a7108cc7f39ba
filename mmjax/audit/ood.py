"""Out-of-distribution detection by a confidence, with every subset of the modalities."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Key

from mmjax.audit.audit import Audit, NotApplicable, with_interval
from mmjax.audit.audited import ROWS_AT_ONCE, Audited
from mmjax.audit.part import AuditedPart
from mmjax.audit.prediction_sets import softmax
from mmjax.data.dataset import Dataset
from mmjax.evaluate.predict import predict_subsets
from mmjax.evaluate.statistics import Estimate
from mmjax.metrics.confidence import auroc
from mmjax.tasks import panels
from mmjax.types import Batch, Metric, Padded, Units

__all__ = ["in_whole_batches", "out_of_distribution", "scrambled"]


def out_of_distribution(audited: Audited, seed: int = 0) -> Audit:
    """How well confidence tells test inputs from scrambled ones, for every subset of the modalities that may be present.

    A scrambled input has at each position the value of a random example that has one there, independently of the other
    positions: it has the right values and no structure. Other inputs, such as those of another data set, are not tested.
    Scores: the largest probability (Hendrycks and Gimpel, 2017) and the energy, log sum exp of the logits (Liu et al., 2020).
    A number is the area under the ROC curve: 0.5 is chance. Units without any modality of a subset do not count for it.
    """
    subsets = tuple(tuple(name.split("+")) for name in audited.outcomes)

    def make(part: AuditedPart) -> Callable[[Any, Batch], Any]:
        predict = predict_subsets(part.model.module, {"task": part.task}, {"task": subsets})

        def scores(variables: Any, batch: Batch) -> Any:
            keys = dict(zip(sorted(batch.inputs), jax.random.split(jax.random.key(seed), len(batch.inputs))))
            has = {name: of & (batch.weight > 0) for name, of in batch.present.items()}
            inputs = {name: scrambled(x, has[name], keys[name]) for name, x in batch.inputs.items()}
            both = [predict(variables, one)["task"] for one in (batch, batch.replace(inputs=inputs))]
            return [jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), tree) for tree in both]

        return scores

    parts: dict[str, dict[str, list[np.ndarray]]] = {}
    first = {part.fold: part for part in audited.parts}
    units = {fold: part.units() for fold, part in first.items()}
    predicted = audited.predict(make, change=lambda dataset: in_whole_batches(dataset, seed=seed))
    for fold, (inside, outside) in predicted.items():
        if not isinstance(inside, np.ndarray) or inside.ndim != 4 or "label" not in units[fold].target:
            raise NotApplicable(f"task {audited.task_name} does not predict logits of one class per example")
        number = np.argsort(_random_order(len(first[fold].dataset.splits["test"]), seed))[units[fold].entry]
        for kind, logits in (("inside", inside), ("outside", outside)):
            for name, score in (("probability", softmax(logits).max(-1)), ("energy", _energy(logits))):
                parts.setdefault(name, {}).setdefault(kind, []).append(np.float32(score[:, number]))
    has = {name: _joined_presence(first, units, name) for name in audited.modalities}
    weights = {subset: np.any([has[name] for name in subset.split("+")], axis=0) for subset in audited.outcomes}
    found = {}
    for name, of in parts.items():
        joined = {kind: np.concatenate(arrays, axis=1) for kind, arrays in of.items()}  # [s u k]
        for number, (subset, known) in enumerate(weights.items()):
            outcomes = {kind: array[:, :, number] for kind, array in joined.items()}
            weight = np.where(known, audited.units.weight, 0).astype(np.float32)
            found[f"{name}, {subset}"] = audited.estimates(outcomes, {"AUROC": Metric(auroc)}, weight)["AUROC"]
    return _audit(audited, found, list(parts), seed)


def in_whole_batches(dataset: Dataset, rows: int = ROWS_AT_ONCE, seed: int = 0) -> Dataset:
    """The data with their test rows in a random order, the first of which are repeated at the end, so that no batch of so many
    rows has padding: each input is scrambled with as many random others, wherever it stands in the data."""
    test = dataset.splits["test"]
    size = min(rows, len(test))
    chosen = np.resize(_random_order(len(test), seed), -(-len(test) // size) * size)
    taken = jax.tree.map(lambda leaf: np.asarray(leaf)[chosen], test)
    return replace(dataset, splits={**dataset.splits, "test": taken})


def _random_order(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(rows)


def _joined_presence(parts: Mapping[Any, AuditedPart], units: Mapping[Any, Units], modality: str) -> np.ndarray:
    """Whether each test unit has the modality, Bool[u]."""
    pointer = lambda part: np.asarray(part.dataset.splits["test"].pointer[modality])
    return np.concatenate([pointer(part)[units[fold].row] >= 0 for fold, part in parts.items()])


def _audit(audited: Audited, found: Mapping[str, Estimate], scores: Sequence[str], seed: int) -> Audit:
    subsets = list(audited.outcomes)
    table = [[found[f"{name}, {subset}"].mean for name in scores] for subset in subsets]
    best = max(scores, key=lambda name: found[f"{name}, {audited.complete}"].mean)
    full = found[f"{best}, {audited.complete}"]
    worst = min(subsets, key=lambda subset: np.nan_to_num(found[f"{best}, {subset}"].mean, nan=np.inf))
    return Audit(
        name="out_of_distribution",
        title="Out-of-distribution detection with missing modalities",
        conclusions=(
            f"With all modalities, the {best} detects scrambled inputs with an AUROC of {with_interval(full)}; of all subsets "
            f"it is worst with {worst.replace('+', ' and ')}: {found[f'{best}, {worst}'].mean:.3f}.",
        ),
        estimates=found,
        panels=(panels.matrix("AUROC by subset and score", subsets, scores, table, "present", "score"),),
        note="Scrambled inputs have at each position the value of a random example that has one there. Scores: largest "
        "probability (Hendrycks and Gimpel, 2017), energy (Liu et al., 2020).",
        values={"seed": seed},
    )


def scrambled(x: Any, present: Bool[Array, " b"], key: Key[Array, ""]) -> Any:
    """Each entry from a random example of the batch, drawn with replacement from those that have this entry.

    x: an input of the batch, an array [b ...] or `Padded`, whose lengths stay. present: False for examples without the input.
    Padding and absent inputs are never drawn; where no example has an entry, it stays.
    """
    if not isinstance(x, Padded):
        leaves, tree = jax.tree.flatten(x)
        keys = jax.random.split(key, len(leaves))
        return tree.unflatten([_redrawn(leaf, present, key) for leaf, key in zip(leaves, keys)])
    return x.replace(x=_redrawn(x.x, x.mask & present[:, None], key))


def _redrawn(x: Array, valid: Bool[Array, "b ..."], key: Key[Array, ""]) -> Array:
    """valid: along the leading axes of x."""
    valid = valid.reshape(valid.shape + (1,) * (x.ndim - valid.ndim))
    order, count = jnp.argsort(~valid, axis=0, stable=True), valid.sum(axis=0, keepdims=True)  # valid examples first
    place = jnp.floor(jax.random.uniform(key, x.shape) * count).astype(jnp.int32)
    source = jnp.take_along_axis(jnp.broadcast_to(order, x.shape), jnp.minimum(place, jnp.maximum(count - 1, 0)), axis=0)
    return jnp.where(count > 0, jnp.take_along_axis(x, source, axis=0), x)


def _energy(logits: np.ndarray) -> np.ndarray:
    """log sum exp: the negative energy, higher for familiar inputs."""
    largest = logits.max(axis=-1)
    return largest + np.log(np.exp(np.float64(logits) - largest[..., None]).sum(axis=-1))
