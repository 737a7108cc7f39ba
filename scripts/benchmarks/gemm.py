"""What the machine can do: the product of two square matrices. Speeds of the other rows are shares of the faster side's."""

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.work import Case, Weights, Work

SLOW = 512  # rows of a matrix whose product is computed in emulated bfloat16


def cases(quick: bool, device: str) -> list[Case]:
    size = 256 if quick else {"cpu": 2048, "gpu": 8192}[device]
    without = device == "cpu" and not quick and not multiplies_bfloat16()
    note = f"of {SLOW}: this CPU has no bfloat16 instructions, and torch emulates them" if without else ""
    return [_case("float32", size, device), _case("bfloat16", SLOW if without else size, device, note)]


def _case(dtype: str, size: int, device: str, note: str = "") -> Case:
    sides = {"mmjax": partial(ours, size, dtype), "torch": partial(theirs, size, dtype, device)}
    return Case(dtype, sides, dtype=dtype, tolerance=2e-2, note=note)


def multiplies_bfloat16() -> bool:
    """Whether this CPU has instructions for it (AVX-512 or AMX)."""
    flags = Path("/proc/cpuinfo").read_text().split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _matrix(size: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((size, size), np.float32)


def ours(size: int, dtype: str, weights: Weights) -> Work:
    import jax
    import jax.numpy as jnp

    x = jnp.asarray(_matrix(size), dtype)
    product = jax.jit(jnp.matmul)
    return Work(
        lambda: product(x, x).block_until_ready(), {"product": np.asarray(product(x, x)[:8], np.float32)}, flops=2 * size**3
    )


def theirs(size: int, dtype: str, device: str, weights: Weights) -> Work:
    from benchmarks.peers import done, place

    x = place(_matrix(size), device, dtype)
    return Work(lambda: done(x @ x, device), {"product": (x @ x)[:8].float().cpu().numpy()}, flops=2 * size**3)
