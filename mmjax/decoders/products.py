"""Products of dense layers in generation, for which XLA on a CPU has slow and fast forms, and weights as integers.

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
from jaxtyping import Array, Float, Int8, UInt8, UInt16

from mmjax.nn.integer_weights import quantized
from mmjax.types import Declared

__all__ = [
    "BFloat16Bits", "IntegerKernel", "bfloat16_bits", "dense_products", "four_bits", "int8_kernels", "product", "twice",
]  # fmt: skip

_TERMS = 8  # of a sum that is unrolled


@struct.dataclass
class IntegerKernel:
    """A kernel as integers: scale * integer + minimum, in g equal groups of inputs.

    values: Int8[i o]; or UInt8[i/2 o], two integers of 0 to 15 in a byte (see `four_bits`). scale: Float[g o]. minimum:
    Float[g o], None for zero.
    """

    values: Declared[Int8[Array, "i o"] | UInt8[Array, "h o"]]
    scale: Declared[Float[Array, "g o"]]
    minimum: Declared[Float[Array, "g o"] | None] = None

    @property
    def inputs(self) -> int:
        return len(self.values) * (2 if self.values.dtype == jnp.uint8 else 1)

    def terms(self, term: int) -> Float[Array, "n o"]:
        """The integers of the inputs `term`, `term` + 8, ... as float32."""
        if self.values.dtype == jnp.uint8:
            pairs = self.values.reshape(-1, _TERMS // 2, self.values.shape[1])[:, term // 2]
            return (pairs >> 4 if term % 2 else pairs & 15).astype(jnp.float32)
        return self.values.reshape(-1, _TERMS, self.values.shape[1])[:, term].astype(jnp.float32)

    def scaled(self, sums: Float[Array, "n o"]) -> Float[Array, "n o"]:
        """Sums over parts of the inputs times the scale of their group."""
        return (sums.reshape(*self.scale.shape[:1], -1, sums.shape[1]) * self.scale[:, None]).reshape(sums.shape)

    def floats(self) -> Float[Array, "i o"]:
        """The kernel."""
        values = self.values
        if values.dtype == jnp.uint8:
            values = jnp.stack([values & 15, values >> 4], axis=1).reshape(self.inputs, -1)
        found = self.scaled(values.astype(jnp.float32))
        if self.minimum is None:
            return found
        return (found.reshape(len(self.minimum), -1, found.shape[1]) + self.minimum[:, None]).reshape(found.shape)


def four_bits(integers: Any) -> Any:
    """Integers of 0 to 15, [i o] -> two in a byte, [i/2 o]: inputs 0, 2, ... in the low half, 1, 3, ... in the high half."""
    return integers[0::2] | integers[1::2] << 4


@struct.dataclass
class BFloat16Bits:
    """A bfloat16 kernel as its bits, UInt16[i o], for products of a single row: XLA widens them fast, by a shift."""

    values: Declared[UInt16[Array, "i o"]]

    def terms(self, term: int) -> Float[Array, "n o"]:
        """The rows of the inputs `term`, `term` + 8, ... as float32."""
        bits = self.values.reshape(-1, _TERMS, self.values.shape[1])[:, term]
        return lax.bitcast_convert_type(bits.astype(jnp.uint32) << 16, jnp.float32)


def bfloat16_bits(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with `BFloat16Bits` for each bfloat16 kernel of a dense layer."""
    make = jax.jit(lambda kernel: BFloat16Bits(lax.bitcast_convert_type(kernel, jnp.uint16)))
    has = lambda path, x: path[-1] == "kernel" and getattr(x, "dtype", None) == jnp.bfloat16 and x.shape[0] % _TERMS == 0
    return unflatten_dict({path: make(x) if has(path, x) else x for path, x in flatten_dict(dict(params)).items()})


def int8_kernels(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with int8 and a scale per output for each kernel of a dense layer; embeddings and output layer stay."""
    make = jax.jit(lambda kernel: IntegerKernel(*quantized(kernel.astype(jnp.float32), 8, None)))
    flat = flatten_dict(dict(params))
    changes = lambda path, x: path[-1] == "kernel" and not isinstance(x, IntegerKernel)
    return unflatten_dict({path: make(x) if changes(path, x) else x for path, x in flat.items()})


def twice(x: Float[Array, "b n d"]) -> Float[Array, "b c d"]:
    """A single bfloat16 row twice, on a CPU; others as they are."""
    single = x.shape[0] * x.shape[1] == 1 and x.dtype == jnp.bfloat16 and jax.default_backend() == "cpu"
    return jnp.concatenate([x, x], axis=1) if single else x


def product(x: Float[Array, "b n i"], kernel: Float[Array, "i o"] | IntegerKernel | BFloat16Bits) -> Float[Array, "b n o"]:
    """x times the kernel, with sums in float32; the result is float32. `BFloat16Bits` need a single row."""
    if isinstance(kernel, BFloat16Bits):
        return _one_row(x, kernel)
    if not isinstance(kernel, IntegerKernel):
        return _product(twice(x), kernel)[:, : x.shape[1]]
    groups, inputs = len(kernel.scale), kernel.inputs
    if x.shape[0] * x.shape[1] == 1 and inputs % (groups * _TERMS) == 0:
        y = _one_row(x, kernel, kernel.scaled)
        if kernel.minimum is not None:
            y = y + (x.astype(jnp.float32).reshape(groups, -1).sum(1) @ kernel.minimum).reshape(y.shape)
        return y
    if groups == 1 and kernel.minimum is None and kernel.values.dtype == jnp.int8:
        return _product(x, kernel.values.astype(x.dtype)) * kernel.scale[None]
    return _product(x, kernel.floats().astype(x.dtype))


def _product(x: Float[Array, "b n i"], kernel: Float[Array, "i o"]) -> Float[Array, "b n o"]:
    return jnp.einsum("bni,io->bno", x, kernel, preferred_element_type=jnp.float32)


def _one_row(
    x: Float[Array, "1 1 i"], kernel: IntegerKernel | BFloat16Bits, scaled: Callable[[Array], Array] = lambda sums: sums
) -> Float[Array, "1 1 o"]:
    """Unrolled, since XLA then widens weights in vector registers, and writes no array of float32 weights."""
    rows = x.astype(jnp.float32).reshape(-1, _TERMS)
    parts = scaled(sum(rows[:, term, None] * kernel.terms(term) for term in range(_TERMS)))
    return (jnp.ones((1, len(parts))) @ parts)[None]


def dense_products(call: Callable[..., Any], given: tuple[Any, ...], named: Mapping[str, Any], context: Any) -> Any:
    """An interceptor for `nn.intercept_methods`: dense layers by `product`."""
    layer = context.module
    if type(layer) is not nn.Dense or context.method_name != "__call__":
        return call(*given, **named)
    y = product(given[0].astype(layer.dtype), layer.get_variable("params", "kernel"))
    if layer.use_bias:
        y = y + layer.get_variable("params", "bias").reshape(1, 1, -1)
    return y.astype(layer.dtype)
