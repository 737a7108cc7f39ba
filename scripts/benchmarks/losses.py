"""Contrastive losses at a large batch, value and gradient: CLIP's InfoNCE, and SigLIP's sum over all pairs."""

from functools import partial

import numpy as np

from benchmarks.case import TOLERANCE, Case, Weights, Workload

WIDTH, TEMPERATURE, BIAS = 512, 0.07, -10.0


def cases(quick: bool, device: str) -> list[Case]:
    rows = 32 if quick else 4096
    return [
        Case(
            f"{name}, {rows:,} x {WIDTH}",
            {"mmjax": partial(mmjax_workload, name, rows), "torch": partial(torch_workload, name, rows, device)},
            {"torch": 1.0},
            tolerance=TOLERANCE[device],
        )
        for name in ("InfoNCE", "SigLIP")
    ]


def embeddings(rows: int) -> list[np.ndarray]:
    """Two arrays [rows WIDTH] of unit vectors; those of a row are similar."""
    random = np.random.default_rng(0)
    x = random.standard_normal((rows, WIDTH), np.float32)
    pair = [x, x + random.standard_normal((rows, WIDTH), np.float32)]
    return [each / np.linalg.norm(each, axis=1, keepdims=True) for each in pair]


def mmjax_workload(name: str, rows: int, weights: Weights) -> Workload:
    import jax
    import jax.numpy as jnp

    from mmjax.losses import InfoNCE, SigmoidPairs
    from mmjax.types import Batch

    names = ("a.embedding", "b.embedding")
    kind = {"InfoNCE": InfoNCE(*names, TEMPERATURE), "SigLIP": SigmoidPairs(*names, TEMPERATURE, BIAS)}[name]
    present = dict.fromkeys("ab", jnp.ones(rows, bool))
    batch = Batch({}, present, {}, jnp.ones(rows))
    total = lambda pair: jnp.mean(kind(dict(zip(names, pair)), batch))
    run, given = jax.jit(jax.value_and_grad(total)), [jnp.asarray(x) for x in embeddings(rows)]
    value, gradients = jax.tree.map(np.asarray, run(given))
    outputs = {"loss": value, "gradient of a": gradients[0], "gradient of b": gradients[1]}
    return Workload(lambda: jax.block_until_ready(run(given)), outputs, flops=3 * 2 * rows * rows * WIDTH)


def torch_workload(name: str, rows: int, device: str, weights: Weights) -> Workload:
    import torch
    from torch.nn.functional import cross_entropy, logsigmoid

    from benchmarks.torch_side import DEVICES, full_precision, synchronized, to_device

    a, b = (to_device(x, device).requires_grad_() for x in embeddings(rows))
    target = torch.arange(rows, device=DEVICES[device])
    sign = 2 * torch.eye(rows, device=DEVICES[device]) - 1

    def loss():
        logits = a @ b.T / TEMPERATURE
        if name == "InfoNCE":
            return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
        return -logsigmoid(sign * (logits + BIAS)).sum() / rows

    def run():
        a.grad = b.grad = None
        with full_precision():
            value = loss()
            value.backward()
        return synchronized(value.detach(), device)

    value = run().cpu().numpy()
    return Workload(run, {"loss": value, "gradient of a": a.grad.cpu().numpy(), "gradient of b": b.grad.cpu().numpy()})
