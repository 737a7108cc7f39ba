"""Robustness of a metric over levels of corruption, by the definitions of MultiBench (Liang et al., 2021, section 3.3 and its
code). A curve, Float[*n k], has the metric without corruption first, then at equally spaced levels; results are Float[*n].

All but the last are linear in the curve, so `statistics.combination` gives them intervals: `trapezoids` are the coefficients.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

__all__ = [
    "SPACING", "accumulated_change", "effective_robustness", "min_max_normalized", "relative_robustness", "trapezoids",
]  # fmt: skip

SPACING = 0.1  # of the levels in MultiBench's code


def trapezoids(levels: int, spacing: float = SPACING) -> Float[np.ndarray, " k"]:
    """The weights of the values of a curve in the area under it."""
    weight = np.full(levels, spacing)
    weight[[0, -1]] /= 2
    return weight


def relative_robustness(curve: Float[np.ndarray, "*n k"], spacing: float = SPACING) -> Any:
    """The area under the curve, by trapezoids of width `spacing`. High if the metric is high and stays so."""
    return np.asarray(curve) @ trapezoids(np.shape(curve)[-1], spacing)


def accumulated_change(curve: Float[np.ndarray, "*n k"]) -> Any:
    """The sum of the differences from the metric without corruption."""
    return np.sum(curve - curve[..., :1], axis=-1)


def effective_robustness(curve: Float[np.ndarray, "*n k"], reference: Float[np.ndarray, "*n k"]) -> Any:
    """The sum of f - (r + f_0 - r_0): how much more a model keeps than a reference that starts at the same value.

    reference: the curve r of another model; MultiBench takes late fusion.
    """
    return accumulated_change(curve) - accumulated_change(reference)


def min_max_normalized(values: Float[np.ndarray, " m"], higher_is_better: bool = True) -> Float[np.ndarray, " m"]:
    """The numbers of several methods, scaled so that the worst has 0 and the best 1, as MultiBench reports them; NaN if all are
    equal."""
    values = np.asarray(values, np.float64) * (1 if higher_is_better else -1)
    span = values.max() - values.min()
    return (values - values.min()) / span if span else np.full(values.shape, np.nan)
