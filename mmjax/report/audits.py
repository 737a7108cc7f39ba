"""The sections of the page for the audits of a run (`mmjax.audit`), as values for audits.html."""

from collections.abc import Mapping
from typing import Any

from mmjax.audit import AUDITS, RENAMED
from mmjax.report.examples import Embedded, Medium
from mmjax.report.maps import draw_maps
from mmjax.report.numbers import UNIT, exists, interval
from mmjax.report.panels import draw_panel
from mmjax.runs.audits import read_audits
from mmjax.runs.read import Run

__all__ = ["audit_sections"]


def audit_sections(run: Run, media: Embedded) -> list[dict[str, Any]]:
    """[{"cell", "task", "audits"}] of each cell and task that was audited, in the order of results.json. media: of the page so
    far.

    An audit under an older name is left out if it was repeated under the present one, and otherwise has a warning.
    """
    found = []
    for cell, entry in run.results["cells"].items():
        for task in entry["tasks"]:
            audits = read_audits(run.folder, cell, task)
            order = sorted((name for name in audits if RENAMED.get(name) not in audits), key=_place)
            shown = [_shown(audits[name], f"audits.{cell}.{task}.{name}", media) for name in order]
            found += [{"cell": cell, "task": task, "audits": shown}] if shown else []
    return found


def _place(name: str) -> tuple[int, str]:
    """The place of an audit on the page: a user's own audits are last."""
    known = RENAMED.get(name, name)
    return (list(AUDITS).index(known) if known in AUDITS else len(AUDITS), name)


def _shown(audit: Mapping[str, Any], key: str, media: Embedded) -> dict[str, Any]:
    """One audit: its texts, its drawings, and its estimates as text."""
    files = audit["files"]

    def medium(name: str) -> Medium | None:
        return media.add(files[name]) if name in files else None

    def drawn(panel: Mapping[str, Any], key: str) -> str:
        return draw_maps(panel, key, medium) if panel.get("panel") == "maps" else draw_panel(panel, key)

    name, warnings = RENAMED.get(audit["name"], audit["name"]), [*audit["warnings"]]
    if name != audit["name"]:
        warnings.append(f"An older version of mmjax wrote this audit as {audit['name']}; it is now called {name}.")
    tones = [("warning", text) for text in warnings] + [("note", text) for text in audit["conclusions"]]
    return {
        "name": name,
        **{key: audit[key] for key in ("title", "note", "stale")},
        "sentences": tones,
        "panels": [drawn(panel, f"{key}.panels[{i}]") for i, panel in enumerate(audit["panels"])],
        "estimates": {name: interval(one, _bounds(one)) for name, one in audit["estimates"].items()},
    }


def _bounds(estimate: Mapping[str, Any]) -> Any:
    """[0, 1] for small values, so that they print with as many decimals as scores do."""
    mean = estimate["mean"]
    return UNIT if exists(mean) and abs(mean) <= 1 else (None, None)
