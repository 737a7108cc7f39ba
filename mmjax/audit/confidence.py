"""Calibration and selective prediction, from the saved probabilities of the predicted classes."""

from typing import Any

import numpy as np

from mmjax.audit.audit import Audit, NotApplicable, interval_panel, with_interval
from mmjax.audit.audited import Audited
from mmjax.audit.part import AuditedPart
from mmjax.evaluate.statistics import difference
from mmjax.metrics.classification import calibration_error
from mmjax.metrics.confidence import accuracy_at, cross_entropy, overconfidence, risk_area
from mmjax.tasks import panels
from mmjax.types import Metric, Outcomes

__all__ = [
    "BINS", "CALIBRATION", "COVERAGES", "MIN_SHARE", "TEMPERATURES", "calibration", "class_logits", "fitted_temperature",
    "selective", "temperature",
]  # fmt: skip

BINS, MIN_SHARE = 10, 0.005  # of the reliability diagram; bins with a smaller share of the units are not drawn
COVERAGES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
CALIBRATION = {
    "ECE": Metric(calibration_error, higher_is_better=False),
    "overconfidence": Metric(overconfidence, higher_is_better=False, bounds=(-1, 1)),
}
TEMPERATURES = (0.05, 20.0)


def calibration(audited: Audited) -> Audit:
    """Whether probabilities are right: the reliability diagram, the calibration error and the overconfidence.

    Of every scored subset of the modalities, since a model that learnt with all of them may not know what it lacks.
    """
    _with_probability(audited)
    found = {name: audited.estimates(outcomes, CALIBRATION) for name, outcomes in audited.outcomes.items()}
    complete = found[audited.complete]
    over = complete["overconfidence"]
    worst = max(found, key=lambda name: found[name]["ECE"].mean)
    state = "calibrated on average, as far as the data tell"
    if over.low > 0 or over.high < 0:
        state = "overconfident" if over.mean > 0 else "underconfident"
    said = [
        f"The probabilities are {state}: the mean probability minus the accuracy is {with_interval(over, '+.3f')}; ECE "
        f"{with_interval(complete['ECE'])}."
    ]
    if worst != audited.complete:
        said.append(f"They are worst with {worst.replace('+', ' and ')} alone: ECE {found[worst]['ECE'].mean:.3f}.")
    return Audit(
        name="calibration",
        title="Calibration",
        conclusions=tuple(said),
        estimates={f"{subset}: {name}": one for subset, of in found.items() for name, one in of.items()},
        panels=(
            _reliability(audited.outcomes[audited.complete], audited.units.weight),
            *(interval_panel(f"{name} by subset", {subset: of[name] for subset, of in found.items()}) for name in CALIBRATION),
        ),
        note=f"Reliability in {BINS} bins of equal width over all seeds, a label for the share of units in each; ECE as in the "
        "table of metrics. ECE is above 0 by noise alone.",
    )


def selective(audited: Audited) -> Audit:
    """The accuracy on the units of which the model is most certain, for each coverage, and the area of the risk."""
    _with_probability(audited)
    outcomes = audited.outcomes[audited.complete]
    area = audited.estimates(outcomes, {"risk area": Metric(risk_area, higher_is_better=False)})["risk area"]
    curve = audited.estimates(outcomes, {f"{share:.0%}": accuracy_at(share) for share in COVERAGES})
    half, full = curve["50%"], curve["100%"]
    ends = ([[getattr(one, key) for one in curve.values()]] for key in ("mean", "low", "high"))
    return Audit(
        name="selective",
        title="Selective prediction",
        conclusions=(
            f"On the half of the units of which it is most certain, accuracy is {with_interval(half)} instead of "
            f"{full.mean:.3f}; the area under the risk-coverage curve is {with_interval(area)}.",
        ),
        estimates={f"accuracy at coverage {name}": one for name, one in curve.items()} | {"risk area": area},
        panels=(panels.lines("Accuracy by coverage", ["model"], list(COVERAGES), *ends, "coverage", "accuracy"),),
        note="Units are accepted by the probability of the predicted class. Risk area: AURC (Geifman et al., 2019).",
    )


