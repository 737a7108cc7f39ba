"""Explanations of a trained cell: attributions of test examples, measured and shown."""

from collections.abc import Container, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from mmjax.audit.attribution.model import METHODS, Explainable, explained
from mmjax.audit.attribution.sanity import LIMIT
from mmjax.audit.audit import Audit, NotApplicable
from mmjax.audit.audited import Audited
from mmjax.audit.explain_measures import COMPLETE, CURVES, STEPS, Key, Sanity, estimate, measured, sanity
from mmjax.audit.explain_pictures import shown_maps
from mmjax.audit.part import AuditedPart
from mmjax.evaluate.statistics import Estimate
from mmjax.metrics.robustness import trapezoids
from mmjax.model import Multimodal
from mmjax.runs.examples import chosen_examples
from mmjax.tasks import panels
from mmjax.train.parallel import evaluation

__all__ = ["FAILED", "MEASURED", "SHARES", "SHOWN", "explanations"]

MEASURED, SHOWN = 12, 4  # examples
FAILED = "✗"  # marks explanations without a passed sanity check
SHARES = np.linspace(0, 1, STEPS + 1)  # of the features, at which curves are measured


def explanations(audited: Audited, examples: int = MEASURED, shown: int = SHOWN, seed: int = 0) -> Audit:
    """What the predictions of test examples depend on, by every method of `attribution.model.METHODS` that fits each modality.

    Measured on `examples` random units and all seeds:
    - curves of insertion and deletion: the score, in logits or the unit of the task, while features come back or are removed in
      the order of the attribution (Petsiuk et al., 2018). The areas under the curves and their difference, insertion minus
      deletion, are estimates. The difference is positive for an attribution that finds what the model uses, and about 0 for a
      random one.
    - sanity: the rank correlation of the absolute attributions with those of the same model with shuffled weights (Adebayo et
      al., 2018). An explanation passes if the interval of the mean correlation is between -.2 and .2; without an interval, the
      mean decides. All others are marked in the panels: they may depend on the input more than on the model.
    - completeness: the largest gap of integrated gradients, which should be at most 1e-3 max(1, |change of score|). The path
      has at most 24 pieces (`attribution.model.MAX_PIECES`); if the gap is larger with these, a warning gives it.

    values: {"shares": of the features, "curves": {modality: {method: {"insertion", "deletion": an estimate at each share}}},
    "completeness_gap", "failed": the marked explanations}.
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
    maps, values = zip(*(measured(other, batch, seed) for other in same))
    first = lambda arrays: np.concatenate([of[:, : len(chosen)] for of in arrays])
    of_units = {key: first([of[key] for of in values]) for key in values[0]}
    shown_of = lambda leaves: np.concatenate([leaf[:, len(chosen) :] for leaf in leaves]).mean(axis=0)
    means = {method: {name: shown_of([of[method][name] for of in maps]) for name in maps[0][method]} for method in METHODS}
    found, curves = _estimates(of_units, units.weight[chosen], units.group[chosen])
    checks = {key[1:]: sanity(one) for key, one in found.items() if key[0] == "sanity"}
    marked = {key: f"{_name(key)} {check.text}." for key, check in checks.items() if not check.passed}
    gap = float(np.nanmax(of_units["completeness",]))
    drawn, files = shown_maps(part, units, picked, means, marked)
    bars = lambda title, kind, label: _bars(title, found, kind, label, marked)
    return Audit(
        name="explanations",
        title="What the predictions depend on",
        conclusions=(*_conclusions(found, checks), *_left_out(audited.modalities, maps[0]["gradient"])),
        warnings=_warnings(checks, gap),
        estimates={"|".join(key): one for key, one in found.items()},
        panels=(
            *drawn,
            *_curves(found, curves, marked),
            bars("Insertion minus deletion", "order", "area (random order: 0)"),
            bars(f"Sanity (-{LIMIT} to {LIMIT} passes)", "sanity", "rank correlation"),
        ),
        note=f"Measured on {len(chosen)} units, {STEPS} steps, with 95 % intervals; {FAILED}: not shown to pass the sanity "
        "check. The numbers after the names of curves are areas. Sources: Simonyan et al., 2014 (gradient); Smilkov et "
        "al., 2017 (SmoothGrad); Sundararajan et al., 2017 (integrated gradients); Zeiler and Fergus, 2014 (occlusion); "
        "Selvaraju et al., 2017 (Grad-CAM); Abnar and Zuidema, 2020 (rollout); Petsiuk et al., 2018 (deletion, insertion); "
        "Adebayo et al., 2018 (sanity). Baselines: zeros, and the embedding of padding.",
        values={
            "shares": SHARES.tolist(),
            "curves": _to_json(curves),
            "completeness_gap": gap,
            "failed": [_name(key) for key in marked],
        },
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


def _estimates(
    values: Mapping[Key, np.ndarray], weight: np.ndarray, group: np.ndarray
) -> tuple[dict[Key, Estimate], dict[Key, list[Estimate]]]:
    """(the estimates of the audit, those at each share of the features of the curves). values: [s u ...]."""
    found, curves = {}, {}
    weights = trapezoids(STEPS + 1, 1 / STEPS)
    explained_by = [key[1:] for key in values if key[0] == "sanity"]  # in the order of their modalities and of METHODS
    for method, name in sorted(explained_by, key=lambda key: (key[1], METHODS.index(key[0]))):
        drawn = {kind: values[kind, method, name] for kind in CURVES}
        areas = {kind: curve @ weights for kind, curve in drawn.items()}
        found["order", method, name] = estimate(areas["insertion"] - areas["deletion"], weight, group)
        found |= {(f"{kind} area", method, name): estimate(of, weight, group) for kind, of in areas.items()}
        found["sanity", method, name] = estimate(values["sanity", method, name], weight, group, (-1.0, 1.0))
        for kind, curve in drawn.items():
            curves[kind, method, name] = [estimate(of, weight, group) for of in np.moveaxis(curve, -1, 0)]
    return found, curves


def _name(key: Key) -> str:
    method, modality = key
    return f"{method} of {modality}"


def _conclusions(found: Mapping[Key, Estimate], checks: Mapping[Key, Sanity]) -> tuple[str, ...]:
    orders = {key[1:]: one for key, one in found.items() if key[0] == "order"}
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
    said.append(
        f"{sum(check.passed is True for check in checks.values())} of {len(checks)} explanations pass the sanity check."
    )
    return tuple(said)


def _warnings(checks: Mapping[Key, Sanity], gap: float) -> tuple[str, ...]:
    said = []
    if failed := [_name(key) for key, check in checks.items() if check.passed is False]:
        said.append(
            "Shuffled weights are not shown to destroy these explanations (the interval of the rank correlation is not between "
            f"-{LIMIT} and {LIMIT}), so they may say more about the inputs than about the model: {', '.join(failed)}."
        )
    if unknown := [_name(key) for key, check in checks.items() if check.passed is None]:
        said.append(f"Constant with trained or shuffled weights, so without a sanity check: {', '.join(unknown)}.")
    if not gap <= COMPLETE:
        said.append(
            "Integrated gradients are incomplete: they miss the change of the score by up to "
            f"{gap:.2g} max(1, |change of score|)."
        )
    return tuple(said)


def _curves(
    found: Mapping[Key, Estimate], curves: Mapping[Key, list[Estimate]], marked: Mapping[Key, str]
) -> list[dict[str, Any]]:
    """A panel for each modality and kind of curve, with the methods that fit the modality and their areas."""
    drawn = []
    labels = {"insertion": "share of the features that is back", "deletion": "share of the features that is removed"}
    for modality in dict.fromkeys(key[2] for key in curves):
        for kind, label in labels.items():
            own = {method: of for (of_kind, method, name), of in curves.items() if (of_kind, name) == (kind, modality)}
            area = lambda method, kind=kind, name=modality: f"{found[f'{kind} area', method, name].mean:.3g}"
            names = [f"{_mark((method, modality), marked)}{method}: {area(method)}" for method in own]
            ends = (np.array([[getattr(one, key) for one in of] for of in own.values()]) for key in ("mean", "low", "high"))
            drawn.append(panels.lines(f"{kind.capitalize()} of {modality}", names, SHARES, *ends, label, "score"))
    return drawn


def _bars(title: str, found: Mapping[Key, Estimate], kind: str, label: str, marked: Mapping[Key, str]) -> dict[str, Any]:
    own = {f"{_mark(key[1:], marked)}{', '.join(key[1:])}": one for key, one in found.items() if key[0] == kind}
    ends = ([getattr(one, key) for one in own.values()] for key in ("mean", "low", "high"))
    return panels.intervals(title, list(own), *ends, label)


def _mark(key: Key, marked: Mapping[Key, str]) -> str:
    return f"{FAILED} " if key in marked else ""


def _to_json(curves: Mapping[Key, list[Estimate]]) -> dict[str, Any]:
    """{modality: {method: {kind: estimates}}}."""
    tree: dict[str, Any] = {}
    for (kind, method, modality), curve in curves.items():
        tree.setdefault(modality, {}).setdefault(method, {})[kind] = [one.to_json() for one in curve]
    return tree
