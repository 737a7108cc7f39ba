"""Draws the panels of a task, which are JSON values (`mmjax.tasks.panels`), as SVG."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mmjax.report.numbers import decimals
from mmjax.report.svg import (
    BLUE,
    GREEN,
    GREY,
    HEAT,
    INK,
    ORANGE,
    PANEL_WIDTH,
    PINK,
    draw,
    floats,
    horizontal_rows,
    nice_range,
    shorten,
    title,
)  # fmt: skip
from mmjax.runs.schema import NUMBER, Maybe, RunError, check

__all__ = ["CURVES", "MAX_LABELS", "MAX_NUMBERS", "NUMBERS", "SPECS", "UNBOUNDED", "Panel", "draw_panel"]

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Panel = Mapping[str, Any]
UNBOUNDED = (None, None)
MAX_NUMBERS = 24  # a matrix with more rows or columns has small squares without numbers
CURVES = ((BLUE, "-", "o"), (ORANGE, "--", "s"), (GREEN, "-.", "^"), (PINK, ":", "D"), (INK, "-", "v"), (GREY, "--", "x"))
MAX_LABELS = 30  # more points are drawn without labels

NUMBERS = [Maybe(NUMBER)]
SPECS = {
    "matrix": {"rows": [str], "columns": [str], "values": [NUMBERS], "row_label": str, "column_label": str},
    "points": {"x": NUMBERS, "y": NUMBERS, "labels": [str], "x_label": str, "y_label": str, "diagonal": bool},
    "histogram": {"edges": NUMBERS, "counts": NUMBERS, "label": str},
    "intervals": {"names": [str], "mean": NUMBERS, "low": Maybe(NUMBERS), "high": Maybe(NUMBERS), "label": str},
    "lines": {
        "names": [str], "x": NUMBERS, "mean": [NUMBERS], "low": Maybe([NUMBERS]), "high": Maybe([NUMBERS]), "x_label": str,
        "y_label": str,
    },
}  # fmt: skip


def draw_panel(panel: Panel, key: str) -> str:
    """The SVG of one panel. Raises RunError, naming `key`, for an unknown kind or a missing field."""
    kind = panel.get("panel")
    if kind not in SPECS:
        raise RunError(f"results.json: key '{key}.panel' is {kind!r}; the report can draw {', '.join(SPECS)}")
    check(panel, {"title": str, **SPECS[kind]}, "results.json", key)
    draws: dict[str, Callable[[Panel], str]] = {
        "matrix": _matrix, "points": _points, "histogram": _histogram, "intervals": _intervals,
        "lines": _lines,
    }  # fmt: skip
    return draws[kind](panel)


def _matrix(panel: Panel) -> str:
    """Squares with numbers. A square is darker for a larger number of its row, and of another colour for a negative one."""
    values, rows, columns = floats(panel["values"]), panel["rows"], panel["columns"]
    values = values.reshape(len(rows), len(columns))
    largest = np.maximum(np.abs(np.nan_to_num(values)).max(axis=1, initial=0.0), 1e-30)
    digits = decimals(values.ravel().tolist(), UNBOUNDED)
    small = max(len(rows), len(columns)) <= MAX_NUMBERS
    side = 36 if small else 14

    def paint(figure: "Figure") -> None:
        from matplotlib.patches import Rectangle

        axes = figure.add_subplot()
        for i, j in np.argwhere(np.isfinite(values)):
            value = float(values[i, j])
            colour, shade = (HEAT if value >= 0 else ORANGE), abs(value) / float(largest[i])
            axes.add_patch(Rectangle((j - 0.48, i - 0.48), 0.96, 0.96, color=colour, alpha=shade, linewidth=0))
            if small:
                axes.text(j, i, f"{value:.{digits}f}" if value else "·", ha="center", va="center", fontsize=8.5)
        labels = [shorten(name, 22) for name in columns]
        axes.set_xticks(range(len(columns)), labels, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(rows)), [shorten(name, 22) for name in rows])
        axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5), aspect="equal")
        axes.set(xlabel=panel["column_label"], ylabel=panel["row_label"])
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines[["left", "bottom"]].set_visible(False)
        title(axes, panel["title"])

    width, height = 140 + side * len(columns), 150 + side * len(rows)
    return draw(max(width, PANEL_WIDTH), height, panel["title"], paint)


def _points(panel: Panel) -> str:
    """A scatter plot, with labels if there are few points, and the diagonal if asked for."""
    x, y = floats(panel["x"]), floats(panel["y"])

    def paint(figure: "Figure") -> None:
        axes = figure.add_subplot()
        dense = len(x) > 200
        axes.plot(x, y, "o", color=BLUE, ms=2.5 if dense else 4.5, mew=0, alpha=0.35 if dense else 0.75)
        if panel["diagonal"] and np.isfinite(x).any() and np.isfinite(y).any():
            ends = [min(np.nanmin(x), np.nanmin(y)), max(np.nanmax(x), np.nanmax(y))]
            axes.plot(ends, ends, "--", color=GREY, linewidth=1.2, zorder=1.5)
        if len(panel["labels"]) <= MAX_LABELS:
            for label, a, b in zip(panel["labels"], x, y):
                if np.isfinite(a) and np.isfinite(b):
                    axes.annotate(shorten(label, 18), (a, b), (4, 3), textcoords="offset points", fontsize=8)
        axes.set(xlabel=panel["x_label"], ylabel=panel["y_label"])
        axes.margins(0.08)
        axes.locator_params(nbins=6)
        axes.tick_params(length=0)
        title(axes, panel["title"])

    return draw(PANEL_WIDTH, 270, panel["title"], paint)


def _histogram(panel: Panel) -> str:
    """Bars of equal width between labelled edges, since bins of ranks differ in width by orders of magnitude."""
    edges, counts = floats(panel["edges"]), floats(panel["counts"])

    def paint(figure: "Figure") -> None:
        axes = figure.add_subplot()
        axes.bar(np.arange(len(counts)) + 0.5, counts, width=0.94, color=BLUE, alpha=0.75)
        shown = np.arange(0, len(edges), max(1, -(-len(edges) // 9)))
        axes.set_xticks(shown, [f"{edges[i]:.4g}" for i in shown])
        axes.set(xlabel=panel["label"], xlim=(0, len(counts)))
        axes.tick_params(length=0)
        axes.grid(visible=False, axis="x")
        axes.locator_params(axis="y", nbins=5)
        title(axes, panel["title"])

    return draw(PANEL_WIDTH, 220, panel["title"], paint)


def _intervals(panel: Panel) -> str:
    """A bar with an interval for each name."""
    mean = floats(panel["mean"])
    low, high = (mean if panel[key] is None else floats(panel[key]) for key in ("low", "high"))
    span = nice_range(np.concatenate([mean, low, high]), UNBOUNDED, zero=True)

    def paint(figure: "Figure") -> None:
        axes = figure.add_subplot()
        y = np.arange(len(mean))
        axes.barh(y, mean, color=BLUE, alpha=0.75, height=0.66)
        if panel["low"] is not None and panel["high"] is not None:
            error = np.stack([mean - low, high - mean]).clip(min=0)
            axes.errorbar(mean, y, xerr=error, fmt="none", ecolor=INK, elinewidth=1.2, capsize=2.5)
        horizontal_rows(axes, panel["names"], mean, UNBOUNDED, span)
        axes.set_xlabel(panel["label"])
        title(axes, panel["title"])

    return draw(PANEL_WIDTH, 66 + 19 * len(mean), panel["title"], paint)


def _lines(panel: Panel) -> str:
    """A curve for each name, with a band for its interval; whiskers if there are more than two, whose bands hide each other."""
    x, mean, names = floats(panel["x"]), floats(panel["mean"]), panel["names"]
    span = np.nanmax(x) - np.nanmin(x) if np.isfinite(x).any() else 0.0

    def paint(figure: "Figure") -> None:
        axes, curves = figure.add_subplot(), []
        for k in range(len(names)):
            colour, style, marker = CURVES[k % len(CURVES)]
            at = x + (span * 0.012 * (k - (len(names) - 1) / 2) if len(names) > 2 else 0)
            curves += axes.plot(at, mean[k], linestyle=style, marker=marker, color=colour, ms=4, linewidth=1.5)
            if panel["low"] is not None and panel["high"] is not None:
                low, high = floats(panel["low"][k]), floats(panel["high"][k])
                if len(names) > 2:
                    error = np.stack([mean[k] - low, high - mean[k]]).clip(min=0)
                    axes.errorbar(at, mean[k], yerr=error, fmt="none", ecolor=colour, elinewidth=0.9, alpha=0.6)
                else:
                    axes.fill_between(at, low, high, color=colour, alpha=0.13, linewidth=0)
        axes.set(xlabel=panel["x_label"], ylabel=panel["y_label"])
        axes.locator_params(nbins=6)
        axes.tick_params(length=0)
        if len(panel["names"]) > 1:
            axes.legend(curves, [shorten(name) for name in panel["names"]], fontsize=8, loc="best")  # names may start with "_"
        title(axes, panel["title"])

    return draw(PANEL_WIDTH, 250, panel["title"], paint)
