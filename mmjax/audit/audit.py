"""The result of an audit: what was found about a trained cell, with estimates, intervals and panels for the report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mmjax.evaluate.statistics import Difference, Estimate
from mmjax.tasks import panels

__all__ = ["Audit", "NotApplicable", "interval_panel", "with_interval"]


class NotApplicable(ValueError):
    """An audit does not apply to the cell or the task; the message says why. The command leaves the audit out."""


@dataclass(frozen=True)
class Audit:
    """What an audit found about one cell on one task.

    name: of the audit, letters, digits and "_"; also the name of its file. title: heading in the report. conclusions: one
    sentence each, the most important one first. warnings: reasons not to believe the conclusions, such as a failed check.
    estimates: {name: Estimate}, with intervals over groups of test units and seeds. panels: JSON values of `tasks.panels`,
    averaged over seeds. note: how the numbers were computed, with the source. values: further JSON.
    files: {name: bytes}, images (.png) and sounds (.mp3, .wav) that panels refer to by name.
    """

    name: str
    title: str
    conclusions: tuple[str, ...]
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    panels: tuple[Mapping[str, Any], ...] = ()
    note: str = ""
    warnings: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As `AUDIT` of `mmjax.runs.audits`, without the content of the files."""
        return {
            "name": self.name,
            "title": self.title,
            "conclusions": list(self.conclusions),
            "warnings": list(self.warnings),
            "estimates": {name: estimate.to_json() for name, estimate in self.estimates.items()},
            "panels": [dict(panel) for panel in self.panels],
            "note": self.note,
            "values": dict(self.values),
        }


def interval_panel(title: str, found: Mapping[str, Estimate], label: str = "") -> dict[str, Any]:
    """A bar with its interval for each estimate."""
    ends = ([getattr(one, key) for one in found.values()] for key in ("mean", "low", "high"))
    return panels.intervals(title, list(found), *ends, label=label)


def with_interval(estimate: Estimate | Difference, form: str = ".3f") -> str:
    """ "0.874 [0.840, 0.902]", for a sentence. form: of the numbers, such as "+.3f"."""
    return f"{estimate.mean:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"
