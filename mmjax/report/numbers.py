"""Numbers as text: as many digits as their metric needs, and a dash for an undefined number."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = [
    "NONE", "UNIT", "Bounds", "Estimate", "Number", "decimals", "exists", "interval", "is_bounded", "number", "rough", "span",
]

Estimate = Mapping[str, Any]
Number = int | float
Bounds = Iterable[Number | None]
NONE = "–"
UNIT = (0.0, 1.0)


def is_bounded(bounds: Bounds) -> bool:
    """Whether a metric with these bounds lies in [-1, 1], such as an accuracy or a correlation."""
    return all(bound is not None and abs(bound) <= 1 for bound in bounds)


def exists(value: Number | None) -> bool:
    """Whether a number is defined: neither None nor NaN nor infinite."""
    return value is not None and math.isfinite(value)


def decimals(values: Iterable[Number | None], bounds: Bounds) -> int:
    """Three decimals for a bounded metric; otherwise three significant digits of the largest value, none for integers."""
    known = [abs(value) for value in values if exists(value)]
    if is_bounded(bounds):
        return 3
    if not any(known) or all(float(value).is_integer() for value in known):
        return 0
    return min(max(2 - math.floor(math.log10(max(known))), 0), 6)


def number(value: Number | None, bounds: Bounds = UNIT, signed: bool = False) -> str:
    """`0.861` for a bounded metric, `12.3` or `1,234` for others."""
    return _fixed(value, decimals([value], bounds), signed)


def interval(value: Estimate, bounds: Bounds = UNIT, signed: bool = False) -> str:
    """`0.861 [0.820, 0.900]`; the mean alone if there is no interval or it has no width (a baseline that is one number)."""
    mean, low, high = (value[key] for key in ("mean", "low", "high"))
    digits = decimals((mean, low, high), bounds)
    if not (exists(low) and exists(high)) or low == mean == high:
        return _fixed(mean, digits, signed)
    return f"{_fixed(mean, digits, signed)} [{_fixed(low, digits, signed)}, {_fixed(high, digits, signed)}]"


def span(values: Iterable[Number], bounds: Bounds = UNIT) -> str:
    """`0.038` if all values look the same when rounded, otherwise `0.038 to 0.045`."""
    values = sorted(values)
    digits = decimals(values, bounds)
    low, high = _fixed(values[0], digits), _fixed(values[-1], digits)
    return low if low == high else f"{low} to {high}"


def rough(counts: Iterable[int]) -> str:
    """Two significant digits: `1,900`, or `900 to 1,900` for several counts; `more than a million` beyond that."""
    shown = [min(_rounded(count), 1_000_001) for count in sorted(counts)]
    words = ["more than a million" if count > 1_000_000 else f"{count:,}" for count in (shown[0], shown[-1])]
    return words[0] if words[0] == words[1] else " to ".join(words)


def _rounded(count: int) -> int:
    """Two significant digits, rounded up since the count is a minimum."""
    unit = 10 ** max(len(str(count)) - 2, 0)
    return -(-count // unit) * unit


def _fixed(value: Number | None, digits: int, signed: bool = False) -> str:
    """A number with `digits` decimals, without the sign of a negative zero unless signed."""
    if not exists(value):
        return NONE
    text = f"{value:+,.{digits}f}" if signed else f"{value:,.{digits}f}"
    return text.replace("-", "", 1) if float(text.replace(",", "")) == 0 and text.startswith("-") and not signed else text
