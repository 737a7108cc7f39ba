"""The speed of the machine: the product of two square matrices. The speeds of other rows are relative to the faster side's."""

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.case import Case, Weights, Workload

EMULATED_SIZE = 512  # rows of the matrices if bfloat16 is emulated


def cases(quick: bool, device: str) -> list[Case]:
    size = 256 if quick else {"cpu": 2048, "gpu": 8192}[device]
    emulated = device == "cpu" and not quick and not multiplies_bfloat16()
    note = f"of {EMULATED_SIZE}: this CPU has no bfloat16 instructions, and torch emulates them" if emulated else ""
    return [_case("float32", size, device), _case("bfloat16", EMULATED_SIZE if emulated else size, device, note)]


def _case(dtype: str, size: int, device: str, note: str = "") -> Case:
    sides = {"mmjax": partial(mmjax_workload, size, dtype), "torch": partial(torch_workload, size, dtype, device)}
    return Case(dtype, sides, dtype=dtype, tolerance=2e-2, note=note)


def multiplies_bfloat16() -> bool:
    """Whether this CPU has bfloat16 instructions (AVX-512 or AMX)."""
    flags = Path("/proc/cpuinfo").read_text().split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _matrix(size: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((size, size), np.float32)


def mmjax_workload(size: int, dtype: str, weights: Weights) -> Workload:
    import jax
    import jax.numpy as jnp

    x = jnp.asarray(_matrix(size), dtype)
    product = jax.jit(jnp.matmul)
    outputs = {"product": np.asarray(product(x, x)[:8], np.float32)}
    return Workload(lambda: product(x, x).block_until_ready(), outputs, flops=2 * size**3)


def torch_workload(size: int, dtype: str, device: str, weights: Weights) -> Workload:
    from benchmarks.torch_side import synchronized, to_device

    x = to_device(_matrix(size), device, dtype)
    outputs = {"product": (x @ x)[:8].float().cpu().numpy()}
    return Workload(lambda: synchronized(x @ x, device), outputs, flops=2 * size**3)
