"""Learning curves: losses, the validation metric, gradient and update norms, for every seed and fold of a cell."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmjax.report.numbers import Bounds
from mmjax.report.svg import BLUE, GREEN, GREY, INK, ORANGE, PANEL_WIDTH, PINK, draw, nice_range, title

__all__ = ["LOSSES", "NORMS", "RUNS", "Limits", "Parts", "learning_curves", "limits", "metric_name", "overlaid_curves"]

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Parts = Mapping[str, Mapping[str, np.ndarray]]
"""{"all" or "fold0", ...: {"step": Int[e], name: Float[e s]}}, as `Run.curves` returns them."""
LOSSES = (("train_loss", BLUE, "-"), ("validation_loss", ORANGE, "--"))
NORMS = (("gradient_norm", GREEN, "-"), ("update_norm", PINK, "--"))


@dataclass(frozen=True)
class Limits:
    """The ranges (low, high) that all panels of learning curves share, so that cells can be compared.

    step: the last step. metric: {name of the curve: range}. norm: above 0, since its axis is logarithmic.
    """

    step: int
    loss: tuple[float, float]
    metric: Mapping[str, tuple[float, float]]
    norm: tuple[float, float]


def metric_name(parts: Parts) -> str | None:
    """The name of the curve of the validation metric, such as "validation_accuracy"; None without one."""
    names = [name for part in parts.values() for name in part]
    return next((name for name in names if name.startswith("validation_") and name != "validation_loss"), None)


def limits(cells: Iterable[Parts], bounds: Mapping[str, Bounds]) -> Limits:
    """The common ranges of these cells. bounds: {metric: its bounds}; a metric without an entry has none."""
    cells = list(cells)
    parts = [part for cell in cells for part in cell.values()]
    norms = _values(parts, [name for name, *_ in NORMS])
    norms = norms[norms > 0]  # their axis is logarithmic
    metrics = sorted({metric_name(cell) for cell in cells} - {None})
    known = {name: bounds.get(name.removeprefix("validation_"), (None, None)) for name in metrics}
    ranges = {name: (0.0, 1.0) if tuple(known[name]) == (0, 1) else nice_range(_values(parts, [name]), known[name])
              for name in metrics}  # fmt: skip
    return Limits(
        step=max(1, *(int(part["step"].max()) for part in parts)),
        loss=nice_range(_values(parts, [name for name, *_ in LOSSES]), (None, None), zero=True),
        metric=ranges,
        norm=(0.8 * float(norms.min()), 1.25 * float(norms.max())) if norms.size else (0.1, 1.0),
    )


def _values(parts: Sequence[Mapping[str, np.ndarray]], names: Sequence[str]) -> np.ndarray:
    found = [part[name].ravel() for part in parts for name in names if name in part]
    values = np.concatenate([*found, np.zeros(0)])
    return values[np.isfinite(values)]


def learning_curves(cell: str, parts: Parts, best_step: Sequence[Sequence[int]], shared: Limits) -> str:
    """The SVG of one cell: faint lines for seeds, a thick line for the median over the seeds of a fold, ticks at best steps.

    best_step: the lists of the seeds of each fold. shared: the ranges of the axes.
    """
    metric = metric_name(parts)
    norms = any(name in part for name, *_ in NORMS for part in parts.values())

    def paint(figure: "Figure") -> None:
        rows = figure.subplots(1 + (metric is not None) + norms, 1, sharex=True, squeeze=False)[:, 0]
        _lines(rows[0], parts, LOSSES)
        rows[0].set(ylim=shared.loss, ylabel="loss", xlim=(0, shared.step))
        if metric is not None:
            _lines(rows[1], parts, [(metric, ORANGE, "--")])
            rows[1].set(ylim=shared.metric[metric], ylabel=metric.removeprefix("validation_"))
        if norms:
            rows[-1].set_yscale("log")
            rows[-1].yaxis.set_major_formatter("{x:g}")  # the default writes powers as mathematics
            rows[-1].yaxis.set_minor_formatter("")
            _lines(rows[-1], parts, NORMS)
            rows[-1].set(ylim=shared.norm, ylabel="norm")
        steps = [step for seeds in best_step for step in seeds]
        below = rows[int(metric is not None)]
        below.plot(steps, [0.05] * len(steps), "|", color=INK, ms=8, mew=1.2, transform=below.get_xaxis_transform())
        rows[-1].set_xlabel("step")
        title(rows[0], cell)

    return draw(PANEL_WIDTH, 150 + 80 * (metric is not None) + 80 * norms, f"Learning curves of {cell}", paint)


def _lines(axes: "Axes", parts: Parts, lines: Iterable[tuple[str, str, str]]) -> None:
    for name, colour, style in lines:
        for part in parts.values():
            if name in part:
                axes.plot(part["step"], part[name], color=colour, alpha=0.22, linewidth=0.8)
                width = 1.8 if len(parts) == 1 else 1.1
                axes.plot(part["step"], np.median(part[name], axis=1), color=colour, linestyle=style, linewidth=width)
    axes.tick_params(length=0)


RUNS = ((BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (PINK, ":"), (INK, "-"), (GREY, "--"))  # equal to those in style.html


def overlaid_curves(name: str, runs: Mapping[str, Parts], shared: Limits) -> str:
    """The SVG of one cell in several runs: the median over the seeds of each fold, a colour and a style for each run.

    runs: {label: its curves}, in the order of RUNS. shared: the ranges of the axes.
    """
    metrics = list(dict.fromkeys(filter(None, map(metric_name, runs.values()))))

    def paint(figure: "Figure") -> None:
        rows = figure.subplots(1 + len(metrics), 1, sharex=True, squeeze=False)[:, 0]
        for axes, curve in zip(rows, ["validation_loss", *metrics]):
            for (colour, style), parts in zip(RUNS * len(runs), runs.values()):
                for part in parts.values():
                    if curve in part:
                        axes.plot(part["step"], np.median(part[curve], axis=1), color=colour, linestyle=style, linewidth=1.5)
            axes.set(ylabel=curve.removeprefix("validation_"), xlim=(0, shared.step))
            axes.set_ylim(shared.metric.get(curve, shared.loss))
            axes.tick_params(length=0)
        rows[0].set_ylabel("validation loss")
        rows[-1].set_xlabel("step")
        title(rows[0], name)

    return draw(PANEL_WIDTH, 150 + 80 * len(metrics), f"Learning curves of {name} in {len(runs)} runs", paint)
