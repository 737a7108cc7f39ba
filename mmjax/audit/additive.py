"""EMAP: whether a model combines its modalities by more than a sum of one function of each."""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.audit.audit import Audit, NotApplicable, interval_panel
from mmjax.audit.audited import Audited
from mmjax.audit.part import AuditedPart
from mmjax.evaluate.predict import bound_apply
from mmjax.evaluate.statistics import difference
from mmjax.types import Batch, Tokens

__all__ = ["LIMIT", "MIXTURES", "Mixtures", "additive_projection", "emap", "mixtures_of", "most_combinations"]

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
    over exactly; of more, so many are drawn. The error of a drawn mean is 1 / sqrt(limit) of the deviation of the predictions
    over the combinations, and is not part of the intervals. seed: of the drawing.
    """
    metric = metric or audited.headline
    names = tuple(audited.complete.split("+"))
    if len(names) < 2:
        raise NotApplicable(f"task {audited.task_name} of cell {audited.cell} has a single modality")
    tokens, predicted, drawn = audited.predict(_encode), {}, False
    for part in audited.parts:
        rows, parts = part.dataset.splits["test"], predicted.setdefault(part.fold, [])
        sources = {name: np.asarray(rows.pointer[name]) for name in names}
        seeds = sum(map(len, parts)) + np.arange(len(part.model.seeds))
        mixtures = mixtures_of(audited, part, jax.tree.map(lambda leaf, s=seeds: leaf[s], tokens[part.fold]))
        parts.append(np.float32(additive_projection(mixtures, sources, np.asarray(rows.weight), limit, seed)))
        drawn |= most_combinations(sources) > limit
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
        note="EMAP (Hessel and Lee, 2020): predictions (logits or values) are projected on sums of functions of one modality."
        + (f" {limit:,} combinations of the others are drawn; the error of drawing is not in the intervals." if drawn else ""),
        values={"metric": metric, "difference": gap.to_json()},
    )


def most_combinations(sources: Mapping[str, np.ndarray]) -> int:
    """The largest number of combinations of distinct items of all modalities but one. sources: see `additive_projection`."""
    counts = [len(np.unique(of)) for of in sources.values()]
    return max(prod(counts) // count for count in counts)


def additive_projection(
    mixtures: Mixtures, sources: Mapping[str, np.ndarray], weight: np.ndarray, limit: int = LIMIT, seed: int = 0
) -> np.ndarray:
    """The additive projection of the predictions of n rows, Float64[s n ...].

    mixtures: see `Mixtures`. sources: {modality: Int[n]}, the item of each row; rows with the same item have the same input, so
    each is predicted once. weight: Float[n], the distribution of rows in the expectations. limit, seed: as in `emap`.
    """
    names, rng = sorted(sources), np.random.default_rng(seed)
    items = {name: _distinct(sources[name], weight) for name in names}
    if most_combinations(sources) <= limit:
        given = _given(mixtures, items, *_grid(items))
    else:
        given = {}
        for name in names:
            drawn = {other: rng.choice(len(of.first), limit, p=of.mass) for other, of in items.items() if other != name}
            own = np.arange(len(items[name].first))
            at = {other: np.tile(of, len(own)) for other, of in drawn.items()} | {name: np.repeat(own, limit)}
            given |= {name: _given(mixtures, items, at, {name: np.full(len(own) * limit, 1 / limit)})[name]}
    mean = np.mean([np.einsum("sq...,q->s...", given[name], items[name].mass) for name in names], axis=0)
    return sum(given[name][:, items[name].number] for name in names) - (len(names) - 1) * mean[:, None]


class _Items(NamedTuple):
    """The distinct items of a modality. first: the first row of each. number: that of each row. mass: their probabilities."""

    first: np.ndarray
    number: np.ndarray
    mass: np.ndarray


def _distinct(source: np.ndarray, weight: np.ndarray) -> _Items:
    _, first, number = np.unique(source, return_index=True, return_inverse=True)
    mass = np.bincount(number, weight, len(first))
    return _Items(first, number, mass / mass.sum())


def _grid(items: Mapping[str, _Items]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """({modality: items Int[p]} of all p combinations, {modality: Float[p], the probability of the items of the others})."""
    grid = np.meshgrid(*(np.arange(len(of.first)) for of in items.values()), indexing="ij")
    at = {name: numbers.ravel() for name, numbers in zip(items, grid)}
    mass = {name: items[name].mass[numbers] for name, numbers in at.items()}
    return at, {name: np.prod([mass[other] for other in items if other != name], axis=0) for name in items}


def _given(
    mixtures: Mixtures, items: Mapping[str, _Items], at: Mapping[str, np.ndarray], share: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """{modality: Float64[s items ...], the expected prediction given each item}.

    at: {modality: items Int[p]} of p mixtures. share: {modality: Float[p]}, the weight of each mixture in its expectation.
    """
    found: dict[str, Any] = {}
    for start in range(0, len(next(iter(at.values()))), MIXTURES):
        block = {name: of[start : start + MIXTURES] for name, of in at.items()}
        values = np.float64(mixtures({name: items[name].first[of] for name, of in block.items()}))
        for name, of in share.items():
            if name not in found:
                found[name] = np.zeros((len(values), len(items[name].first), *values.shape[2:]))
            weighted = np.einsum("sp...,p->ps...", values, of[start : start + MIXTURES])
            np.add.at(found[name].swapaxes(0, 1), block[name], weighted)
    return found


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
    nothing = np.zeros(MIXTURES, int)
    there = {name: np.asarray(of) >= 0 for name, of in part.dataset.splits["test"].pointer.items() if name in tokens}

    def mixtures(rows: Mapping[str, np.ndarray]) -> np.ndarray:
        count = len(next(iter(rows.values())))
        padded = {name: np.pad(rows.get(name, nothing[:count]), (0, MIXTURES - count)) for name in tokens}
        chosen = {name: jax.tree.map(lambda leaf, n=name: leaf[:, padded[n]], of) for name, of in tokens.items()}
        present = {name: there[name][padded[name]] & (name in rows) for name in tokens}  # the task may not use all
        found = audited.compiled(_decode, part)(dict(variables) | {"tokens": chosen}, frozen, present)
        leaves = jax.tree.leaves(found)
        if len(leaves) != 1 or not jnp.issubdtype(leaves[0].dtype, jnp.floating):
            raise NotApplicable(f"the predictions of task {audited.task_name} are no logits or values that can be averaged")
        return np.asarray(leaves[0])[:, :count]

    return mixtures
