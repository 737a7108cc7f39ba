"""Products of dense layers in generation, for which XLA on a CPU has slow and fast forms, and weights of int8.

Generation reads every weight for each token. On a CPU, XLA converts all weights to float32 before a bfloat16 product with
bfloat16 sums, or of a single row. Sums in float32 and a second, equal row avoid that.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import lax
from jaxtyping import Array, Float, Int8, UInt16

from mmjax.nn.integer_weights import quantized
from mmjax.types import Declared

__all__ = ["BFloat16Bits", "Int8Kernel", "bfloat16_bits", "dense_products", "int8_kernels", "product", "twice"]

_TERMS = 8  # of a sum that is unrolled


@struct.dataclass
class Int8Kernel:
    """A kernel as integers with a scale per output. values: Int8[i o]. scale: Float[1 o]."""

    values: Declared[Int8[Array, "i o"]]
    scale: Declared[Float[Array, "1 o"]]

    def widened(self, values: Int8[Array, "*n"]) -> Float[Array, "*n"]:
        """Some of the values as float32, without their scale."""
        return values.astype(jnp.float32)


@struct.dataclass
class BFloat16Bits:
    """A bfloat16 kernel as its bits, UInt16[i o], for products of a single row: XLA widens them fast, by a shift."""

    values: Declared[UInt16[Array, "i o"]]
    scale: float = struct.field(pytree_node=False, default=1.0)

    def widened(self, values: UInt16[Array, "*n"]) -> Float[Array, "*n"]:
        """Some of the values as float32."""
        return lax.bitcast_convert_type(values.astype(jnp.uint32) << 16, jnp.float32)


def bfloat16_bits(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with `BFloat16Bits` for each bfloat16 kernel of a dense layer."""
    make = jax.jit(lambda kernel: BFloat16Bits(lax.bitcast_convert_type(kernel, jnp.uint16)))
    has = lambda path, x: path[-1] == "kernel" and getattr(x, "dtype", None) == jnp.bfloat16 and x.shape[0] % _TERMS == 0
    return unflatten_dict({path: make(x) if has(path, x) else x for path, x in flatten_dict(dict(params)).items()})


def int8_kernels(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with an `Int8Kernel` for each kernel of a dense layer; embeddings and the output layer stay."""
    make = jax.jit(lambda kernel: Int8Kernel(*quantized(kernel.astype(jnp.float32), 8, None)))
    flat = flatten_dict(dict(params))
    return unflatten_dict({path: make(x) if path[-1] == "kernel" else x for path, x in flat.items()})


def twice(x: Float[Array, "b n d"]) -> Float[Array, "b c d"]:
    """A single bfloat16 row twice, on a CPU; others as they are."""
    single = x.shape[0] * x.shape[1] == 1 and x.dtype == jnp.bfloat16 and jax.default_backend() == "cpu"
    return jnp.concatenate([x, x], axis=1) if single else x


def product(x: Float[Array, "b n i"], kernel: Float[Array, "i o"] | Int8Kernel | BFloat16Bits) -> Float[Array, "b n o"]:
    """x times the kernel, with sums in float32; the result is float32. `BFloat16Bits` need a single row."""
    if not isinstance(kernel, Int8Kernel | BFloat16Bits):
        return jnp.einsum("bni,io->bno", twice(x), kernel, preferred_element_type=jnp.float32)[:, : x.shape[1]]
    inputs, outputs = kernel.values.shape
    if x.shape[0] * x.shape[1] > 1 or inputs % _TERMS:
        y = jnp.einsum("bni,io->bno", x, kernel.values.astype(x.dtype), preferred_element_type=jnp.float32)
        return y * kernel.scale[None]
    # Unrolled, since XLA then widens weights in vector registers, and writes no array of float32 weights.
    rows, weights = x.astype(jnp.float32).reshape(-1, _TERMS), kernel.values.reshape(-1, _TERMS, outputs)
    parts = sum(rows[:, term, None] * kernel.widened(weights[:, term]) for term in range(_TERMS))
    return ((jnp.ones((1, len(parts))) @ parts) * kernel.scale)[None]


def dense_products(call: Callable[..., Any], given: tuple[Any, ...], named: Mapping[str, Any], context: Any) -> Any:
    """An interceptor for `nn.intercept_methods`: dense layers by `product`."""
    layer = context.module
    if type(layer) is not nn.Dense or context.method_name != "__call__":
        return call(*given, **named)
    y = product(given[0].astype(layer.dtype), layer.get_variable("params", "kernel"))
    if layer.use_bias:
        y = y + layer.get_variable("params", "bias").reshape(1, 1, -1)
    return y.astype(layer.dtype)
