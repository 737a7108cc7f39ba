"""Dynamic int8 quantisation: dense layers multiply int8 weights by int8 activations, which are quantised at run time.

qwix computes nearly the same (its scales divide by 127.5). qwix 0.1.8 is not used, since
it patches functions of JAX: it misses the operator @ or, without jit, unrolls every scan. Here linen intercepts the layers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict
from jax import lax
from jaxtyping import Array, Float, Int8

from mmjax.robust.quantize import SCALES, Quantize, dequantized_variables
from mmjax.train.stages import EVERYTHING

__all__ = ["DynamicInt8", "DynamicQuantized", "int8_matmul"]


@dataclass(frozen=True)
class DynamicInt8:
    """A `Compression`: weights as with `Quantize(8)`, and int8 products in the dense layers of linen (`nn.Dense`).

    Their inputs are quantised with one scale per token. Other products (queries, keys and values of attention, recurrent
    states, convolutions, the inner encoder of `LoRA`) use float32 weights, as with `Quantize(8)`. weights: as there.
    """

    weights: tuple[str, ...] = EVERYTHING

    def module(self, model: Any) -> "DynamicQuantized":
        """The model with int8 products."""
        return DynamicQuantized(model)

    def variables(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """As `Quantize(8).variables`."""
        return Quantize(8, weights=self.weights).variables(variables)


@dataclass(frozen=True)
class DynamicQuantized:
    """A model that takes the variables of `DynamicInt8`; otherwise as `Quantized`."""

    model: Any

    @property
    def encoders(self) -> Mapping[str, Any]:
        """{modality: encoder}."""
        return self.model.encoders

    def init(self, *args: Any, **kwargs: Any) -> Any:
        """The initial float variables of the model."""
        return self.model.init(*args, **kwargs)

    def apply(self, variables: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The model's `apply`, with int8 products in its dense layers."""
        integers = flatten_dict(dict(variables["params"]), sep="/")
        scales = flatten_dict(dict(variables.get(SCALES, {})), sep="/")

        def dense(call, inputs, options, context):
            layer, path = context.module, "/".join((*context.module.path, "kernel"))
            if type(layer) is not nn.Dense or context.method_name != "__call__" or path not in scales:
                return call(*inputs, **options)
            y = int8_matmul(inputs[0], integers[path], scales[path])
            return y + layer.get_variable("params", "bias").reshape((1,) * (y.ndim - 1) + (-1,)) if layer.use_bias else y

        with nn.intercept_methods(dense):
            return self.model.apply(dequantized_variables(variables), *args, **kwargs)


@jax.custom_vjp
def int8_matmul(x: Float[Array, "*b i"], w: Int8[Array, "i o"], scale: Float[Array, "1 o"]) -> Float[Array, "*b o"]:
    """x (w scale), with each x [i] quantised to int8 by its absolute maximum, and sums in int32.

    Its gradient with respect to x is that of the float product, as if nothing was rounded; otherwise attacks would see almost
    no gradient. w and scale have none.
    """
    largest = jnp.max(jnp.abs(x), axis=-1, keepdims=True)
    x_scale = jnp.where(largest > 0, largest, 1).astype(jnp.float32) / 127
    integers = jnp.clip(jnp.round(x / x_scale), -127, 127).astype(jnp.int8)
    sums = lax.dot_general(integers, w, (((x.ndim - 1,), (0,)), ((), ())), preferred_element_type=jnp.int32)
    return sums.astype(jnp.float32) * x_scale * scale.reshape((1,) * (x.ndim - 1) + (-1,))


def _forward(x, w, scale):
    return int8_matmul(x, w, scale), (w, scale)


def _backward(kept, slope):
    w, scale = kept
    return jnp.matmul(slope, (w * scale).T), np.zeros(w.shape, jax.dtypes.float0), jnp.zeros_like(scale)


int8_matmul.defvjp(_forward, _backward)
