"""How far to trust a table: paired bootstrap intervals over clusters of test examples AND over training seeds.

    resampling = resample(group_of_row, seeds=5)                      # once for a table
    a = scores(logits_a, label, weight, resampling)["accuracy"]       # Score(mean, low, high, per_seed)
    verdict(difference(a, b))                                         # "better", "worse" or "inconclusive"

One Resampling serves every model, every subset (rows outside it have weight 0) and every metric, so the draws of two
models differ by the models alone. Rows of one cluster (variants, translations, frames of one item) are drawn together:
they are not independent. Seeds are drawn too: a claim about a method must survive another initialisation. Drawing both
ways at once is Owen's pigeonhole bootstrap (Annals of Applied Statistics 1(2), 2007), mildly conservative.

What a draw cannot tell is NaN there and left out of the interval: any score if it holds no row of the subset, a class's
score if it holds no row of that class. What the test set itself cannot tell is NaN, and null in JSON.
"""

import math
import zlib
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmjax import metrics

WEIGHTINGS_AT_ONCE = 2**23  # floats of row weights per chunk of draws: 32 MB, and a few times that for what is computed


@dataclass(frozen=True)
class Resampling:
    """r draws: how often each row's cluster came up, Float32[r n], and each seed's share of the draw, Float32[r s]."""

    row_weight: np.ndarray
    seed_weight: np.ndarray

    @cached_property
    def fingerprint(self) -> int:
        """Of the row weights: equal where two scores were computed on the same draws of the same rows."""
        return zlib.crc32(np.ascontiguousarray(self.row_weight), self.row_weight.shape[1])


