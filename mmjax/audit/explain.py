"""Explanations of a trained cell: attributions of test examples, measured and shown."""

from collections.abc import Container, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.audit.attribution.model import METHODS, Explainable, attributions, explained
from mmjax.audit.attribution.occlusion import area, deletion, insertion
from mmjax.audit.attribution.sanity import LIMIT, randomized, rank_correlation
from mmjax.audit.audit import Audit, NotApplicable
from mmjax.audit.audited import Audited
from mmjax.audit.explain_pictures import shown_maps
from mmjax.audit.part import AuditedPart
from mmjax.evaluate.statistics import Estimate, estimates
from mmjax.metrics.weighted import mean as weighted_mean
from mmjax.model import Multimodal
from mmjax.runs.examples import chosen_examples
from mmjax.tasks import panels
from mmjax.train.parallel import evaluation
from mmjax.train.stages import merged
from mmjax.types import Metric

__all__ = ["COMPLETE", "MEASURED", "SHOWN", "STEPS", "explanations"]

MEASURED, SHOWN = 12, 4  # examples
STEPS = 8  # of deletion and insertion
COMPLETE = 1e-3  # the largest gap of integrated gradients


def explanations(audited: Audited, examples: int = MEASURED, shown: int = SHOWN, seed: int = 0) -> Audit:
    """What the predictions of test examples depend on, by every method of `attribution.model.METHODS` that fits each modality.

    Measured on `examples` random units and all seeds:
    - insertion minus deletion: the area between the curves of the score while features come back, or are removed, in the order
      of the attribution (Petsiuk et al., 2018). It is positive for an attribution that finds what the model uses, and about 0
      for a random one. In units of the score (logits).
    - sanity: the rank correlation of the absolute attributions with those of the same model with shuffled weights (Adebayo et
      al., 2018). An explanation fails unless it is between -.2 and .2: it depends on the input more than on the model.
    - completeness: the largest gap of integrated gradients, which must be at most 1e-3 max(1, |change of score|).
    `shown` examples are drawn, with means over seeds. With a cross-validation, the first fold is explained.
    NotApplicable if the model is compressed, if the task has no score to explain (a method `evidence`), or if no input has
    attributions.
    """
    part = audited.parts[0]
    if not isinstance(part.task, Explainable):
        raise NotApplicable(f"task {audited.task_name} has no method `evidence`, so its predictions have no score to explain")
    if not isinstance(part.model.module, Multimodal):
        raise NotApplicable(f"cell {audited.cell} is compressed; explain the cell of the same training that is not")
    same = [other for other in audited.parts if other.fold == part.fold]
    units = part.units()
    chosen = np.sort(np.random.default_rng(seed).permutation(np.flatnonzero(units.weight > 0))[:examples])
    picked = chosen_examples(units)[:shown]
    batch = part.batch(units.row[np.concatenate([chosen, picked])].tolist())
    _check_explained(part, batch)
    maps, measured = zip(*(_measured(other, batch, seed) for other in same))
    first = lambda values: np.concatenate([of[:, : len(chosen)] for of in values])
    measured = {name: first([of[name] for of in measured]) for name in measured[0]}
    shown_of = lambda leaves: np.concatenate([leaf[:, len(chosen) :] for leaf in leaves]).mean(axis=0)
    means = {method: {name: shown_of([of[method][name] for of in maps]) for name in maps[0][method]} for method in METHODS}
    found = {
        name: _estimate(values, units.weight[chosen], units.group[chosen])
        for name, values in measured.items()
        if name != "completeness"
    }
    failed, unknown = _sanity(found)
    gap = float(np.nanmax(measured["completeness"]))
    drawn, files = shown_maps(part, units, picked, means)
    return Audit(
        name="explanations",
        title="What the predictions depend on",
        conclusions=(*_conclusions(found, failed, unknown), *_left_out(audited.modalities, maps[0]["gradient"])),
        warnings=_warnings(failed, unknown, gap),
        estimates=found,
        panels=(
            *drawn,
            _bars("Insertion minus deletion (0: as good as random)", found, "order", "area between the curves"),
            _bars(f"Sanity: between -{LIMIT} and {LIMIT} passes", found, "sanity", "rank correlation with shuffled weights"),
        ),
        note=f"Measured on {len(chosen)} units, {STEPS} steps. Sources: Simonyan et al., 2014 (gradient); Smilkov et al., 2017 "
        "(SmoothGrad); Sundararajan et al., 2017 (integrated gradients); Zeiler and Fergus, 2014 (occlusion); Selvaraju et "
        "al., 2017 (Grad-CAM); Abnar and Zuidema, 2020 (rollout); Petsiuk et al., 2018 (deletion, insertion); Adebayo et al., "
        "2018 (sanity). Baselines: zeros, and the embedding of padding.",
        values={"completeness_gap": gap, "failed": failed},
        files=files,
    )


def _left_out(modalities: Iterable[str], explained: Container[str]) -> tuple[str, ...]:
    """What is said about modalities whose inputs have no gradients and no embeddings that are found."""
    left = [name for name in modalities if name not in explained]
    text = f"No attributions: {', '.join(left)}, whose inputs are not continuous or embedded inside another module."
    return (text,) if left else ()


