"""EMAP: whether a model combines its modalities by more than a sum of one function of each."""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.audit.audit import Audit, NotApplicable, interval_panel
from mmjax.audit.audited import Audited, AuditedPart
from mmjax.evaluate.predict import bound_apply
from mmjax.evaluate.statistics import difference
from mmjax.types import Batch, Tokens

__all__ = ["LIMIT", "MIXTURES", "additive_projection", "emap", "mixtures_of"]

LIMIT = 2048  # combinations of the other modalities that are averaged over
MIXTURES = 4096  # of one compiled call

Mixtures = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""{modality: rows Int[p]} -> predictions [s p ...] for p examples whose modalities come from these rows."""


def emap(audited: Audited, metric: str | None = None, limit: int = LIMIT, seed: int = 0) -> Audit:
    """Compares a cell with its additive projection: what is left of a metric without interactions between modalities.

    Each test example is predicted by the sum over modalities of the expected prediction given its input of this modality, the
    others being drawn independently from the test split, minus (modalities - 1) times the mean prediction. For two modalities
    this is EMAP (Hessel and Lee, "Does my multimodal model learn cross-modal interactions? It's harder to tell than you might
    think!", EMNLP 2020, eq. 3); for more, it is the first-order part of the functional ANOVA that the paper starts from. The
    predictions are logits or values; inputs are encoded once and only the fusion runs on mixtures.

    metric: by default the headline metric. limit: the largest number of combinations of the other modalities that are averaged
    over exactly; of more, so many are drawn. seed: of the drawing.
    """
    metric = metric or audited.headline
    names = tuple(audited.complete.split("+"))
    if len(names) < 2:
        raise NotApplicable(f"task {audited.task_name} of cell {audited.cell} has a single modality")
    tokens, predicted = audited.predict(_encode), {}
    for part in audited.parts:
        rows, parts = part.dataset.splits["test"], predicted.setdefault(part.fold, [])
        sources = {name: np.asarray(rows.pointer[name]) for name in names}
        seeds = sum(map(len, parts)) + np.arange(len(part.model.seeds))
        mixtures = mixtures_of(audited, part, jax.tree.map(lambda leaf, s=seeds: leaf[s], tokens[part.fold]))
        parts.append(np.float32(additive_projection(mixtures, sources, np.asarray(rows.weight), limit, seed)))
    joined = {fold: np.concatenate(parts) for fold, parts in predicted.items()}
    additive = audited.estimate(audited.scored(joined), metric)
    full = audited.estimate(audited.outcomes[audited.complete], metric)
    gap, found = difference(full, additive), {"model": full, "additive projection": additive}
    return Audit(
        name="emap",
        title=f"Interactions between modalities in {metric}",
        conclusions=(
            f"{metric} is {full.mean:.3f}, and {additive.mean:.3f} for the additive projection of the same models; difference "
            f"{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]: "
            + {
                "better": "the models use interactions between modalities, and gain from them.",
                "worse": "their interactions between modalities do harm.",
                "identical": "no interaction changes an answer.",
                "inconclusive": "no gain from interactions is detectable.",
            }[gap.verdict],
        ),
        estimates=found,
        panels=(interval_panel(f"{metric} without interactions", found, metric),),
        note="EMAP (Hessel and Lee, 2020): predictions (logits or values) are projected on sums of functions of one modality.",
        values={"metric": metric, "difference": gap.to_json()},
    )


def additive_projection(
    mixtures: Mixtures, sources: Mapping[str, np.ndarray], weight: np.ndarray, limit: int = LIMIT, seed: int = 0
) -> np.ndarray:
    """The additive projection of the predictions of n rows, Float64[s n ...].

    mixtures: see `Mixtures`. sources: {modality: Int[n]}, the item of each row; rows with the same item have the same input, so
    each is predicted once. weight: Float[n], the distribution of rows in the expectations. limit, seed: as in `emap`.
    """
    names, rng = sorted(sources), np.random.default_rng(seed)
    items = {name: _distinct(sources[name], weight) for name in names}
    total, means = 0.0, []
    for name in names:
        first, inverse, mass = items[name]
        rows, share = _combinations({other: items[other] for other in names if other != name}, limit, rng)
        count = len(share)
        at_once = max(1, min(MIXTURES // count, len(first)))
        found = []
        for start in range(0, len(first), at_once):
            own = first[start : start + at_once]
            chosen = {name: np.repeat(own, count)} | {other: np.tile(of, len(own)) for other, of in rows.items()}
            values = np.float64(mixtures(chosen))
            values = values.reshape(values.shape[0], len(own), count, *values.shape[2:])
            found.append(np.einsum("sqt...,t->sq...", values, share))
        given = np.concatenate(found, axis=1)
        means.append(np.einsum("sq...,q->s...", given, mass))
        total = total + given[:, inverse]
    return total - (len(names) - 1) * np.mean(means, axis=0)[:, None]


def _encode(part: AuditedPart) -> Callable[[Any, Batch], Any]:
    """(variables, batch) -> {modality: Tokens} (see `audited.Make`)."""
    return lambda variables, batch: part.model.module.apply(variables, batch, method="encode")


def _decode(part: AuditedPart) -> Callable[[Any, Any], Any]:
    """(variables and {"tokens": {modality: Tokens}}, {modality: present Bool[p]}) -> the task's predictions [p ...]."""
    module, task, targets = part.model.module, part.task, part.model.targets

    def decode(variables: Any, present: Any) -> Any:
        tokens = variables["tokens"]
        variables = {name: tree for name, tree in variables.items() if name != "tokens"}
        zeros = {name: jnp.zeros((MIXTURES, *zero.shape), zero.dtype) for name, zero in targets.items()}
        batch = Batch({}, present, zeros, jnp.ones(MIXTURES))
        return task.predict(bound_apply(module, variables, batch), tokens, present, batch)

    return decode


def mixtures_of(audited: Audited, part: AuditedPart, tokens: Mapping[str, Tokens]) -> Mixtures:
    """The predictions of a part's models for mixtures of its test rows. NotApplicable unless they are logits or values.

    tokens: {modality: Tokens [s n ...]} of the seeds of the part and all its test rows.
    """
    variables, frozen = jax.device_put((part.model.variables, part.model.frozen))
    there = {name: np.asarray(of) >= 0 for name, of in part.dataset.splits["test"].pointer.items() if name in tokens}

    def mixtures(rows: Mapping[str, np.ndarray]) -> np.ndarray:
        count = len(next(iter(rows.values())))
        padded = {name: np.pad(of, (0, MIXTURES - count)) for name, of in rows.items()}
        chosen = {name: jax.tree.map(lambda leaf, n=name: leaf[:, padded[n]], of) for name, of in tokens.items()}
        present = {name: there[name][padded[name]] for name in tokens}
        found = audited.compiled(_decode, part)(dict(variables) | {"tokens": chosen}, frozen, present)
        leaves = jax.tree.leaves(found)
        if len(leaves) != 1 or not jnp.issubdtype(leaves[0].dtype, jnp.floating):
            raise NotApplicable(f"the predictions of task {audited.task_name} are no logits or values that can be averaged")
        return np.asarray(leaves[0])[:, :count]

    return mixtures


def _distinct(source: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(the first row of each distinct item, the number of each row's item, the probability of each item)."""
    _, first, inverse = np.unique(source, return_index=True, return_inverse=True)
    mass = np.bincount(inverse, weight, len(first))
    return first, inverse, mass / mass.sum()


def _combinations(
    items: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]], limit: int, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """({modality: rows Int[t]}, Float[t], their probabilities) of independent draws of the items of several modalities.

    All combinations if there are at most `limit`, else `limit` random ones.
    """
    if prod(len(first) for first, _, _ in items.values()) > limit:
        rows = {name: rng.choice(first, limit, p=mass) for name, (first, _, mass) in items.items()}
        return rows, np.full(limit, 1 / limit)
    grid = np.meshgrid(*(np.arange(len(first)) for first, _, _ in items.values()), indexing="ij")
    at = {name: numbers.ravel() for name, numbers in zip(items, grid)}
    share = np.prod([items[name][2][numbers] for name, numbers in at.items()], axis=0)
    return {name: items[name][0][numbers] for name, numbers in at.items()}, share
