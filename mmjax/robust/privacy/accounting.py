"""Privacy accountants of DP-SGD: noise, sampling and steps -> epsilon, and epsilon -> noise; by dp-accounting.

All of them account for the Gaussian mechanism with Poisson sampling under neighbours that differ by one added or removed row.
Arguments: noise (the noise multiplier, >= 0), rate (the sampling probability of a row), steps, delta.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from typing import Any, NamedTuple, Protocol, runtime_checkable

from mmjax.data.order import Poisson

__all__ = [
    "COVERS", "MAX_NOISE", "NEIGHBOURS", "NOT_COVERED", "OVERFLOW_SHARE", "PLD", "RDP", "RELATIVE", "TINY", "Accountant",
    "ClassicRDP", "Guarantee", "calibrate", "calibrated_noise", "guarantee",
]

NEIGHBOURS = "add or remove one training row"
RELATIVE = 1e-3  # of a calibrated noise multiplier
MAX_NOISE = 1e5
TINY = 1e-300
OVERFLOW_SHARE = 1e-3  # of delta, for draws of more rows than the width of a batch


@runtime_checkable
class Accountant(Protocol):
    """(noise, rate, steps, delta) -> epsilon, an upper bound; a frozen dataclass. conversion: how its bound becomes (epsilon,
    delta), in words."""

    @property
    def conversion(self) -> str: ...

    def epsilon(self, noise: float, rate: float, steps: int, delta: float) -> float: ...


@dataclass(frozen=True)
class PLD:
    """Privacy loss distributions, composed by FFT (Koskela et al., 2020; Doroshenko et al., 2022).

    The tightest of the three.
    """

    @property
    def conversion(self) -> str:
        return "hockey-stick divergence of the composed privacy loss distribution, rounded up"

    def epsilon(self, noise: float, rate: float, steps: int, delta: float) -> float:
        return _pld_epsilon(noise, rate, steps, delta)


@dataclass(frozen=True)
class RDP:
    """Renyi differential privacy (Mironov et al., 2019) with the conversion of Canonne, Kamath and Steinke (2020, prop. 12)."""

    @property
    def conversion(self) -> str:
        return "RDP to (epsilon, delta) by Canonne, Kamath and Steinke (2020), proposition 12"

    def epsilon(self, noise: float, rate: float, steps: int, delta: float) -> float:
        orders, divergences = _rdp(noise, rate, steps)
        return float(_library().rdp.compute_epsilon(orders, divergences, delta)[0])


@dataclass(frozen=True)
class ClassicRDP:
    """Renyi differential privacy with the first conversion, min over alpha of RDP - log(delta) / (alpha - 1) (Mironov, 2017,
    proposition 3). Published tables before 2021 use it; it gives more than `RDP`."""

    @property
    def conversion(self) -> str:
        return "RDP to (epsilon, delta) by Mironov (2017), proposition 3"

    def epsilon(self, noise: float, rate: float, steps: int, delta: float) -> float:
        pairs = zip(*_rdp(noise, rate, steps))
        return max(0.0, min(float(rdp) - math.log(delta) / (order - 1) for order, rdp in pairs))


class Guarantee(NamedTuple):
    """The privacy of one trained model, as part.json records it.

    epsilon: None if there is no noise, and so no guarantee. delta: of the whole guarantee, with the probability that a batch
    overflows. noise_multiplier: of all noise of a step. steps: of training. sampling: of the rows of a step. covers,
    not_covered: what the guarantee holds for, in words.
    """

    epsilon: float | None
    delta: float
    noise_multiplier: float
    steps: int
    accountant: str
    conversion: str
    neighbours: str
    sampling: str
    covers: str
    not_covered: str


COVERS = "the trained parameters of one seed, against anyone who does not know the seed"
NOT_COVERED = (
    "several seeds or cells released together; choices made by looking at results; training losses and other files of the run; "
    "rows of the validation and test splits, which are treated as public; the number of training rows"
)


def guarantee(
    accountant: Accountant, noise: float, rows: int, batch: int, steps: int, delta: float, sampling: Poisson
) -> Guarantee:
    """The guarantee of a training with this noise multiplier.

    A run that draws too many rows for its width stops, which changes the distribution of its result by at most
    `sampling.overflow`; this adds (1 + e^epsilon) overflow to delta. ValueError if this is more than a thousandth of delta.
    """
    epsilon = None
    if noise > 0:
        epsilon = accountant.epsilon(noise, batch / rows, steps, delta * (1 - OVERFLOW_SHARE))
        _check_overflow(epsilon, delta, sampling)
    return Guarantee(
        epsilon=epsilon,
        delta=delta,
        noise_multiplier=noise,
        steps=steps,
        accountant=f"{type(accountant).__name__}, dp-accounting {metadata.version('dp-accounting')}" if noise > 0 else "none",
        conversion=accountant.conversion,
        neighbours=NEIGHBOURS,
        sampling=f"Poisson, {batch} of {rows} rows expected, overflow below {sampling.overflow:g}",
        covers=COVERS if noise > 0 else "nothing: there is no noise",
        not_covered=NOT_COVERED,
    )


def calibrate(accountant: Accountant, epsilon: float, rate: float, steps: int, delta: float) -> float:
    """The smallest noise multiplier, within 0.1 %, whose epsilon is at most the target. ValueError if there is none."""
    from scipy.optimize import brentq

    spent = lambda noise: accountant.epsilon(noise, rate, steps, delta)
    low = high = 1.0
    while spent(high) > epsilon:
        low, high = high, 2 * high
        if high > MAX_NOISE:
            raise ValueError(f"DPSGD.epsilon is {epsilon:g}; no noise multiplier up to {MAX_NOISE:g} reaches it")
    while low > 1 / MAX_NOISE and spent(low) <= epsilon:
        low, high = low / 2, low
    excess = lambda log_noise: math.log(max(spent(math.exp(log_noise)), TINY) / epsilon)  # nearly linear, so few steps
    noise = high
    if excess(math.log(low)) > 0 > excess(math.log(high)):
        noise = math.exp(brentq(excess, math.log(low), math.log(high), xtol=RELATIVE / 4))
    while spent(noise) > epsilon:
        noise *= 1 + RELATIVE / 2
    return noise


def calibrated_noise(
    accountant: Accountant, epsilon: float, rows: int, batch: int, steps: int, delta: float, sampling: Poisson
) -> float:
    """The noise multiplier whose `guarantee` is at most epsilon, and close to it."""
    _check_overflow(epsilon, delta, sampling)
    return calibrate(accountant, epsilon, batch / rows, steps, delta * (1 - OVERFLOW_SHARE))


def _check_overflow(epsilon: float, delta: float, sampling: Poisson) -> None:
    if math.log(sampling.overflow) + math.log1p(math.exp(-epsilon)) + epsilon > math.log(delta * OVERFLOW_SHARE):
        largest = math.exp(math.log(delta * OVERFLOW_SHARE) - epsilon - math.log1p(math.exp(-epsilon)))
        raise ValueError(
            f"sampling.overflow is {sampling.overflow:g}; with epsilon {epsilon:.3g} and delta {delta:g} it must be at most "
            f"{largest:.1e}" + (", or use more noise" if largest < 1e-100 else "")
        )


def _library() -> Any:
    try:
        import dp_accounting
        import dp_accounting.pld
        import dp_accounting.rdp
    except ImportError as error:
        raise ImportError("differential privacy needs dp-accounting: pip install 'mmjax[privacy]'") from error
    return dp_accounting


def _composed(accountant: Any, noise: float, rate: float, steps: int) -> Any:
    """A dp-accounting accountant after all steps."""
    library = _library()
    event = library.GaussianDpEvent(noise)
    if rate < 1:
        event = library.PoissonSampledDpEvent(rate, event)
    return accountant.compose(library.SelfComposedDpEvent(event, steps))


@lru_cache(maxsize=1024)
def _pld_epsilon(noise: float, rate: float, steps: int, delta: float) -> float:
    return float(_composed(_library().pld.PLDAccountant(), noise, rate, steps).get_epsilon(delta))


@lru_cache(maxsize=1024)
def _rdp(noise: float, rate: float, steps: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(orders alpha, the Renyi divergence of each order after all steps)."""
    accountant = _composed(_library().rdp.RdpAccountant(), noise, rate, steps)
    return tuple(accountant._orders.tolist()), tuple(accountant._rdp.tolist())
