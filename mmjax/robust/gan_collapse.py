"""Whether a generator covers the data: precision, recall, density, coverage and within-class variance of its samples."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "MIN_COVERAGE",
    "MIN_VARIANCE_RATIO",
    "Fidelity",
    "Spread",
    "fidelity",
    "imputer_spread",
    "neighbour_scores",
    "within_class_variance",
]


class Fidelity(NamedTuple):
    """How well generated features cover real ones; all are dimensionless.

    precision, recall: Kynkaanniemi et al., 2019. density, coverage: Naeem et al., 2020. reference: the coverage that real
    features of the training split reach, the most that can be expected of a generator. variance_ratio: within-class variance
    of generated features relative to that of real ones, 1 at best and 0 if each class has one sample.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    reference: float
    variance_ratio: float

    @property
    def collapsed(self) -> bool:
        """Whether less than half of the reachable coverage, or less than a quarter of the variance, is reached."""
        return self.coverage < MIN_COVERAGE * self.reference or self.variance_ratio < MIN_VARIANCE_RATIO


MIN_COVERAGE, MIN_VARIANCE_RATIO = 0.5, 0.25


class Spread(NamedTuple):
    """Variances of imputed features relative to that of real ones, in training; dimensionless.

    total: over the examples; 0 if all get the same features. by_noise: due to the noise z alone; 0 if G ignores it, which is
    the usual collapse of a conditional GAN.
    """

    total: float
    by_noise: float

    @property
    def collapsed(self) -> bool:
        """Whether less than a quarter of the variance of real features is reached."""
        return self.total < MIN_VARIANCE_RATIO


def imputer_spread(variables: Mapping[str, Any]) -> dict[str, Spread]:
    """{modality: Spread} of a model with a `GANImputer`, from its variables, such as `load_run(folder)["gan"].variables(seed)`.

    ValueError if it has none.
    """
    found: dict[str, Spread] = {}

    def search(tree: Mapping[str, Any]) -> None:
        for name, value in tree.items():
            if isinstance(value, Mapping):
                search(value)
            elif name.endswith("_spread"):
                real, total, by_noise = (float(x) for x in np.asarray(value))
                found[name.removesuffix("_spread")] = Spread(total / max(real, 1e-30), by_noise / max(real, 1e-30))

    search(variables.get("imputer", {}))
    if not found:
        raise ValueError("the variables have no GANImputer, whose collection is 'imputer'")
    return found


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances Float64[n m] between rows of a [n d] and b [m d]."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T
    return np.sqrt(np.maximum(squared, 0))


def _radii(x: np.ndarray, k: int) -> np.ndarray:
    """The distance of each row to its k-th nearest other row, Float64[n]."""
    distances = _distances(x, x)
    np.fill_diagonal(distances, -1)  # a row is not its own neighbour, also if others are equal to it
    return np.partition(distances, k, axis=1)[:, k]


def neighbour_scores(real: np.ndarray, generated: np.ndarray, k: int = 5) -> tuple[float, float, float, float]:
    """(precision, recall, density, coverage) by balls around each point that reach its k-th nearest neighbour.

    With B(x) the ball of a real feature and B'(y) that of a generated one: precision is the share of y inside any B(x), recall
    the share of x inside any B'(y), density the mean number of B(x) around y divided by k, and coverage the share of B(x) that
    contain any y (Naeem et al., 2020, equations 3 and 4). real, generated: Float[n d], Float[m d], each with more than k rows;
    otherwise ValueError.
    """
    if min(len(real), len(generated)) <= k or k < 1:
        raise ValueError(f"{k} neighbours need more rows than {len(real)} real and {len(generated)} generated ones, and k >= 1")
    distances = _distances(real, generated)
    inside_real = distances < _radii(real, k)[:, None]
    inside_generated = distances < _radii(generated, k)[None]
    scores = inside_real.any(axis=0), inside_generated.any(axis=1), inside_real.sum(axis=0) / k, inside_real.any(axis=1)
    return tuple(float(np.mean(score)) for score in scores)


def within_class_variance(x: np.ndarray, label: np.ndarray) -> float:
    """The mean squared distance of features x Float[n d] to the mean of their class. label: Int[n]. Unbiased within a class."""
    total, freedom = 0.0, 0
    for number in np.unique(label):
        of_class = np.asarray(x[label == number], np.float64)
        total += np.square(of_class - of_class.mean(axis=0)).sum()
        freedom += len(of_class) - 1
    return total / freedom if freedom else float("nan")


def fidelity(
    real: np.ndarray, real_label: np.ndarray, generated: np.ndarray, label: np.ndarray, train: np.ndarray, k: int = 5
) -> Fidelity:
    """Compares generated features with real ones that the generator was not trained on.

    real: Float[n d], held out, of classes real_label Int[n]. generated: Float[m d], of classes label Int[m]. train: Float[t d],
    the features it was trained on. For the scores of neighbours, as many rows of `train` and of `generated` are used, and k is
    reduced to fit small sets.
    """
    size = min(len(generated), len(train))
    k = max(min(k, len(real) - 1, size - 1), 1)
    evenly = lambda x: x[np.linspace(0, len(x) - 1, size).round().astype(int)]
    precision, recall, density, coverage = neighbour_scores(real, evenly(generated), k)
    reference = neighbour_scores(real, evenly(train), k)[3]
    spread = within_class_variance(real, real_label)
    ratio = within_class_variance(generated, label) / spread if spread > 0 else float("nan")
    return Fidelity(precision, recall, density, coverage, reference, float(ratio))
