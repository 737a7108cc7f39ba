"""The memory bandwidth of the machine: reading an array that is larger than the caches. Rows that read all weights for a token
are relative to the faster side's."""

from functools import partial

import numpy as np

from benchmarks.case import Case, Weights, Workload


def cases(quick: bool, device: str) -> list[Case]:
    size = 1 << (20 if quick else 27)
    return [Case("read", {"mmjax": partial(mmjax_workload, size), "torch": partial(torch_workload, size, device)})]


def mmjax_workload(size: int, weights: Weights) -> Workload:
    import jax
    import jax.numpy as jnp

    x = jnp.ones((8, size // 8), jnp.float32)
    ones = jnp.ones(size // 8, jnp.float32)
    total = jax.jit(lambda x, y: x @ y)
    outputs = {"sum": np.asarray(total(x, ones)).sum(keepdims=True)}
    return Workload(lambda: total(x, ones).block_until_ready(), outputs, bytes=4 * size)


def torch_workload(size: int, device: str, weights: Weights) -> Workload:
    import torch

    from benchmarks.torch_side import DEVICES, synchronized

    x = torch.ones(size, device=DEVICES[device])
    outputs = {"sum": x.sum()[None].cpu().numpy()}
    return Workload(lambda: synchronized(x.sum(), device), outputs, bytes=4 * size)