def _check_explained(part: AuditedPart, batch: Any) -> None:
    """NotApplicable if the predictions have no score to explain, or no input has attributions. Nothing is computed."""
    score = lambda variables, batch: (one := explained(part.model.module, part.task, variables, batch)).score(one.inputs)
    try:
        jax.eval_shape(evaluation(score), part.model.variables, part.model.frozen, batch)
    except ValueError as error:
        raise NotApplicable(str(error)) from None


def _measured(part: AuditedPart, batch: Any, seed: int) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """({method: {modality: [s b ...]}}, {"order|method|modality", "sanity|...", "completeness": [s b]}).

    NaN where an example lacks the modality.
    """
    variables, frozen = jax.device_put((part.model.variables, part.model.frozen))
    module, task, key = part.model.module, part.task, jax.random.key(seed)
    run = jax.jit(evaluation(lambda variables, given: attributions(module, task, variables, given[0], key, given[1])))
    found = run(variables, frozen, (batch, COMPLETE))
    random = randomized((variables, frozen), jax.random.fold_in(key, 1))
    other = run(*random, (batch, jnp.inf))  # their sum does not matter

    def orders(variables, maps):
        """{"order|method|modality": Float[b]} of one seed."""
        one, values = explained(module, task, variables, batch), {}
        for name, x in one.inputs.items():
            methods = [method for method in METHODS if name in maps[method]]
            score = lambda x, name=name: one.score({**one.inputs, name: x})
            arguments = x, one.baselines[name]

            def gain(attribution, score=score, arguments=arguments, valid=one.valid[name]):
                curve = lambda of: area(of(score, *arguments, attribution, valid, STEPS))
                return curve(insertion) - curve(deletion)

            if methods:
                gains = jax.lax.map(gain, jnp.stack([maps[method][name] for method in methods]))
                has = one.valid[name].reshape(len(batch.weight), -1).any(axis=1)
                values |= {f"order|{method}|{name}": jnp.where(has, of, jnp.nan) for method, of in zip(methods, gains)}
        return values

    own = jax.jit(lambda v, f, maps: jax.vmap(lambda one, of: orders(merged(one, f), of))(v, maps))
    maps = {method: found[method] for method in METHODS}
    values = own(variables, frozen, maps) | {"completeness": found["completeness"]["all"]}
    for method, of in maps.items():
        for name, x in of.items():
            correlation = jax.vmap(rank_correlation)(jnp.abs(x), jnp.abs(other[method][name]), found["valid"][name])
            values[f"sanity|{method}|{name}"] = correlation
    return jax.tree.map(np.asarray, (maps, values))


def _estimate(values: np.ndarray, weight: np.ndarray, group: np.ndarray) -> Estimate:
    """The mean over the units where it is defined for every seed."""
    known = np.isfinite(values).all(axis=0)
    metric = Metric(_mean, bounds=(None, None))
    outcomes = {"value": np.where(known, values, 0).astype(np.float32)}
    return estimates({"value": metric}, outcomes, np.where(known, weight, 0), group)["value"]


def _mean(outcomes: Mapping[str, Any], weight: Any) -> Any:
    return weighted_mean(outcomes["value"], weight)


def _sanity(found: Mapping[str, Estimate]) -> tuple[list[str], list[str]]:
    """"method of modality" of the explanations that random weights do not destroy, and of those without a rank correlation."""
    name = lambda key: "{1} of {2}".format(*key.split("|"))
    checks = {name(key): one.mean for key, one in found.items() if key.startswith("sanity|")}
    return (
        [name for name, mean in checks.items() if abs(mean) >= LIMIT],
        [name for name, mean in checks.items() if not np.isfinite(mean)],
    )


def _conclusions(found: Mapping[str, Estimate], failed: list[str], unknown: list[str]) -> tuple[str, ...]:
    orders = {tuple(name.split("|")[1:]): one for name, one in found.items() if name.startswith("order|")}
    said = []
    for modality in dict.fromkeys(modality for _, modality in orders):
        own = {method: one for (method, name), one in orders.items() if name == modality and np.isfinite(one.mean)}
        if own:
            best = max(own, key=lambda method: own[method].mean)
            one = own[best]
            said.append(
                f"Of {len(own)} methods, {best} orders the features of {modality} best: insertion minus deletion is "
                f"{one.mean:.3g} [{one.low:.3g}, {one.high:.3g}]."
            )
    checked = sum(name.startswith("sanity|") for name in found)
    said.append(f"{checked - len(failed) - len(unknown)} of {checked} explanations pass the sanity check.")
    return tuple(said)


def _warnings(failed: list[str], unknown: list[str], gap: float) -> tuple[str, ...]:
    said = []
    if failed:
        said.append(
            f"Shuffled weights do not destroy these explanations (absolute rank correlation {LIMIT} or more), so they say more "
            f"about the inputs than about the model: {', '.join(failed)}."
        )
    if unknown:
        said.append(f"Constant with trained or shuffled weights, so without a sanity check: {', '.join(unknown)}.")
    if not gap <= COMPLETE:
        said.append(f"Integrated gradients are incomplete: they miss the change of the score by up to {gap:.2g}.")
    return tuple(said)


def _bars(title: str, found: Mapping[str, Estimate], kind: str, label: str) -> dict[str, Any]:
    own = {", ".join(name.split("|")[1:]): one for name, one in found.items() if name.startswith(f"{kind}|")}
    ends = ([getattr(one, key) for one in own.values()] for key in ("mean", "low", "high"))
    return panels.intervals(title, list(own), *ends, label)
