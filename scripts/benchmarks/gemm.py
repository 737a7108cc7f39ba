"""What the machine can do: the product of two square matrices. Speeds of the other rows are shares of the faster side's."""

from functools import partial

import numpy as np

from benchmarks.work import Case, Weights, Work


def cases(quick: bool, device: str) -> list[Case]:
    size = 256 if quick else {"cpu": 2048, "gpu": 8192}[device]
    return [
        Case(dtype, {"mmjax": partial(ours, size, dtype), "torch": partial(theirs, size, dtype, device)}, {}, dtype, 2e-2)
        for dtype in ("float32", "bfloat16")
    ]


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
