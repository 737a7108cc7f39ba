"""`report.html`: one self-contained page, a pure function of run folders, without scripts, fonts or links to other hosts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmjax.report import numbers
from mmjax.report.curves import learning_curves, limits
from mmjax.report.phrases import power
from mmjax.report.rows import ordered_cells
from mmjax.report.sections import task_section
from mmjax.report.sentences import run_sentences
from mmjax.report.settings import duration, settings_that_differ
from mmjax.runs.folder import write_text
from mmjax.runs.read import Run, read_run


def write_report(runs: Sequence[Path | str], out: Path | str) -> Path:
    """Writes the page of these run folders to `out` and returns its path. Equal folders give equal bytes.

    RunError if a run folder is damaged; ImportError if the `report` extra is missing.
    """
    text = render([read_run(folder) for folder in runs])
    out = Path(out)
    write_text(out, text)
    return out


def render(runs: Sequence[Run]) -> str:
    """The page as text, one article for each run."""
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
    environment.globals["power"] = lambda difference, bounds: power([difference], bounds)
    environment.filters |= {"number": numbers.number, "interval": numbers.interval, "svg": Markup, "duration": duration}
    return environment.get_template("page.html").render(runs=[_article(run) for run in runs]) + "\n"


def _article(run: Run) -> dict[str, Any]:
    """The values of the template run.html."""
    results = run.results
    names = ordered_cells(results)
    curves = {name: run.curves(name) for name in names}
    bounds = {metric: value["bounds"] for task in results["tasks"].values() for metric, value in task["metrics"].items()}
    shared = limits(curves.values(), bounds)
    experiments = {name: results["cells"][name]["experiment"] for name in names}
    return {
        "results": results,
        "tasks": [task_section(run, name) for name in results["tasks"]],
        "notes": run_sentences(results),
        "seeds": sorted({len(cell["seeds"]) for cell in results["cells"].values()}),
        "curves": [learning_curves(name, curves[name], results["cells"][name]["best_step"], shared) for name in names],
        "folds": max(len(parts) for parts in curves.values()),
        "norms": any("gradient_norm" in part for parts in curves.values() for part in parts.values()),
        "staged": {name: results["cells"][name]["stages"] for name in names if results["cells"][name]["stages"]},
        "differences": settings_that_differ(list(experiments.values())),
        "experiments": {name: json.dumps(each, indent=2, ensure_ascii=False) for name, each in experiments.items()},
    }
