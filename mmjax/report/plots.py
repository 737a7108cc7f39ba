"""The page's plots, as inline SVG made by matplotlib: the same bytes for the same numbers.

Colours become CSS variables with a fallback and the ink becomes `currentColor`, so one drawing is readable in light and
in dark mode. The palette is Okabe and Ito's, which the colour-blind can tell apart; no plot relies on colour alone.
Every panel is a drawing of its own, so that the page can lay them out in one column on a telephone."""

import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmjax.report.tables import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, BLUE, ORANGE, GREEN, PINK, GREY, HEAT = "#101112", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#808488", "#56b4e9"
PAINT = {
    INK: "currentColor",
    BLUE: f"var(--blue, {BLUE})",
    ORANGE: f"var(--orange, {ORANGE})",
    GREEN: f"var(--green, {GREEN})",
    PINK: f"var(--pink, {PINK})",
    GREY: f"var(--grey, {GREY})",
    HEAT: f"var(--heat, {HEAT})",
}
FLOOR_LINES = {"majority": ("--", GREY), "tfidf_svm": (":", PINK), "best_single": ("-.", GREEN)}
PANEL_WIDTH = 340  # CSS pixels, drawn 1:1; matplotlib's SVG has 72 units an inch
RC = {
    "svg.fonttype": "none",  # real text: small, searchable, in the reader's font
    "svg.hashsalt": "mmjax",
    "text.parse_math": False,  # a class called "a$b$" is a name
    "font.size": 9.5,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def _draw(width: int | float, height: int | float, label: str, paint: Any) -> str:
    """The SVG of `paint(figure)`, on a figure of this many CSS pixels."""
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("the report's plots need matplotlib: pip install 'mmjax[report]'") from error
    # rc_context and a Figure of our own, never pyplot: the caller's plots and settings are left alone
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue(), label)


def _inline(svg: str, label: str) -> str:
    """An SVG file as an element of a page: no prologue or metadata, no style for others, theme colours, a label."""
    svg = svg[svg.index("<svg"):]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->|<defs>\s*</defs>", "", svg, flags=re.S)
    # ids of shared shapes are hashes of their content, so equal ids in two drawings are equal shapes; the rest must go
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used else "", svg)
    svg = re.sub(r"(fill|stroke): (#[0-9a-f]{6})", lambda m: f"{m[1]}: {PAINT.get(m[2], m[2])}", svg)
    width, height = re.search(r'viewBox="0 0 (\S+) (\S+)"', svg).groups()
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
            f'aria-label="{html.escape(label)}" viewBox="0 0 {width} {height}" style="width:{float(width):.0f}px" '
            f'stroke-linejoin="round" stroke-linecap="butt">')
    return re.sub(r"<svg[^>]*>", lambda _: head, svg, count=1)


def _spread(intervals: Sequence[Interval]) -> tuple[np.ndarray, np.ndarray]:
    """Means (n,), and the distances to low and high (2, n); NaN where null."""
    mean, low, high = (np.array([i[key] for i in intervals], float) for key in ("mean", "low", "high"))
    return mean, np.stack([mean - low, high - mean]).clip(min=0)


