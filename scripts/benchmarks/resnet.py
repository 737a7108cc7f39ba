"""ResNet-50 and VGG-16 on images of 224 px, 1000 classes: inference, and a training step of SGD with momentum. VGG has no
dropout, since random masks would differ. Training also compares the running batch statistics after a forward pass.
"""

from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.case import TOLERANCE, Case, Weights, Workload

RATE, MOMENTUM, DECAY = 1e-4, 0.9, 1e-4  # at a rate of 1e-3, torch amplifies 1e-7 of the weights to 6e-3 of the third loss
COMPARED = 3  # losses


@dataclass(frozen=True)
class Net:
    """stages: (number of blocks or convolutions, channels). hidden: widths of VGG's dense layers, () for a ResNet. side: of the
    square images, in pixels."""

    stages: tuple[tuple[int, int], ...]
    hidden: tuple[int, ...]
    side: int
    classes: int


RESNET50 = Net(((3, 64), (4, 128), (6, 256), (3, 512)), (), 224, 1000)
VGG16 = Net(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), (4096, 4096), 224, 1000)
TINY = {"ResNet": Net(((1, 4), (2, 8)), (), 32, 10), "VGG": Net(((1, 4), (2, 8)), (16, 8), 28, 10)}
BATCHES = {  # (inference, training)
    ("ResNet-50", "cpu"): ((1, 8), 8),
    ("VGG-16", "cpu"): ((1, 8), 4),
    ("ResNet-50", "gpu"): ((1, 128), 128),
    ("VGG-16", "gpu"): ((1, 128), 128),
}
BFLOAT16 = 5e-2  # tolerance for numbers of 8 bits
AMPLIFIED = 10  # the batch norms of an untrained ResNet in training amplify rounding: 0.27 in bfloat16, 0.004 in inference


def cases(quick: bool, device: str) -> list[Case]:
    if quick:
        works = [(name, net, name == "ResNet", 2, "float32") for name, net in TINY.items()]
    else:
        works = [
            (name, net, train, batch, dtype)
            for name, net in (("ResNet-50", RESNET50), ("VGG-16", VGG16))
            for inference, training in [BATCHES[name, device]]
            for train, batch in [*((False, batch) for batch in inference), (True, training)]
            for dtype in {"cpu": ("float32",), "gpu": ("float32", "bfloat16")}[device]
        ]
    return [_case(*work, quick, device) for work in works]


def _case(name: str, net: Net, train: bool, batch: int, dtype: str, quick: bool, device: str) -> Case:
    goal = 0.9 if train and device == "cpu" else 1.0
    amplified = AMPLIFIED if train and device == "gpu" and not net.hidden else 1
    kinds = {"torch": False} if quick or device == "cpu" else {"torch": False, "torch compiled": True}
    sides = {kind: partial(torch_workload, net, train, batch, dtype, device, compiled) for kind, compiled in kinds.items()}
    return Case(
        f"{name} {'training' if train else 'inference'} batch {batch}{' bfloat16' if dtype == 'bfloat16' else ''}",
        {"mmjax": partial(mmjax_workload, net, train, batch, dtype), **sides},
        dict.fromkeys(kinds, goal),
        dtype,
        amplified * (BFLOAT16 if dtype == "bfloat16" else TOLERANCE[device]),
        "" if quick or device == "gpu" else "torch is not compiled, which would take 65 to 134 s",
    )


def inputs(net: Net, batch: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, net.side, net.side, 3), np.float32)
    return {"image": images, "label": rng.integers(0, net.classes, batch)}


def mmjax_workload(net: Net, train: bool, batch: int, dtype: str, weights: Weights) -> Workload:
    import jax
    import jax.numpy as jnp
    import optax

    from benchmarks.mmjax_side import parameter_count, training_run
    from mmjax.encoders import VGG, ResNet
    from mmjax.heads import Classifier
    from mmjax.losses import cross_entropy
    from mmjax.model import Multimodal
    from mmjax.types import Batch

    arrays = jax.tree.map(jnp.asarray, inputs(net, batch))
    data = Batch({"image": arrays["image"]}, {"image": jnp.ones(batch, bool)}, {"label": arrays["label"]}, jnp.ones(batch))
    if net.hidden:
        encoder = VGG(net.stages, net.hidden, dropout=0.0, dtype=jnp.dtype(dtype))
    else:
        encoder = ResNet(net.stages, bottleneck=True, dtype=jnp.dtype(dtype))
    model = Multimodal({"image": encoder}, unimodal_heads={"image": {"label": Classifier(net.classes)}})
    if train:
        tx = optax.chain(optax.add_decayed_weights(DECAY), optax.sgd(RATE, momentum=MOMENTUM))
        variables, run = training_run(model, data, cross_entropy, tx)
        outputs, changed = jax.jit(partial(model.apply, train=True, mutable=["batch_stats"]))(variables, data)
    else:
        variables, changed = jax.jit(model.init)(jax.random.key(0), data), {}
        predict = jax.jit(model.apply)
        outputs = predict(variables, data)
        run = lambda: jax.block_until_ready(predict(variables, data))
    found = {"logits": np.asarray(outputs["image.label"]), "statistics": statistics(as_torch(net, {**variables, **changed}))}
    count, copied = parameter_count(variables["params"]), as_torch(net, variables)
    return Workload(run, found, count, copied, compared_losses=COMPARED if train else 0)