def temperature(audited: Audited) -> Audit:
    """Temperature scaling (Guo et al., 2017): logits are divided by a number that is fitted on the validation split.

    The number minimises the cross-entropy of the validation split, for each seed and fold. It changes no answer.
    """
    validation, test = class_logits(audited, "validation"), class_logits(audited, "test")
    before, after, found = [], [], []
    for part in _first_parts(audited):
        (logits, label), weight = validation[part.fold], part.units("validation").weight
        fitted = [fitted_temperature(of_seed, label, weight) for of_seed in logits]
        logits, label = test[part.fold]
        scaled = logits / np.array(fitted)[:, None, None]
        before.append(_probable(logits, label)), after.append(_probable(scaled, label)), found.append(fitted)
    joined = lambda parts: {name: np.concatenate([of[name] for of in parts], axis=1) for name in parts[0]}
    metrics = {**CALIBRATION, "cross-entropy": Metric(cross_entropy, higher_is_better=False, bounds=(0, None))}
    old, new = (audited.estimates(joined(parts), metrics) for parts in (before, after))
    shown = {f"{name} {when}": of[name] for name in metrics for when, of in (("before", old), ("after", new))}
    gains = {name: difference(new[name], old[name]) for name in ("ECE", "cross-entropy")}
    return Audit(
        name="temperature",
        title="Temperature scaling",
        conclusions=(
            f"With a temperature of {np.mean(found):.2f} (seeds and folds: {np.min(found):.2f} to {np.max(found):.2f}), ECE "
            f"goes from {old['ECE'].mean:.3f} to {new['ECE'].mean:.3f} ({gains['ECE'].verdict}) and cross-entropy from "
            f"{old['cross-entropy'].mean:.3f} to {new['cross-entropy'].mean:.3f} nats ({gains['cross-entropy'].verdict}).",
        ),
        estimates=shown,
        panels=(interval_panel("Before and after temperature scaling", shown),),
        note="Guo et al., 2017. The validation split also selected the step of training, which may lower the temperature.",
        values={"temperatures": [[float(of) for of in part] for part in found]},
    )


def fitted_temperature(logits: np.ndarray, label: np.ndarray, weight: np.ndarray) -> float:
    """The temperature in TEMPERATURES that minimises the cross-entropy of logits Float[u c], to 1e-6.

    The cross-entropy is convex in 1 / temperature, so its derivative has at most one root, which bisection finds.
    """
    logits, weight = np.asarray(logits, np.float64), np.asarray(weight, np.float64)
    logits = logits - logits.max(axis=1, keepdims=True)
    true = np.take_along_axis(logits, np.asarray(label)[:, None], axis=1)[:, 0]

    def slope(scale: float) -> float:  # of the cross-entropy by 1 / temperature
        probability = np.exp(scale * logits)
        expected = (probability * logits).sum(axis=1) / probability.sum(axis=1)
        return float(weight @ (expected - true))

    low, high = (1 / t for t in TEMPERATURES[::-1])
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 2 / (low + high)


def class_logits(audited: Audited, split: str) -> dict[int | None, tuple[np.ndarray, np.ndarray]]:
    """{fold: (logits [s u c] of the units, their classes Int[u])}. NotApplicable if the task does not predict logits."""
    _with_probability(audited)
    units = {part.fold: part.units(split) for part in _first_parts(audited)}
    found = {}
    for fold, tree in audited.predictions(split).items():
        if not isinstance(tree, np.ndarray) or tree.ndim < 3 or "label" not in units[fold].target:
            raise NotApplicable(f"task {audited.task_name} does not predict logits of classes")
        flat = tree.reshape(len(tree), -1, tree.shape[-1])
        found[fold] = flat[:, units[fold].entry], np.asarray(units[fold].target["label"])
    return found


def _first_parts(audited: Audited) -> list[AuditedPart]:
    """A part of each fold, for its data."""
    return list({part.fold: part for part in audited.parts}.values())


def _probable(logits: np.ndarray, label: np.ndarray) -> dict[str, np.ndarray]:
    """Logits [s u c] -> {"label", "predicted", "probability", "nats"}, each [s u]."""
    shifted = np.float64(logits) - logits.max(axis=-1, keepdims=True)
    log = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    true = np.broadcast_to(label, log.shape[:2])
    return {
        "label": true.astype(np.int32),
        "predicted": log.argmax(axis=-1).astype(np.int32),
        "probability": np.exp(log.max(axis=-1)).astype(np.float32),
        "nats": -np.take_along_axis(log, true[..., None], axis=-1)[..., 0].astype(np.float32),
    }


def _with_probability(audited: Audited) -> None:
    if not {"label", "predicted", "probability"} <= set(audited.outcomes[audited.complete]):
        raise NotApplicable(f"task {audited.task_name} of cell {audited.cell} has no probabilities of classes")


def _reliability(outcomes: Outcomes, weight: np.ndarray) -> dict[str, Any]:
    """The accuracy of the units in each bin against their mean probability, over all seeds."""
    probability, hit = np.asarray(outcomes["probability"]), outcomes["label"] == outcomes["predicted"]
    weights = np.broadcast_to(weight, probability.shape)
    bins = np.clip(np.ceil(probability * BINS).astype(int) - 1, 0, BINS - 1)  # (i / BINS, (i + 1) / BINS]
    add = lambda values: np.bincount(bins.ravel(), np.float64(values).ravel(), BINS)
    mass, sums, hits = add(weights), add(weights * probability), add(weights * hit)
    used = mass >= MIN_SHARE * mass.sum()
    labels = [f"{share:.0%}" for share in mass[used] / mass.sum()]
    x, y = sums[used] / mass[used], hits[used] / mass[used]
    return panels.points("Reliability", x, y, labels, "mean probability", "accuracy", diagonal=True)
