"""Matplotlib figures as inline SVG: the same bytes for the same numbers.

Colours become CSS variables with a fallback and the ink becomes `currentColor`, so one drawing is readable in light and in
dark mode. The palette is that of Okabe and Ito, which colour-blind readers can tell apart; no plot relies on colour alone.
"""

import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmjax.report.numbers import Bounds, Number, number

__all__ = [
    "BLUE", "GREEN", "GREY", "HEAT", "INK", "MAX_NAME", "ORANGE", "PANEL_WIDTH", "PINK", "RC", "THEME", "draw", "floats",
    "horizontal_rows", "nice_range", "shorten", "spread", "title",
]

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, BLUE, ORANGE, GREEN, PINK, GREY, HEAT = "#101112", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#808488", "#56b4e9"
THEME = {
    INK: "currentColor",
    BLUE: f"var(--blue, {BLUE})",
    ORANGE: f"var(--orange, {ORANGE})",
    GREEN: f"var(--green, {GREEN})",
    PINK: f"var(--pink, {PINK})",
    GREY: f"var(--grey, {GREY})",
    HEAT: f"var(--heat, {HEAT})",
}
MAX_NAME = 28  # characters of a name beside a plot
PANEL_WIDTH = 340  # CSS pixels, drawn 1:1; matplotlib's SVG has 72 units per inch
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


def draw(width: Number, height: Number, label: str, paint: Callable[[Any], None]) -> str:
    """The SVG of `paint(figure)`. width, height: in CSS pixels. label: read aloud by screen readers."""
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("the report's plots need matplotlib: pip install 'mmjax[report]'") from error
    # rc_context and a Figure of our own instead of pyplot: the caller's plots and settings do not change
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue(), label)


def _inline(svg: str, label: str) -> str:
    """An SVG file as an element of a page: no prologue, metadata or style sheet; colours of the theme; a label."""
    svg = svg[svg.index("<svg"):]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->|<defs>\s*</defs>", "", svg, flags=re.S)
    # ids of shared shapes are hashes of their content, so equal ids in two drawings are equal shapes; others would clash
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used else "", svg)
    svg = re.sub(r"(fill|stroke): (#[0-9a-f]{6})", lambda m: f"{m[1]}: {THEME.get(m[2], m[2])}", svg)
    width, height = re.search(r'viewBox="0 0 (\S+) (\S+)"', svg).groups()
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
            f'aria-label="{html.escape(label)}" viewBox="0 0 {width} {height}" style="width:{float(width):.0f}px" '
            f'stroke-linejoin="round" stroke-linecap="butt">')
    return re.sub(r"<svg[^>]*>", lambda _: head, svg, count=1)


def floats(values: Any) -> np.ndarray:
    """An array of JSON numbers, NaN where null."""
    return np.array(values, float)


def shorten(name: str, max_length: int = MAX_NAME) -> str:
    """A name that fits beside a plot: a longer one loses its middle, since similar names often differ at their ends.

    Characters that are not Unicode become "?", since matplotlib cannot draw them.
    """
    name, kept = name.encode(errors="replace").decode(), max_length - 1
    return name if len(name) <= max_length else f"{name[: kept - kept // 2]}…{name[len(name) - kept // 2 :]}"


def title(axes: "Axes", text: str) -> None:
    """Sets the title of a panel, aligned to the left."""
    axes.set_title(shorten(text, 46), loc="left", fontsize=10, fontweight="bold")


def spread(estimates: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Means (n,), and the distances to low and high (2, n); NaN where null."""
    mean, low, high = (floats([estimate[key] for estimate in estimates]) for key in ("mean", "low", "high"))
    return mean, np.stack([mean - low, high - mean]).clip(min=0)


def nice_range(values: Sequence[Number | None] | np.ndarray, bounds: Bounds, zero: bool = False) -> tuple[float, float]:
    """Round numbers around all values, inside the metric's bounds. zero: the range contains 0, as bars need."""
    known = floats(values)
    known = known[np.isfinite(known)]
    known = np.append(known, 0.0) if zero or not known.size else known
    low, high = float(known.min()), float(known.max())
    step = 10.0 ** np.floor(np.log10(max(high - low, 1e-9)))
    low, high = step * np.floor(low / step + 1e-9), step * np.ceil(high / step - 1e-9)
    lowest, highest = bounds
    low = low if lowest is None else max(low, min(lowest, float(known.min())))
    high = high if highest is None else min(high, max(highest, float(known.max())))
    return (float(low), float(high)) if high > low else (float(low), float(low) + step)


def horizontal_rows(
    axes: "Axes", names: Sequence[str], values: Sequence[Number | None] | np.ndarray, bounds: Bounds, span: tuple[float, float]
) -> None:
    """Formats axes with a row for each name: the value as text to the right, the ends of the range below.

    bounds: of the metric, for the number of decimals. span: the range of the horizontal axis.
    """
    y = np.arange(len(names))
    for i, value in zip(y, floats(values)):
        if np.isfinite(value):
            style = {"va": "center", "fontsize": 8.5, "transform": axes.get_yaxis_transform()}
            axes.text(1.03, i, number(value, bounds), **style)
    axes.set_yticks(y, [shorten(name) for name in names])
    low, high = span
    axes.set_xticks(np.linspace(low, high, 5), [f"{low:.4g}", "", f"{(low + high) / 2:.4g}", "", f"{high:.4g}"])
    axes.set(xlim=span, ylim=(len(names) - 0.4, -0.6))
    axes.tick_params(length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
