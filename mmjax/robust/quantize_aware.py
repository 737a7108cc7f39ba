"""Quantisation-aware training as a `Gradient`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Key

from mmjax.robust.quantize import SCALES, Quantize, dequantized_variables
from mmjax.train.step import SumOfLosses
from mmjax.types import Batch

__all__ = ["QuantizationAware", "straight_through"]


@dataclass(frozen=True)
class QuantizationAware:
    """The loss sees quantised weights, and its gradient passes straight through to the float weights (Jacob et al., 2018; the
    straight-through estimator of Bengio et al., 2013).

    With `compress` set to the same value, the scored model is the one whose loss was minimised. Validation during training uses
    the float weights. Activations are not quantised.

    scheme: how weights will be quantised, None for no quantisation. gradient: the `Gradient` of the quantised loss, None for
    the gradient of the sum of the losses.
    """

    scheme: Quantize | None = Quantize(8)
    gradient: Any = None

    def init(self, params: Any) -> Any:
        """The state of the inner gradient."""
        return (self.gradient or SumOfLosses()).init(params)

    def __call__(self, objective: Any, params: Any, state: Any, batch: Batch, key: Key[Array, ""]) -> tuple:
        inner = self.gradient or SumOfLosses()
        if self.scheme is None:
            return inner(objective, params, state, batch, key)
        quantised = lambda params, *args, **kwargs: objective(straight_through(params, self.scheme), *args, **kwargs)
        return inner(quantised, params, state, batch, key)


def straight_through(params: Mapping[str, Any], scheme: Quantize) -> dict[str, Any]:
    """Parameters with the values of quantised weights and the gradient of the identity."""
    compressed = scheme.variables({"params": params})
    near = flatten_dict(dequantized_variables(compressed)["params"], sep="/")
    changed = flatten_dict(compressed[SCALES], sep="/")
    flat = flatten_dict(dict(params), sep="/")
    through = {path: flat[path] + jax.lax.stop_gradient(near[path] - flat[path]) for path in changed}
    return unflatten_dict(flat | through, sep="/")
