"""Shared, unique and synergistic information of pairs of modalities, from the predictions of each one alone."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from mmjax.audit.audit import Audit, NotApplicable, interval_panel
from mmjax.audit.audited import Audited
from mmjax.evaluate.statistics import Estimate, combination
from mmjax.metrics.information import MAX_CLASSES, PARTS, broja_redundancy, information_metrics, min_redundancy

__all__ = ["ESTIMATORS", "information"]

ESTIMATORS = {"BROJA": broja_redundancy, "I_min": min_redundancy}


def information(audited: Audited) -> Audit:
    """Redundancy, unique information and synergy of each pair of modalities about the class (see `metrics.information`).

    The variables are the class that the cell predicts from each modality alone, and the true class, as in Liang et al. (2023).
    So it describes what the model finds in the modalities, not all that they contain.
    """
    alone = [name for name in audited.complete.split("+") if name in audited.outcomes]
    example = next(iter(audited.outcomes.values()))
    if len(alone) < 2 or not {"label", "predicted"} <= set(example):
        raise NotApplicable(f"task {audited.task_name} of cell {audited.cell} has no class predicted from each modality")
    classes = int(max(example["label"].max(), *(audited.outcomes[name]["predicted"].max() for name in alone))) + 1
    if classes > MAX_CLASSES:
        raise NotApplicable(f"task {audited.task_name} has {classes} classes; a table of counts needs at most {MAX_CLASSES}")
    found: dict[str, Estimate] = {}
    drawn, said = [], []
    for pair in combinations(alone, 2):
        a, b = (audited.outcomes[name]["predicted"] for name in pair)
        outcomes = {"a": a, "b": b, "label": np.asarray(example["label"])}
        for estimator, redundancy in ESTIMATORS.items():
            bits = list(audited.estimates(outcomes, information_metrics(redundancy, classes)).values())
            named = {_named(part, pair): combination(bits, of) for part, of in PARTS.items()}
            found |= {f"{estimator} {' and '.join(pair)}: {name}": one for name, one in named.items()}
            drawn.append(interval_panel(f"{' and '.join(pair)}, {estimator}", named, "bits"))
            if estimator == next(iter(ESTIMATORS)):
                said.append(_conclusion(pair, named))
    return Audit(
        name="information",
        title="Information of pairs of modalities about the class",
        conclusions=tuple(said),
        estimates=found,
        panels=tuple(drawn),
        note="Partial information decomposition of (class predicted from one modality alone, from the other alone, true class) "
        "in bits: BROJA (Bertschinger et al., 2014) and I_min (Williams and Beer, 2010). Counts bias all parts upwards.",
    )


def _named(part: str, pair: tuple[str, str]) -> str:
    return {"unique a": f"unique to {pair[0]}", "unique b": f"unique to {pair[1]}"}.get(part, part)


def _conclusion(pair: tuple[str, str], parts: Mapping[str, Estimate]) -> str:
    total = parts["total"].mean
    share = lambda name: f"{parts[name].mean / total:.0%} {name}" if total > 1e-9 else name
    shown = ", ".join(share(name) for name in parts if name != "total")
    return f"Of the {total:.2f} bits that the predictions from {pair[0]} and {pair[1]} carry about the class: {shown} (BROJA)."
