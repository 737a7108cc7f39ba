"""Panels: plots and tables of a task's outcomes for the report, as JSON values. Numbers that are not finite become null.

    matrix      {"panel", "title", "rows", "columns", "values", "row_label", "column_label"}
    points      {"panel", "title", "x", "y", "labels", "x_label", "y_label", "diagonal"}
    histogram   {"panel", "title", "edges", "counts", "label"}
    intervals   {"panel", "title", "names", "mean", "low", "high", "label"}
    lines       {"panel", "title", "names", "x", "mean", "low", "high", "x_label", "y_label"}
    maps        {"panel", "title", "examples": [{"id", "target", "maps": [{"modality", ...}]}]}
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["histogram", "intervals", "lines", "maps", "matrix", "points"]


def matrix(
    title: str, rows: Sequence[str], columns: Sequence[str], values: Any, row_label: str = "", column_label: str = ""
) -> dict[str, Any]:
    """A table of numbers with a colour scale. values: Float[r c], for r row names and c column names."""
    values = _expect(np.asarray(values), (len(rows), len(columns)), "values")
    return {
        "panel": "matrix",
        "title": title,
        "rows": [str(name) for name in rows],
        "columns": [str(name) for name in columns],
        "values": _numbers(values),
        "row_label": row_label,
        "column_label": column_label,
    }


def points(
    title: str, x: Any, y: Any, labels: Sequence[str] = (), x_label: str = "", y_label: str = "", diagonal: bool = False
) -> dict[str, Any]:
    """A scatter plot. x, y: Float[p]. labels: a name for each point, or none at all. diagonal: also draw the line y = x."""
    x = np.asarray(x)
    if len(labels) not in (0, len(x)):
        raise ValueError(f"points: there are {len(labels)} labels for {len(x)} points; give one per point, or none")
    return {
        "panel": "points",
        "title": title,
        "x": _numbers(_expect(x, (len(x),), "x")),
        "y": _numbers(_expect(np.asarray(y), (len(x),), "y")),
        "labels": [str(label) for label in labels],
        "x_label": x_label,
        "y_label": y_label,
        "diagonal": diagonal,
    }


def histogram(title: str, edges: Any, counts: Any, label: str = "") -> dict[str, Any]:
    """Counts (or weights) in bins. edges: Float[e + 1], ascending; counts: Float[e]; label: the label of the x axis."""
    edges = np.asarray(edges)
    counts = _expect(np.asarray(counts), (len(edges) - 1,), "counts")
    return {"panel": "histogram", "title": title, "edges": _numbers(edges), "counts": _numbers(counts), "label": label}


def intervals(
    title: str, names: Sequence[str], mean: Any, low: Any = None, high: Any = None, label: str = ""
) -> dict[str, Any]:
    """A bar with an interval for each name. mean: Float[n]; low, high: Float[n], or None without intervals."""
    shape = (len(names),)
    return {
        "panel": "intervals",
        "title": title,
        "names": [str(name) for name in names],
        "mean": _numbers(_expect(np.asarray(mean), shape, "mean")),
        "low": None if low is None else _numbers(_expect(np.asarray(low), shape, "low")),
        "high": None if high is None else _numbers(_expect(np.asarray(high), shape, "high")),
        "label": label,
    }


def lines(
    title: str, names: Sequence[str], x: Any, mean: Any, low: Any = None, high: Any = None, x_label: str = "", y_label: str = ""
) -> dict[str, Any]:
    """A curve for each name, with a band if there are intervals. x: Float[k], ascending; mean, low, high: Float[n k]."""
    x = np.asarray(x)
    shape = (len(names), len(x))
    return {
        "panel": "lines",
        "title": title,
        "names": [str(name) for name in names],
        "x": _numbers(_expect(x, (len(x),), "x")),
        "mean": _numbers(_expect(np.asarray(mean), shape, "mean")),
        "low": None if low is None else _numbers(_expect(np.asarray(low), shape, "low")),
        "high": None if high is None else _numbers(_expect(np.asarray(high), shape, "high")),
        "x_label": x_label,
        "y_label": y_label,
    }


def maps(title: str, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Attributions of some examples. Each map has its "modality" and a "picture", or "words" with "weights" from -1 to 1; and
    perhaps a "sound". Pictures (PNG) and sounds are names of files of the audit.
    """
    return {"panel": "maps", "title": title, "examples": [dict(example) for example in examples]}


def _expect(array: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; the panel needs {shape}")
    return array


def _numbers(array: np.ndarray) -> Any:
    """Nested lists of floats with six digits; None for numbers that are not finite."""
    if array.ndim > 1:
        return [_numbers(row) for row in array]
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in array.tolist()]