def _rows(axes: "Axes", names: Sequence[str], intervals: Sequence[Interval], floors: Mapping[str, float]) -> None:
    """What a panel of intervals shares: a row a name, the number beside it, the floors as lines."""
    y = np.arange(len(names))
    for (style, colour), value in ((FLOOR_LINES[name], value) for name, value in floors.items()):
        axes.axvline(value, linestyle=style, color=colour, linewidth=1.3, zorder=1.5)
    for i, value in zip(y, intervals):
        if value["mean"] is not None:
            axes.text(1.03, i, f"{value['mean']:.2f}", va="center", ha="left", fontsize=8.5)
    axes.set_yticks(y, names)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.4, -0.6))
    axes.tick_params(length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def subset_panel(
    subset: str, accuracy: Mapping[str, Interval], floors: Mapping[str, float], strong: str, singles: set[str]
) -> str:
    """One subset of the modalities: a bar a cell with its interval, and the floors as lines."""
    names, values = list(accuracy), list(accuracy.values())
    colours = [ORANGE if name == strong else GREY if name in singles else BLUE for name in names]

    def paint(figure: "Figure") -> None:
        axes = figure.add_subplot()
        mean, error = _spread(values)
        axes.barh(np.arange(len(names)), mean, color=colours, alpha=0.75, height=0.66)
        axes.errorbar(mean, np.arange(len(names)), xerr=error, fmt="none", ecolor=INK, elinewidth=1.2, capsize=2.5)
        _rows(axes, names, values, floors)
        axes.set_title(subset, loc="left", fontsize=10, fontweight="bold")

    return _draw(PANEL_WIDTH, 50 + 19 * len(names), f"Accuracy by cell with {subset}", paint)


def language_panel(cell: str, languages: Mapping[str, Mapping[str, Any]], floors: Mapping[str, float]) -> str:
    """One cell: dots with intervals for each language spoken, the one of most rows first; hollow: the speech alone."""
    names = sorted(languages, key=lambda name: (-languages[name]["rows"], name))
    values = [languages[name]["accuracy"] for name in names]
    alone = [languages[name]["unimodal_heads"]["accuracy"] for name in names]

    def paint(figure: "Figure") -> None:
        axes = figure.add_subplot()
        y = np.arange(len(names))
        for shown, lift, face in ((values, -0.15, BLUE), (alone, 0.15, "none")):
            mean, error = _spread(shown)
            axes.errorbar(mean, y + lift, xerr=error, fmt="o", color=BLUE, mfc=face, ms=5, capsize=2.5)
        _rows(axes, [f"{name or 'no speech'} ({languages[name]['rows']})" for name in names], values, floors)
        axes.set_title(cell, loc="left", fontsize=10, fontweight="bold")

    return _draw(PANEL_WIDTH, 50 + 19 * len(names), f"Accuracy by language of {cell}", paint)


def learning_curves(
    cell: str, curves: Mapping[str, np.ndarray], best_step: Sequence[int], top: float, last: int
) -> str:
    """Loss above, validation accuracy below: the median over seeds, each seed faint, ticks at each seed's best step.

    `top` (loss, dimensionless) and `last` (steps) are shared by the panels of a page, so that they can be compared."""

    def line(axes: "Axes", name: str, colour: str, style: str) -> None:
        axes.plot(curves["step"], curves[name], color=colour, alpha=0.22, linewidth=0.8)
        axes.plot(curves["step"], np.median(curves[name], axis=1), color=colour, linestyle=style, linewidth=1.8)

    def paint(figure: "Figure") -> None:
        loss, accuracy = figure.subplots(2, 1, sharex=True)
        line(loss, "train_loss", BLUE, "-")
        line(loss, "validation_loss", ORANGE, "--")
        line(accuracy, "validation_accuracy", ORANGE, "--")
        accuracy.plot(best_step, np.full(len(best_step), 0.03), "|", color=INK, ms=8, mew=1.2)
        loss.set(ylim=(0, top), ylabel="loss", xlim=(0, last))
        accuracy.set(ylim=(0, 1), yticks=[0, 0.5, 1], ylabel="accuracy", xlabel="step")
        loss.set_title(cell, loc="left", fontsize=10, fontweight="bold")
        for axes in (loss, accuracy):
            axes.tick_params(length=0)

    return _draw(PANEL_WIDTH, 250, f"Learning curves of {cell}", paint)


def confusion_matrix(classes: Sequence[str], counts: Sequence[Sequence[int | float]]) -> str:
    """Rows are the true classes: the share of the row as colour and number, below it the count (mean over seeds)."""
    count = np.array(counts, float)
    share = count / np.maximum(count.sum(1, keepdims=True), 1e-12)
    n = len(classes)

    def paint(figure: "Figure") -> None:
        from matplotlib.patches import Rectangle

        axes = figure.add_subplot()
        for i, j in np.argwhere(count > 0):
            corner, shade = (j - 0.48, i - 0.48), float(share[i, j])
            axes.add_patch(Rectangle(corner, 0.96, 0.96, color=HEAT, alpha=shade, linewidth=0))
            if n <= 24:  # beyond it the numbers would not fit in their squares
                axes.text(j, i - 0.04, f"{share[i, j]:.2f}", ha="center", va="bottom", fontsize=8.5)
                axes.text(j, i + 0.06, f"{count[i, j]:.3g}", ha="center", va="top", fontsize=7)
        axes.set_xticks(range(n), classes, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(n), classes)
        axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5), xlabel="said", ylabel="true", aspect="equal")
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines[["left", "bottom"]].set_visible(False)

    side = 130 + (36 if n <= 24 else 14) * n
    return _draw(side, side, "Confusion matrix", paint)
