"""`report.html`: one self-contained page, a pure function of run folders, without fonts or links to other hosts.

The page is readable without scripts. Its one inline script sorts tables, selects cells and filters examples. The page's
content security policy allows that script by its hash and nothing else, whatever the data contain.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmjax.report import numbers
from mmjax.report.audits import audit_sections
from mmjax.report.curves import Limits, learning_curves, limits
from mmjax.report.examples import Embedded
from mmjax.report.joint import joint_curves, joint_tasks
from mmjax.report.rows import ordered_cells
from mmjax.report.sections import task_section
from mmjax.report.sentences import run_sentences
from mmjax.report.settings import duration, settings_that_differ
from mmjax.runs.folder import write_bytes
from mmjax.runs.read import Run, read_run

__all__ = ["render", "write_report"]


def write_report(runs: Sequence[Path | str], out: Path | str) -> Path:
    """Writes the page of these run folders to `out` and returns its path. Equal folders give equal bytes, but for the links to
    media that are not embedded, which lead from the page to the run folder. Characters that are not Unicode become "?".

    RunError if a run folder is damaged; ImportError if the `report` extra is missing.
    """
    out = Path(out)
    text = render([read_run(folder) for folder in runs], out.parent)
    write_bytes(out, text.encode(errors="replace"))  # lone surrogates, which names in tables of anyone's data may have
    return out


def render(runs: Sequence[Run], folder: Path) -> str:
    """The page as text: one article for each run; before them, several runs are compared. folder: of the page."""
    if not runs:
        raise ValueError("a report needs at least one run folder")
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise ImportError("the report's page needs jinja2: pip install 'mmjax[report]'") from error
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # captions and class names are data and may contain a <script>
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": numbers.number, "interval": numbers.interval, "svg": Markup, "duration": duration}
    script = (Path(__file__).parent / "script.html").read_text(encoding="utf-8")
    media = Embedded(folder)
    articles = [_article(run, media) for run in runs]
    several = len(runs) > 1
    page = environment.get_template("page.html").render(
        runs=articles,
        joint=joint_tasks(runs) if several else [],
        joint_curves=joint_curves(runs, _limits(runs)) if several else [],
        script=Markup(script),  # ours, unlike the data
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return page + "\n"


def _limits(runs: Sequence[Run]) -> Limits:
    """The common ranges of the learning curves of these runs."""
    tasks = [task for run in runs for task in run.results["tasks"].values()]
    bounds = {metric: value["bounds"] for task in tasks for metric, value in task["metrics"].items()}
    return limits([run.curves(name) for run in runs for name in run.results["cells"]], bounds)


def _article(run: Run, media: Embedded) -> dict[str, Any]:
    """The values of the template run.html."""
    results = run.results
    names = ordered_cells(results)
    curves = {name: run.curves(name) for name in names}
    shared = _limits([run])
    experiments = {name: results["cells"][name]["experiment"] for name in names}
    return {
        "results": results,
        "tasks": [task_section(run, name, media) for name in results["tasks"]],
        "audits": audit_sections(run, media),
        "notes": run_sentences(results),
        "seeds": sorted({len(cell["seeds"]) for cell in results["cells"].values()}),
        "curves": [learning_curves(name, curves[name], results["cells"][name]["best_step"], shared) for name in names],
        "folds": max(len(parts) for parts in curves.values()),
        "norms": any("gradient_norm" in part for parts in curves.values() for part in parts.values()),
        "staged": {name: results["cells"][name]["stages"] for name in names if results["cells"][name]["stages"]},
        "private": {name: results["cells"][name]["privacy"] for name in names if "privacy" in results["cells"][name]},
        "differences": settings_that_differ(list(experiments.values())),
        "experiments": {name: json.dumps(each, indent=2, ensure_ascii=False) for name, each in experiments.items()},
    }
