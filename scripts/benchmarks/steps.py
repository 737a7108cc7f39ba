"""A training step of a small model, where dispatch takes a noticeable share: two modalities of 64 numbers, a dense layer of 64
on each, their concatenation, a dense layer of 64, 10 classes; AdamW; batch 32. Sides of mmjax take 8 and 32 steps per call.
"""

from functools import partial
from typing import Any

import numpy as np

from benchmarks.case import TOLERANCE, Case, Weights, Workload

BATCH, FEATURES, WIDTH, CLASSES = 32, 64, 64, 10
RATE, DECAY, COMPARED = 1e-3, 1e-2, 3
NAMES = ("a", "b")


def cases(quick: bool, device: str) -> list[Case]:
    peers = {"torch": False} if quick else {"torch": False, "torch compiled": True}
    sides = {"mmjax": partial(mmjax_workload, 1)}
    sides |= {name: partial(torch_workload, device, compiled) for name, compiled in peers.items()}
    sides |= {f"mmjax {steps} steps per call": partial(mmjax_workload, steps) for steps in (8, 32)}
    return [Case("two dense encoders, batch 32", sides, dict.fromkeys(peers, 1.0), tolerance=TOLERANCE[device])]


def inputs() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    given = {name: random.standard_normal((BATCH, FEATURES), np.float32) for name in NAMES}
    return given | {"label": random.integers(0, CLASSES, BATCH)}


def mmjax_workload(steps: int, weights: Weights) -> Workload:
    import jax
    import jax.numpy as jnp
    import optax

    from benchmarks.mmjax_side import flatten, parameter_count, training_run
    from mmjax.encoders import Features
    from mmjax.fusion import Concat
    from mmjax.heads import Classifier
    from mmjax.losses import cross_entropy
    from mmjax.model import Multimodal
    from mmjax.types import Batch

    arrays = jax.tree.map(jnp.asarray, inputs())
    present = dict.fromkeys(NAMES, jnp.ones(BATCH, bool))
    data = Batch({name: arrays[name] for name in NAMES}, present, {"label": arrays["label"]}, jnp.ones(BATCH))
    model = Multimodal({name: Features(WIDTH) for name in NAMES}, Concat(WIDTH), {"label": Classifier(CLASSES)})
    variables, run = training_run(model, data, cross_entropy, optax.adamw(RATE, weight_decay=DECAY), steps)
    outputs = {"logits": np.asarray(jax.jit(model.apply)(variables, data)["label"])}
    params = flatten(variables["params"])
    layers = {**{name: f"encoders_{name}/dense" for name in NAMES}, "fused": "fusion/dense", "label": "heads_label/dense"}
    kernels = {f"{theirs}.weight": params[f"{ours}/kernel"].T for theirs, ours in layers.items()}
    biases = {f"{theirs}.bias": params[f"{ours}/bias"] for theirs, ours in layers.items()}
    count = parameter_count(variables["params"])
    return Workload(run, outputs, count, kernels | biases, compared_losses=COMPARED, repeats=steps)


def torch_model() -> Any:
    """The same model in torch."""
    import torch
    from torch import nn
    from torch.nn.functional import relu

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(FEATURES, WIDTH), nn.Linear(FEATURES, WIDTH)
            self.fused, self.label = nn.Linear(2 * WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)

        def forward(self, a, b):
            return self.label(relu(self.fused(torch.cat([relu(self.a(a)), relu(self.b(b))], dim=1))))

    return Small()


def torch_workload(device: str, compiled: bool, weights: Weights) -> Workload:
    import torch
    from torch.nn.functional import cross_entropy

    from benchmarks.torch_side import adamw, count_flops, parameter_count, to_device, train_step, with_weights

    tensors = {name: to_device(x, device) for name, x in inputs().items()}
    given = [tensors[name] for name in NAMES]
    model = with_weights(torch_model(), weights, device)
    forward = torch.compile(model) if compiled else model
    with torch.no_grad():
        logits = model(*given).cpu().numpy()
    flops = count_flops(lambda: cross_entropy(model(*given), tensors["label"]).backward())
    step = train_step(lambda: cross_entropy(forward(*given), tensors["label"]), adamw(model.parameters(), RATE, DECAY), device)
    return Workload(step, {"logits": logits}, parameter_count(model), flops=flops, compared_losses=COMPARED)
