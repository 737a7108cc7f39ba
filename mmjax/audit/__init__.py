"""Audits of a trained cell: what it uses, for whom it works, and how far its answers can be trusted.

    audited = mmjax.audit.load_audited("runs/quickstart", "image_text")    the selected cell without a name
    found = mmjax.audit.shapley(audited)                                   an `Audit`: found.conclusions, found.estimates, ...
    audited.write(found)                                                   into the run folder, for the report

    python -m mmjax.audit RUN [CELL] [AUDIT ...]                           all of these, and the report

An audit is a pure function `Audited -> Audit`. `Audited` has the test units and the saved outcomes of all seeds and of every
subset of modalities, so audits of these need neither model nor data. Audits of a changed input use `Audited.predict` or
`Audited.predict_subsets`, which load the models and the data again and return predictions or outcomes of all seeds.
`Audited.estimates` turns outcomes into estimates with the intervals of the scores; `combination` turns several estimates into
one. To add an audit, write such a function in a module of this package and list it in `AUDITS`; a user's own function needs no
list, only `Audited.write`.
"""

import importlib
from typing import Any

AUDITS: dict[str, str] = {  # {function: its module}, in the order of the report
    "shapley": "contribution",
    "emap": "additive",
    "wrong_pairs": "swaps",
    "conflict": "swaps",
    "information": "interactions",
    "groups": "by_group",
    "calibration": "confidence",
    "temperature": "confidence",
    "selective": "confidence",
    "conformal": "prediction_sets",
    "out_of_distribution": "ood",
    "learning_curve": "size_of_data",
    "corruptions": "robustness",
    "missing_rates": "robustness",
    "translations": "translation",
    "explanations": "explain",
}
RENAMED = {"strange_inputs": "out_of_distribution"}  # {name in older run folders: name}
OTHERS = {"Audit": "audit", "Audited": "audited", "NotApplicable": "audit", "load_audited": "audited"}

__all__ = ["AUDITS", "RENAMED", *AUDITS, *OTHERS]


def __getattr__(name: str) -> Any:
    """Imports a function when it is first used, so that `--help` is fast."""
    module = {**AUDITS, **OTHERS}.get(name)
    if module is None:
        raise AttributeError(f"module 'mmjax.audit' has no attribute {name!r}")
    globals()[name] = value = getattr(importlib.import_module(f"mmjax.audit.{module}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
