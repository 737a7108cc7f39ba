"""Learning curves: a metric by the size of the training split, and its extrapolation with an interval.

    python experiments/NAME.py concat --shares 0.1 0.25 0.5           trains concat.0.1, concat.0.25, concat.0.5 and concat
    python -m mmjax.audit RUN concat learning_curve
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmjax.audit.audit import Audit, NotApplicable, with_interval
from mmjax.audit.audited import Audited
from mmjax.evaluate.statistics import Estimate, combination
from mmjax.evaluate.statistics.variance import Bounds
from mmjax.runs.read import check_cell, read_outcomes
from mmjax.tasks import panels

__all__ = ["EXPONENTS", "FACTORS", "MIN_SIZES", "fitted", "learning_curve", "shares_in"]

FACTORS = (2.0, 4.0)  # times the present training split
MIN_SIZES = 4  # a curve of three parameters needs one more size
EXPONENTS = np.geomspace(0.05, 2.0, 120)


def learning_curve(audited: Audited, metric: str | None = None, factors: Sequence[float] = FACTORS) -> Audit:
    """A metric of a cell and of the same cell with shares of the training data (`--shares`), extrapolated to more data.

    The curve is a + b n^-c, which describes most learning curves (Hestness et al., 2017), by least squares. The interval of an
    extrapolated value comes from its derivative by each point of the curve (delta method): it covers test units and seeds, and
    not that the curve may have another form. metric: by default the headline metric. factors: times all training data.
    """
    metric = metric or audited.headline
    shares = shares_in(audited)
    if len(shares) < MIN_SIZES:
        raise NotApplicable(
            f"the run has {len(shares) - 1} cells with a share of the training data of {audited.cell}, such as "
            f"{audited.cell}.0.5; train at least {MIN_SIZES - 1} with --shares"
        )
    curve = [_estimate(audited, cell, metric) for cell in shares.values()]
    x, rows = np.array(list(shares)), audited.run.results["data"]["splits"]["train"]["examples"]
    beyond = [_extrapolated(x, curve, factor) for factor in factors]
    sizes = np.concatenate([x, factors]) * rows
    points = [*curve, *beyond]
    ends = ([[getattr(one, key) for one in points]] for key in ("mean", "low", "high"))
    gain = combination([beyond[0], curve[-1]], [1, -1], curve[-1].metric.higher_is_better)
    return Audit(
        name="learning_curve",
        title=f"{metric} by the size of the training data",
        conclusions=(
            f"{metric} is {curve[0].mean:.3f} with {x[0]:.0%} of the training data and {curve[-1].mean:.3f} with all; if the "
            f"curve goes on, it would be {with_interval(beyond[0])} with {factors[0]:g} times as many, a gain of "
            f"{with_interval(gain, '+.3f')}.",
        ),
        estimates={f"{share:.0%} of the data": one for share, one in zip([*x, *factors], points)},
        panels=(
            panels.lines(
                f"{metric} (last {len(factors)} points extrapolated)", [audited.cell], sizes, *ends, "training examples", metric
            ),
        ),
        note="a + b n^-c by least squares; the interval of the extrapolation is that of the fit to these test units and seeds.",
        values={"shares": x.tolist(), "factors": list(factors), "training examples": rows},
    )


def shares_in(audited: Audited) -> dict[float, str]:
    """{share: cell} of the cells of the run that are this cell with a share of the training data, ascending, and itself."""
    found, results = {1.0: audited.cell}, audited.run.results["cells"]
    for name, entry in results.items():
        start, _, share = name.partition(f"{audited.cell}.")
        if not start and _is_share(share) and audited.task_name in entry["tasks"]:
            found[float(share)] = name
    return dict(sorted(found.items()))


def _is_share(text: str) -> bool:
    try:
        return 0 < float(text) < 1
    except ValueError:
        return False


def fitted(x: np.ndarray, y: np.ndarray, at: float) -> float:
    """The value at `at` of a + b x^-c, fitted to y [k] by least squares; c in 0.05 to 2, on a grid of 120 values."""
    best = (np.inf, float("nan"))
    for c in EXPONENTS:
        design = np.stack([np.ones_like(x), x**-c], axis=1)
        coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
        error = float(np.sum((design @ coefficients - y) ** 2))
        if error < best[0]:
            best = error, float(coefficients @ [1, at**-c])
    return best[1]


def _extrapolated(x: np.ndarray, curve: Sequence[Estimate], at: float) -> Estimate:
    """The fitted value as an estimate: its derivative by each point, from the least-squares fit with all three parameters."""
    y = np.array([one.mean for one in curve])
    # a step of the size of the errors, since the fit is curved, and c is on a grid
    step = max(1e-3, 0.25 * float(np.mean([one.high - one.low for one in curve])))
    moved = lambda k, sign: fitted(x, y + sign * step * np.eye(len(y))[k], at)
    slope = [(moved(k, 1) - moved(k, -1)) / (2 * step) for k in range(len(y))]
    linear = combination(curve, slope, curve[0].metric.higher_is_better)
    shift = fitted(x, y, at) - linear.mean
    return _shifted(linear, shift, curve[0].metric.bounds)


def _shifted(estimate: Estimate, shift: float, bounds: Bounds) -> Estimate:
    """The estimate of a value that differs by a constant; values and interval stay within the bounds."""
    least, most = (end if bound is None else bound for bound, end in zip(bounds, (-np.inf, np.inf)))
    moved = lambda value: float(np.clip(value + shift, least, most))
    per_seed = tuple(map(moved, estimate.per_seed))
    ends = {"mean": float(np.mean(per_seed)), "low": moved(estimate.low), "high": moved(estimate.high)}
    contributions = estimate.contributions._replace(training=estimate.contributions.training + shift)
    return replace(estimate, per_seed=per_seed, contributions=contributions, **ends)


def _estimate(audited: Audited, cell: str, metric: str) -> Estimate:
    folder = audited.run.folder / "cells" / cell
    outcomes = read_outcomes(folder, check_cell(folder)["parts"], audited.task_name)
    return audited.estimate(outcomes[audited.complete], metric)
