"""The page's plots of scores. Each panel is a separate SVG, so that narrow screens show one column."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmjax.report.numbers import Bounds, Estimate, Number
from mmjax.report.svg import BLUE, GREEN, GREY, INK, MAX_NAME, PANEL_WIDTH, PINK, draw, horizontal_rows, shorten, spread, title

__all__ = ["LINES", "MARKERS", "MAX_GROUPS", "group_panel", "subset_panel"]

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINES = (("--", GREY), (":", PINK), ("-.", GREEN), ((0, (1, 3)), INK))  # of baselines, in order; equal to those in style.html
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # of the complete input and of each modality; task.html explains them
MAX_GROUPS = 20


def subset_panel(
    name: str,
    metric: str,
    scores: Mapping[str, Estimate],
    colours: Mapping[str, str],
    baselines: Sequence[Number | None],
    bounds: Bounds,
    span: tuple[float, float],
) -> str:
    """One subset of the modalities: a bar with an interval for each cell; the baselines are vertical lines.

    scores: {cell: ESTIMATE}. colours: {cell: colour}. baselines: means. span: the range of the axis.
    """
    cells, values = list(scores), list(scores.values())

    def paint(figure: "Figure") -> None:
        axes = figure.add_subplot()
        y, (mean, error) = np.arange(len(cells)), spread(values)
        left = min(max(0.0, span[0]), span[1])
        axes.barh(y, mean - left, left=left, color=[colours[cell] for cell in cells], alpha=0.75, height=0.66)
        axes.errorbar(mean, y, xerr=error, fmt="none", ecolor=INK, elinewidth=1.2, capsize=2.5)
        for (style, colour), value in zip(LINES * len(baselines), baselines):
            if value is not None:
                axes.axvline(value, linestyle=style, color=colour, linewidth=1.3, zorder=1.5)
        horizontal_rows(axes, cells, [value["mean"] for value in values], bounds, span)
        title(axes, name.replace("+", " + "))

    return draw(PANEL_WIDTH, 50 + 19 * len(cells), f"{metric} of each cell with {name}", paint)


def group_panel(
    cell: str,
    column: str,
    metric: str,
    groups: Mapping[str, Any],
    subsets: Sequence[tuple[str, str]],
    bounds: Bounds,
    span: tuple[float, float],
) -> str:
    """One cell: dots with intervals for each value of a metadata column, the largest groups first.

    groups: {value: GROUP of results.json}. subsets: [(marker, subset)]; the first is drawn filled, the others hollow.
    """
    names = sorted(groups, key=lambda name: (-groups[name]["units"], name))[:MAX_GROUPS]
    subsets = [(marker, subset) for marker, subset in subsets if any(subset in of["subsets"] for of in groups.values())]
    lift = np.linspace(-0.3, 0.3, len(subsets)) if len(subsets) > 1 else np.zeros(1)

    def paint(figure: "Figure") -> None:
        axes = figure.add_subplot()
        for k, (marker, subset) in enumerate(subsets):
            rows = [i for i, name in enumerate(names) if subset in groups[name]["subsets"]]
            mean, error = spread([groups[names[i]]["subsets"][subset][metric] for i in rows])
            colour, face, size = (BLUE, BLUE, 5) if k == 0 else (GREY, "none", 4)
            style = {"fmt": marker, "color": colour, "mfc": face, "ms": size, "zorder": 3 - k / 10}
            axes.errorbar(mean, np.array(rows) + lift[k], xerr=error, elinewidth=1.1, **style)
        values = [groups[name]["subsets"][subsets[0][1]][metric]["mean"] for name in names]
        horizontal_rows(axes, [_with_count(name or "(none)", groups[name]["units"]) for name in names], values, bounds, span)
        title(axes, cell if len(names) == len(groups) else f"{cell} (largest {len(names)} of {len(groups)})")

    row = 19 if len(subsets) == 1 else 12 + 7 * len(subsets)
    return draw(PANEL_WIDTH, 50 + row * len(names), f"{metric} by {column} of {cell}", paint)


def _with_count(name: str, units: int) -> str:
    """The name, shortened so that the number of units fits behind it."""
    count = f" ({units})"
    return shorten(name, MAX_NAME - len(count)) + count
