"""Agreement of raters: Krippendorff's alpha and Cohen's kappa."""

from collections.abc import Hashable, Sequence

import numpy as np

from mmjax.data.decode import DataError

__all__ = ["SCALES", "WEIGHTS", "cohen_kappa", "krippendorff_alpha", "pairwise_kappas"]

SCALES = ("nominal", "ordinal", "interval")
WEIGHTS = ("none", "linear", "quadratic")


def krippendorff_alpha(ratings: Sequence[Sequence[Hashable]], scale: str = "nominal") -> float:
    """Krippendorff's alpha for any number of raters and missing ratings: 1 for full agreement, 0 for chance.

    ratings: [raters][units]; None, "" or NaN is missing. scale: "nominal", "ordinal" or "interval"; the last two need
    numbers. Units with fewer than two ratings are ignored. NaN if no unit has two, or if all
    ratings are equal.
    Raises DataError for another scale, unequal lengths, or ratings that are not numbers where numbers are needed.
    Source: K. Krippendorff, Computing Krippendorff's alpha-reliability (2011).
    """
    if scale not in SCALES:
        raise DataError(f"scale is {scale!r}; it must be one of {', '.join(SCALES)}")
    if len({len(own) for own in ratings}) > 1:
        raise DataError(f"raters have {sorted({len(own) for own in ratings})} ratings; all need one per unit, None if missing")
    units = [[value for value in unit if not _missing(value)] for unit in zip(*ratings)]
    units = [unit for unit in units if len(unit) > 1]
    if scale != "nominal":
        units = [[_number(value, scale) for value in unit] for unit in units]
    values = sorted({value for unit in units for value in unit}, key=lambda v: (str(type(v)), v))
    of = {value: k for k, value in enumerate(values)}
    coincidence = np.zeros((len(values), len(values)))
    for unit in units:
        counts = np.bincount([of[value] for value in unit], minlength=len(values)).astype(float)
        coincidence += (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    totals = coincidence.sum(axis=1)
    distance = _squared_distances(values, totals, scale)
    expected = (np.outer(totals, totals) - np.diag(totals)) * distance
    if not expected.sum() > 0:
        return float("nan")
    return float(1 - (totals.sum() - 1) * (coincidence * distance).sum() / expected.sum())


def _missing(value: Hashable) -> bool:
    return value is None or value == "" or value != value


def _number(value: Hashable, scale: str) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise DataError(f"a rating is {value!r}; the scale {scale!r} needs numbers") from None


def _squared_distances(values: Sequence, totals: np.ndarray, scale: str) -> np.ndarray:
    """[v v]: 0 or 1; squared sums of the frequencies between two ranks, with half of both ends; squared differences."""
    if scale == "nominal":
        return 1 - np.eye(len(values))
    place = np.cumsum(totals) - totals / 2 if scale == "ordinal" else np.array(values, float)
    return np.subtract.outer(place, place) ** 2


def cohen_kappa(a: Sequence[Hashable], b: Sequence[Hashable], weights: str = "none") -> float:
    """Cohen's kappa of two raters, or weighted kappa (Cohen, 1968); units that one of them has not rated are ignored.

    weights: "none"; "linear" or "quadratic" in the number of ranks between two ratings, which then must be numbers. NaN if both
    raters use one and the same value only. Raises DataError for other weights or unequal lengths.
    """
    if weights not in WEIGHTS:
        raise DataError(f"weights is {weights!r}; it must be one of {', '.join(WEIGHTS)}")
    if len(a) != len(b):
        raise DataError(f"the raters have {len(a)} and {len(b)} ratings; both need one per unit, None if missing")
    pairs = [(x, y) for x, y in zip(a, b) if not _missing(x) and not _missing(y)]
    if weights != "none":
        pairs = [(_number(x, weights), _number(y, weights)) for x, y in pairs]
    values = sorted({value for pair in pairs for value in pair}, key=lambda v: (str(type(v)), v))
    of = {value: k for k, value in enumerate(values)}
    table = np.zeros((len(values), len(values)))
    for x, y in pairs:
        table[of[x], of[y]] += 1
    ranks = np.abs(np.subtract.outer(np.arange(len(values)), np.arange(len(values))))
    cost = {"none": (ranks > 0).astype(float), "linear": ranks.astype(float), "quadratic": ranks.astype(float) ** 2}[weights]
    expected = (np.outer(table.sum(axis=1), table.sum(axis=0)) * cost).sum()
    return float(1 - table.sum() * (table * cost).sum() / expected) if expected > 0 else float("nan")


def pairwise_kappas(ratings: Sequence[Sequence[Hashable]], weights: str = "none") -> dict[tuple[int, int], float]:
    """{(rater, other rater): Cohen's kappa} of all pairs."""
    return {
        (i, j): cohen_kappa(ratings[i], ratings[j], weights) for i in range(len(ratings)) for j in range(i + 1, len(ratings))
    }
