"""`report.html`: one self-contained page, a pure function of run folders. No script, no font, no address outside."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.report import plots, tables
from mmjax.report.examples import cards
from mmjax.runs.read import Run, read_run
from mmjax.runs.schema import full_subset


def write_report(runs: Sequence[Path | str], out: Path | str) -> Path:
    """Write the page on these run folders to `out`, a section a run; return its path. Equal folders, equal bytes."""
    text = render([read_run(folder) for folder in runs])
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8", newline="\n")
    return out


def render(runs: Sequence[Run]) -> str:
    """The page as text."""
    if not runs:
        raise ValueError("a report needs at least one run folder")
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise ImportError("the report's page needs jinja2: pip install 'mmjax[report]'") from error
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # captions and class names are data, and data may hold a <script>
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": tables.number, "interval": tables.interval, "svg": Markup, "duration": _duration}
    return environment.get_template("page.html").render(sections=[_section(run) for run in runs]) + "\n"


def _section(run: Run) -> dict[str, Any]:
    """Everything that the template says of one run."""
    results = run.results
    best = results["cells"][results["best_cell"]]
    experiments = {name: results["cells"][name]["experiment"] for name in tables.ordered_cells(results)}
    return {
        "results": results,
        "best": best,
        "full": full_subset(best),
        "sentences": tables.toned_sentences(results),
        "rows": tables.rows(results),
        "scale": _scale(tables.rows(results)),
        "floors": [
            {"key": name, "name": tables.floor_name(name, floor), "line": name in plots.FLOOR_LINES,
             "mean": floor["accuracy"]["mean"]}
            for name, floor in results["floors"].items() if floor is not None
        ],
        "plots": _plots(run),
        "staged": {name: cell["stages"] for name, cell in results["cells"].items() if cell["stages"]},
        "cards": cards(run, results["best_cell"]),
        "differences": _differences(list(experiments.values())),
        "experiments": {name: json.dumps(each, indent=2, ensure_ascii=False) for name, each in experiments.items()},
    }  # fmt: skip


def _scale(rows: Sequence[tables.Row]) -> tuple[float, float]:
    """The tenths between which all accuracies lie, so that the table's drawings use their whole width."""
    values = [v for row in rows for v in (*row.per_seed, *(row.accuracy[key] for key in ("mean", "low", "high")))]
    values = [v for v in values if v is not None]
    low, high = np.floor(10 * min(values, default=0)), np.ceil(10 * max(values, default=1))
    return float(low) / 10, float(max(high, low + 1)) / 10


def _plots(run: Run) -> dict[str, Any]:
    results, names = run.results, tables.ordered_cells(run.results)
    floors = {name: floor["accuracy"]["mean"] for name, floor in results["floors"].items()
              if name in plots.FLOOR_LINES and floor is not None and floor["accuracy"]["mean"] is not None}
    cells, best = results["cells"], results["best_cell"]
    singles = {name for name in names if tables.is_single(cells[name])}
    subsets = sorted({s for name in names for s in cells[name]["subsets"]}, key=lambda s: (-s.count("+"), s))
    curves = {name: run.curves(name) for name in names}
    losses = np.array([curve[f"{part}_loss"].max(initial=0.0, where=np.isfinite(curve[f"{part}_loss"]))
                       for curve in curves.values() for part in ("train", "validation")])
    top = 1.05 * float(losses.max()) or 1.0
    last = max(1, *(int(curve["step"].max()) for curve in curves.values()))
    accuracy = {
        subset: {n: cells[n]["subsets"][subset]["accuracy"] for n in names if subset in cells[n]["subsets"]}
        for subset in subsets
    }
    return {
        "subsets": [plots.subset_panel(subset, accuracy[subset], floors, best, singles) for subset in subsets],
        "curves": [plots.learning_curves(name, curves[name], cells[name]["best_step"], top, last) for name in names],
        "languages": [
            plots.language_panel(name, cells[name]["languages"], floors) for name in names if cells[name]["languages"]
        ],
        "confusion": plots.confusion_matrix(results["task"]["classes"], cells[best]["confusion"]),
    }


def _flat(tree: Any, prefix: str = "") -> dict[str, str]:
    """`{"optim": {"lr": 0.1}}` -> `{"optim.lr": "0.1"}`; a list is one value."""
    if isinstance(tree, Mapping) and tree:
        inner = [_flat(sub, f"{prefix}.{name}" if prefix else str(name)) for name, sub in tree.items()]
        return {name: value for settings in inner for name, value in settings.items()}
    return {prefix: tree if isinstance(tree, str) else json.dumps(tree, ensure_ascii=False)}


def _differences(experiments: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The settings that differ, each with its value in every experiment; a dash where one has no such setting."""
    flat = [_flat(experiment) for experiment in experiments]
    names = dict.fromkeys(name for settings in flat for name in settings)
    values = {name: [settings.get(name, tables.NONE) for settings in flat] for name in names}
    return {name: each for name, each in values.items() if len(set(each)) > 1}


def _duration(seconds: int | float) -> str:
    """`5 min 11 s`, or `41.2 s` under a minute."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
