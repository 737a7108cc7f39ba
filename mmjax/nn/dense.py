"""Products with a kernel, as fast as a CPU with bfloat16 instructions allows.

In the gradient of x W, XLA folds the transposition of x or W into the product, and then computes it without these instructions:
at a fifth of the speed on a CPU with AMX, and at about .6 of it on one with AVX-512. A row-major layout, forced on the
transposed matrix, makes XLA write it out first. Sums and results of these products are float32 before they are rounded.
"""

from functools import cache, partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array, Float

from mmjax.shards import is_on_mesh

__all__ = ["Dense", "matmul"]


@cache
def _has_bfloat16() -> bool:
    """Whether this CPU, on which JAX computes, has instructions for bfloat16 products."""
    try:
        flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    except OSError:  # not Linux
        return False
    return jax.default_backend() == "cpu" and not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)


def matmul(x: Float[Array, "*b i"], kernel: Float[Array, "i o"]) -> Float[Array, "*b o"]:
    """x W in the dtype of x and W. Plain on a mesh, where XLA would gather all rows on each device for the layout."""
    if x.dtype == kernel.dtype == jnp.bfloat16 and _has_bfloat16() and not is_on_mesh():
        return _rows(x.reshape(-1, x.shape[-1]), kernel).reshape(*x.shape[:-1], kernel.shape[-1])
    return x @ kernel


def _product(x: Float[Array, "n i"], y: Float[Array, "i o"]) -> Float[Array, "n o"]:
    return jnp.matmul(x, y, preferred_element_type=jnp.float32).astype(x.dtype)


def _transposed(x: Float[Array, "n i"]) -> Float[Array, "i n"]:
    return with_layout_constraint(x.T, Layout(major_to_minor=(0, 1)))


@jax.custom_vjp
def _rows(x: Float[Array, "n i"], kernel: Float[Array, "i o"]) -> Float[Array, "n o"]:
    return _product(x, kernel)


_rows.defvjp(
    lambda x, kernel: (_product(x, kernel), (x, kernel)),
    lambda kept, dy: (_product(dy, _transposed(kept[1])), _product(_transposed(kept[0]), dy)),
)


def _dot_general(x: Array, kernel: Array, dimensions: Any, **options: Any) -> Array:
    """The `dot_general` of a dense layer, whose dimensions are always those of x W."""
    del dimensions, options
    return matmul(x, kernel)


Dense = partial(nn.Dense, dot_general=_dot_general)
"""`nn.Dense` by `matmul`."""