def statistics(weights: Weights) -> np.ndarray:
    """All running means and variances; VGG has none."""
    names = sorted(name for name in weights if ".running_" in name)
    return np.concatenate([np.zeros(0), *(np.asarray(weights[name]) for name in names)])


def as_torch(net: Net, variables: dict[str, Any]) -> dict[str, np.ndarray]:
    """The variables as tensors of `torch_model`."""
    from mmjax.pretrained.convert import to_tensors
    from mmjax.pretrained.layout import CONV, dense
    from mmjax.pretrained.resnet import resnet
    from mmjax.pretrained.source import Source

    if not net.hidden:
        first = {"resnet.embedder.embedder.convolution.weight": np.zeros(0)}  # a name of models with a classifier
        names = resnet(Source("the benchmark", resnet_config(net), tensors=first)).names
        names = {path.replace("/", "/encoders_image/", 1): entry for path, entry in names.items()}
        return to_tensors(names | dense("params/unimodal_heads_image_label/dense", "classifier.1"), variables)
    names, at = {}, 0
    for stage, (convolutions, _) in enumerate(net.stages, 1):
        for i in range(1, convolutions + 1):
            names |= dense(f"params/encoders_image/conv{stage}_{i}", f"features.{at}", layout=CONV)
            at += 2
        at += 1
    for layer in (6, 7):
        names |= dense(f"params/encoders_image/fc{layer}", f"classifier.{3 * layer - 18}")
    names |= dense("params/unimodal_heads_image_label/dense", "classifier.6")
    tensors = to_tensors(names, variables)
    flat = tensors["classifier.0.weight"]  # inputs are rows, columns, channels; torch flattens channels first
    tensors["classifier.0.weight"] = flat.reshape(len(flat), 7, 7, -1).transpose(0, 3, 1, 2).reshape(len(flat), -1)
    return tensors


def resnet_config(net: Net) -> dict[str, Any]:
    """The fields of transformers' ResNetConfig."""
    return {
        "embedding_size": net.stages[0][1],
        "depths": [blocks for blocks, _ in net.stages],
        "hidden_sizes": [4 * channels for _, channels in net.stages],
    }


def torch_model(net: Net) -> Any:
    """Images [b 3 h w] -> logits: transformers' ResNet, or torchvision's VGG without dropout, with its names."""
    from torch import nn
    from transformers import ResNetConfig, ResNetForImageClassification

    if not net.hidden:
        return ResNetForImageClassification(ResNetConfig(**resnet_config(net), num_labels=net.classes))
    layers, before = [], 3
    for convolutions, channels in net.stages:
        for _ in range(convolutions):
            layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU(inplace=True)]
            before = channels
        layers.append(nn.MaxPool2d(2))
    widths, dense = (before * 7 * 7, *net.hidden), []
    for width, after in zip(widths, net.hidden):
        dense += [nn.Linear(width, after), nn.ReLU(inplace=True), nn.Identity()]

    class VGG(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(*layers)
            self.avgpool = nn.AdaptiveAvgPool2d(7)
            self.classifier = nn.Sequential(*dense, nn.Linear(net.hidden[-1], net.classes))

        def forward(self, x):
            return self.classifier(self.avgpool(self.features(x)).flatten(1))

    return VGG()


def torch_workload(
    net: Net, train: bool, batch: int, dtype: str, device: str, compiled: bool, weights: Weights
) -> Workload:
    import torch
    from torch.nn.functional import cross_entropy

    from benchmarks.torch_side import (
        DEVICES,
        count_flops,
        parameter_count,
        synchronized,
        to_device,
        train_step,
        with_weights,
    )

    tensors = {name: to_device(x, device) for name, x in inputs(net, batch).items()}
    images = tensors["image"].permute(0, 3, 1, 2)  # the memory layout is channels_last
    model = with_weights(torch_model(net), weights, device).to(memory_format=torch.channels_last).train(train)
    run_model = torch.compile(model) if compiled else model

    def forward(model):
        with torch.autocast(DEVICES[device], torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = model(images)
            return logits if net.hidden else logits.logits

    loss = lambda model: cross_entropy(forward(model).float(), tensors["label"])
    other = deepcopy(model)  # its running statistics change
    with torch.no_grad():
        logits = forward(other).float().cpu().numpy()
    changed = {name: x.cpu().numpy() for name, x in other.state_dict().items()}
    found = {"logits": logits, "statistics": statistics(changed)}  # before they change again
    if train:
        flops = count_flops(lambda: loss(other).backward())
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY, fused=True)
        run = train_step(lambda: loss(run_model), optimizer, device)
    else:
        flops = count_flops(lambda: forward(other))

        def run():
            with torch.inference_mode():
                return synchronized(forward(run_model), device)

    return Workload(run, found, parameter_count(model), flops=flops, compared_losses=COMPARED if train else 0)