class Interval(NamedTuple):
    """An estimate and its 95 % percentile interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Score:
    """Mean over seeds on the test set, its 95 % percentile interval, and what they came from: the draws, Float64[r]."""

    mean: float
    low: float
    high: float
    per_seed: tuple[float, ...]
    draws: np.ndarray = field(repr=False, compare=False)
    resampling: int = field(repr=False, compare=False)  # the fingerprint

    def to_json(self) -> dict:
        """Without the draws; NaN as None, since JSON knows no NaN."""
        number = lambda x: None if math.isnan(x) else x
        summary = {"mean": number(self.mean), "low": number(self.low), "high": number(self.high)}
        return summary | {"per_seed": [number(x) for x in self.per_seed]}


def _draw(random: np.random.Generator, units: int, draws: int) -> np.ndarray:
    """Float32[draws units]: how often each unit comes up when units - 1 of them are drawn with replacement.

    One fewer than there are, which makes the variance of a drawn mean the unbiased estimate; drawing all would give
    (units - 1) / units of it, a fifth too little with five seeds (Rao and Wu, JASA 83(401), 1988).
    """
    return random.multinomial(max(units - 1, 1), np.full(units, 1 / units), size=draws).astype(np.float32)


def resample(cluster, seeds: int, draws: int = 1000, seed: int = 0) -> Resampling:
    """cluster Int[n] (or any n comparable names): which rows belong together -> `draws` paired draws of rows and seeds.

    The rows drawn do not depend on the number of seeds, so a model with five seeds and a floor with one are paired.
    """
    names, cluster_of_row = np.unique(np.asarray(cluster), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"an interval needs at least 2 clusters of test rows; got {len(names)}")
    clusters = _draw(np.random.default_rng([seed, 0]), len(names), draws)
    seed_count = _draw(np.random.default_rng([seed, 1, seeds]), seeds, draws)
    return Resampling(clusters[:, cluster_of_row], seed_count / seed_count.sum(1, keepdims=True))


@partial(jax.jit, static_argnames="statistic")
def _weigh(statistic, logits, label, weight, row_weight):
    """statistic(logits[n c], label, weight) for every seed and every row of row_weight: [s r ...] each."""
    at_once = max(1, WEIGHTINGS_AT_ONCE // weight.size)
    of_seed = lambda x: jax.lax.map(lambda w: statistic(x, label, weight * w), row_weight, batch_size=at_once)
    return jax.lax.map(of_seed, logits)


def bootstrap(statistic, logits, label, weight, resampling: Resampling) -> dict[str, np.ndarray]:
    """Any statistic of your own over all draws and seeds: Float[s, 1 + r, ...] by name; draw 0 is the test set itself.

    statistic(logits Float[n c], label Int[n], weight Float[n]) -> {name: Float[...]} is a pure function defined at the
    top of a module (it is compiled once per function and shape). Then `score(values[name], resampling)`.
    """
    logits, label, weight = np.asarray(logits, np.float32), np.asarray(label), np.asarray(weight, np.float32)
    n, seeds = resampling.row_weight.shape[1], resampling.seed_weight.shape[1]
    if logits.shape[:2] != (seeds, n) or label.shape != (n,) or weight.shape != (n,):
        shapes = f"logits {logits.shape}, label {label.shape}, weight {weight.shape}"
        raise ValueError(f"resampling is for {seeds} seeds and {n} rows; got {shapes}")
    counted = weight > 0
    if np.isnan(logits[:, counted]).any():
        diverged = np.isnan(logits[:, counted]).any(tuple(range(1, logits.ndim))).nonzero()[0].tolist()
        raise ValueError(f"NaN among the logits of seeds {diverged}: the model diverged there, and has no score")
    if counted.any() and not 0 <= label[counted].min() <= label[counted].max() < logits.shape[-1]:
        raise ValueError(f"a row of positive weight has a label outside 0..{logits.shape[-1] - 1}")
    row_weight = np.concatenate([np.ones((1, n), np.float32), resampling.row_weight])
    return jax.tree.map(lambda x: np.asarray(x, np.float64), _weigh(statistic, logits, label, weight, row_weight))


def _interval(mean: float, draws: np.ndarray) -> Interval:
    known = draws[~np.isnan(draws)]
    low, high = np.percentile(known, [2.5, 97.5]) if known.size else (np.nan, np.nan)
    return Interval(float(mean), float(low), float(high))


def score(values, resampling: Resampling) -> Score:
    """values Float[s, 1 + r] as from `bootstrap` -> the Score."""
    draws = np.einsum("rs,sr->r", resampling.seed_weight, values[:, 1:])
    interval = _interval(values[:, 0].mean(), draws)
    return Score(*interval, tuple(values[:, 0].tolist()), draws, resampling.fingerprint)


def _confusion(logits, label, weight):
    return metrics.confusion_matrix(label, logits.argmax(-1), weight, logits.shape[-1])


def _table(logits, label, weight):
    """The scores of a classification table, each Float[]; NaN if no row has weight."""
    confusion = _confusion(logits, label, weight)
    bins = metrics.calibration_bins(jax.nn.softmax(jnp.float32(logits)), label, weight)
    table = {"accuracy": metrics.accuracy(confusion)}
    for name, average in {"macro": metrics.macro(confusion), "micro": metrics.micro(confusion)}.items():
        table |= {f"{key}_{name}": value for key, value in average._asdict().items()}
    table["ece"] = metrics.expected_calibration_error(bins)
    return {name: jnp.where(confusion.sum() > 0, value, jnp.nan) for name, value in table.items()}


def _table_per_class(logits, label, weight):
    """precision, recall and f1, each Float[c]; NaN for a class that is the true class of no row."""
    confusion = _confusion(logits, label, weight)
    of_class = metrics.precision_recall_f1(confusion)._asdict()
    return {name: jnp.where(confusion.sum(-1) > 0, value, jnp.nan) for name, value in of_class.items()}


def scores(logits, label, weight, resampling: Resampling) -> dict[str, Score]:
    """logits Float[s n c], label Int[n], weight Float[n] -> accuracy, {precision, recall, f1}_{macro, micro} and ece.

    The expected calibration error is biased upwards on few rows, and a draw has fewer distinct rows than the test set:
    its interval lies high, at times above the mean. Compare models by the difference, where most of that cancels.
    """
    values = bootstrap(_table, logits, label, weight, resampling)
    return {name: score(value, resampling) for name, value in values.items()}


def scores_per_class(logits, label, weight, resampling: Resampling) -> dict[str, tuple[Score, ...]]:
    """logits Float[s n c], label Int[n], weight Float[n] -> precision, recall and f1, each with one Score a class."""
    values = bootstrap(_table_per_class, logits, label, weight, resampling)
    return {
        name: tuple(score(value[..., k], resampling) for k in range(value.shape[-1])) for name, value in values.items()
    }


def mean_confusion(logits, label, weight) -> np.ndarray:
    """logits Float[s n c], label Int[n], weight Float[n] -> Float32[c c]: the confusion matrix, averaged over seeds."""
    return np.asarray(jax.vmap(_confusion, (0, None, None))(jnp.asarray(logits), label, weight).mean(0))


def difference(a: Score, b: Score) -> Interval:
    """a - b, draw by draw. What makes test rows hard for both cancels, so it is narrower than the intervals suggest."""
    if a.resampling != b.resampling:
        raise ValueError("scores of different resamplings are not paired: compute both with one `resample(...)`")
    return _interval(a.mean - b.mean, a.draws - b.draws)


TIE = 1e-6  # rounding: two models that are right equally often need not add up to the same bits


def verdict(interval: Interval) -> str:
    """Of a difference: "better" if all of it is above 0, "worse" if all of it is below, else "inconclusive".

    For scores of which less is better (ece), pass the difference the other way round.
    """
    return "better" if interval.low > TIE else "worse" if interval.high < -TIE else "inconclusive"
