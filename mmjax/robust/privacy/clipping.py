"""Clipping of the gradient of one example: flat, per layer, and with a norm that adapts to a quantile."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Bool, Float, Key

__all__ = ["TINY", "AdaptiveClip", "Clip", "Flat", "Noise", "PerLayer"]

TINY = float(np.finfo(np.float32).tiny)


@runtime_checkable
class Clip(Protocol):
    """Bounds the gradient of one example; a frozen dataclass.

    init: the state before the first step. bound: the largest L2 norm of a clipped gradient. clip: gradient of one example ->
    (clipped gradient, whether its norm was within the bound). next: the state of the next step. noise: the noise multipliers of
    a step whose total noise multiplier is given.
    """

    def init(self) -> Any: ...

    def bound(self, state: Any) -> Float[Array, ""] | float: ...

    def clip(self, gradient: Any, state: Any) -> tuple[Any, Bool[Array, ""]]: ...

    def noise(self, total: float, batch: float) -> "Noise": ...

    def next(self, state: Any, within: Float[Array, ""], batch: float, noise: "Noise", key: Key[Array, ""]) -> Any: ...


class Noise(NamedTuple):
    """Noise multipliers of one step.

    gradient: standard deviation of the noise on the sum of clipped gradients, divided by their bound. count: standard deviation
    of the noise on the sum of (within - 1/2), in examples; 0 if the sum is not used.
    """

    gradient: float
    count: float = 0.0


def _check_positive(value: Any, *names: str) -> None:
    for name in names:
        if not getattr(value, name) > 0:
            raise ValueError(f"{type(value).__name__}.{name} is {getattr(value, name)}; it must be above 0")


@dataclass(frozen=True)
class Flat:
    """g min(1, norm / ||g||) with one norm over all parameters (Abadi et al., 2016, algorithm 1).

    norm: above 0; inf for no clipping, which gives no privacy.
    """

    norm: float = 1.0

    def __post_init__(self):
        _check_positive(self, "norm")

    def init(self) -> tuple[()]:
        """No state."""
        return ()

    def bound(self, state: Any) -> float:
        """The norm."""
        return self.norm

    def clip(self, gradient: Any, state: Any) -> tuple[Any, Bool[Array, ""]]:
        return _clipped(gradient, self.norm)

    def noise(self, total: float, batch: float) -> Noise:
        """All noise is for the gradient."""
        return Noise(total)

    def next(self, state: Any, within: Any, batch: float, noise: Noise, key: Any) -> tuple[()]:
        return ()


@dataclass(frozen=True)
class PerLayer(Flat):
    """Clips each of L layers to norm / sqrt(L), so that the whole gradient is at most `norm` long (McMahan et al., 2018, s. 2).

    A layer is a module with its own parameters, such as the kernel and bias of a dense layer. norm: above 0.
    """

    def clip(self, gradient: Any, state: Any) -> tuple[Any, Bool[Array, ""]]:
        layers: dict[tuple[str, ...], dict[tuple[str, ...], Array]] = {}
        for path, leaf in flatten_dict(dict(gradient)).items():
            layers.setdefault(path[:-1], {})[path] = leaf
        clipped, within = {}, []
        for layer in layers.values():
            part, one = _clipped(layer, self.norm / math.sqrt(len(layers)))
            clipped |= part
            within.append(one)
        return unflatten_dict(clipped), jnp.all(jnp.stack(within))


@dataclass(frozen=True)
class AdaptiveClip:
    """A flat norm that follows a quantile of the norms of the examples' gradients (Andrew et al., 2021, algorithm 1).

        C <- C exp(-rate (share - quantile)),    share = (sum_i (1[||g_i|| <= C] - 1/2) + N(0, count_noise^2)) / batch + 1/2

    The noisy share costs privacy too: with total noise multiplier z, the gradient has (z^-2 - (2 count_noise)^-2)^(-1/2)
    (theorem 1), so that the accountant of z covers both.

    quantile: in (0, 1). initial: norm of the first step. rate: of the geometric update. count_noise: standard deviation in
    examples; None for the expected batch / 20, as in the paper. ValueError unless 2 count_noise > z.
    """

    quantile: float = 0.5
    initial: float = 0.1
    rate: float = 0.2
    count_noise: float | None = None

    def __post_init__(self):
        _check_positive(self, "initial", "rate")
        if not 0 < self.quantile < 1:
            raise ValueError(f"AdaptiveClip.quantile is {self.quantile}; it must be between 0 and 1")

    def init(self) -> Float[Array, ""]:
        """The initial norm."""
        return jnp.float32(self.initial)

    def bound(self, state: Float[Array, ""]) -> Float[Array, ""]:
        """The current norm."""
        return state

    def clip(self, gradient: Any, state: Float[Array, ""]) -> tuple[Any, Bool[Array, ""]]:
        return _clipped(gradient, state)

    def noise(self, total: float, batch: float) -> Noise:
        """The noise of gradient and count; no noise on either if the total is 0."""
        if total == 0:
            return Noise(0.0)
        count = batch / 20 if self.count_noise is None else self.count_noise
        if not 2 * count > total:
            raise ValueError(
                f"AdaptiveClip.count_noise is {count:g}; for a noise multiplier of {total:.4g} it must be above {total / 2:.4g}"
            )
        return Noise((total**-2 - (2 * count) ** -2) ** -0.5, count)

    def next(
        self, state: Float[Array, ""], within: Float[Array, ""], batch: float, noise: Noise, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """within: sum of (1[||g_i|| <= C] - 1/2) over the examples of the whole batch."""
        share = (within + noise.count * jax.random.normal(key)) / batch + 0.5
        return state * jnp.exp(-self.rate * (share - self.quantile))


def _clipped(gradient: Any, norm: Any) -> tuple[Any, Bool[Array, ""]]:
    """(gradient scaled to at most this norm, whether it was within). A non-finite gradient becomes zero, within the bound."""
    length = optax.tree.norm(gradient)
    finite = jnp.isfinite(length)
    scale = jnp.minimum(1.0, norm / jnp.maximum(length, TINY))
    return jax.tree.map(lambda leaf: jnp.where(finite, leaf * scale, 0), gradient), ~finite | (length <= norm)
