"""ResNet-50 and VGG-16 on pictures of 224 px, 1000 classes: inference, and a training step by SGD with momentum. VGG without
its dropout, whose draws would differ. Training compares the running batch statistics after a forward pass as well.
"""

from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.work import TOLERANCE, Case, Weights, Work

RATE, MOMENTUM, DECAY = 1e-4, 0.9, 1e-4  # at 1e-3, 1e-7 of the weights is 6e-3 of ResNet-50's third loss, in torch alone


@dataclass(frozen=True)
class Net:
    """stages: (blocks or convolutions, channels) of each. hidden: widths of VGG's dense layers, () for a ResNet. side: of the
    square pictures, in pixels."""

    stages: tuple[tuple[int, int], ...]
    hidden: tuple[int, ...]
    side: int
    classes: int


RESNET50 = Net(((3, 64), (4, 128), (6, 256), (3, 512)), (), 224, 1000)
VGG16 = Net(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), (4096, 4096), 224, 1000)
TINY = {"ResNet": Net(((1, 4), (2, 8)), (), 32, 10), "VGG": Net(((1, 4), (2, 8)), (16, 8), 28, 10)}
BATCHES = {  # of inference, of training
    ("ResNet-50", "cpu"): ((1, 8), 8),
    ("VGG-16", "cpu"): ((1, 8), 4),
    ("ResNet-50", "gpu"): ((1, 128), 128),
    ("VGG-16", "gpu"): ((1, 128), 128),
}
BFLOAT16 = 5e-2  # of numbers with 8 bits
AMPLIFIED = 10  # of fewer bits by the batch norms of a fresh ResNet-50 in training: 0.27 in bfloat16, 0.004 in inference


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
    peers = {kind: partial(theirs, net, train, batch, dtype, device, compiled) for kind, compiled in kinds.items()}
    return Case(
        f"{name} {'training' if train else 'inference'} batch {batch}{' bfloat16' if dtype == 'bfloat16' else ''}",
        {"mmjax": partial(ours, net, train, batch, dtype), **peers},
        dict.fromkeys(kinds, goal),
        dtype,
        amplified * (BFLOAT16 if dtype == "bfloat16" else TOLERANCE[device]),
        "" if quick or device == "gpu" else "torch not compiled: it takes 65 to 134 s",
    )


def inputs(net: Net, batch: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    pictures = rng.standard_normal((batch, net.side, net.side, 3), np.float32)
    return {"image": pictures, "label": rng.integers(0, net.classes, batch)}


def ours(net: Net, train: bool, batch: int, dtype: str, weights: Weights) -> Work:
    import jax
    import jax.numpy as jnp
    import optax

    from benchmarks.ours import numbers, training
    from mmjax.encoders import VGG, ResNet
    from mmjax.heads import Classifier
    from mmjax.losses import cross_entropy
    from mmjax.model import Multimodal
    from mmjax.types import Batch

    given = jax.tree.map(jnp.asarray, inputs(net, batch))
    data = Batch({"image": given["image"]}, {"image": jnp.ones(batch, bool)}, {"label": given["label"]}, jnp.ones(batch))
    if net.hidden:
        encoder = VGG(net.stages, net.hidden, dropout=0.0, dtype=jnp.dtype(dtype))
    else:
        encoder = ResNet(net.stages, bottleneck=True, dtype=jnp.dtype(dtype))
    model = Multimodal({"image": encoder}, None, {}, {"image": {"label": Classifier(net.classes)}})  # one modality: no fusion
    if train:
        tx = optax.chain(optax.add_decayed_weights(DECAY), optax.sgd(RATE, momentum=MOMENTUM))
        before, run = training(model, data, cross_entropy, tx)
        variables = before.variables
        outputs, changed = jax.jit(partial(model.apply, train=True, mutable=["batch_stats"]))(variables, data)
    else:
        variables, changed = jax.jit(model.init)(jax.random.key(0), data), {}
        predict = jax.jit(model.apply)
        outputs = predict(variables, data)
        run = lambda: jax.block_until_ready(predict(variables, data))
    found = {"logits": np.asarray(outputs["image.label"]), "statistics": statistics(named(net, {**variables, **changed}))}
    return Work(run, found, numbers(variables["params"]), named(net, variables), 0, 3 if train else 0)


def statistics(weights: Weights) -> np.ndarray:
    """All running means and variances; of VGG there are none."""
    names = sorted(name for name in weights if ".running_" in name)
    return np.concatenate([np.zeros(0), *(np.asarray(weights[name]) for name in names)])


def named(net: Net, variables: dict[str, Any]) -> dict[str, np.ndarray]:
    """As the torch sides have them."""
    from mmjax.pretrained.layout import CONV, dense, theirs
    from mmjax.pretrained.resnet import resnet
    from mmjax.pretrained.source import Source

    if not net.hidden:
        first = {"resnet.embedder.embedder.convolution.weight": np.zeros(0)}  # by which a classifier is known to follow
        names = resnet(Source("the benchmark", resnet_config(net), tensors=first)).names
        names = {path.replace("/", "/encoders_image/", 1): entry for path, entry in names.items()}
        return theirs(names | dense("params/unimodal_heads_image_label/dense", "classifier.1"), variables)
    names, at = {}, 0
    for stage, (convolutions, _) in enumerate(net.stages, 1):
        for i in range(1, convolutions + 1):
            names |= dense(f"params/encoders_image/conv{stage}_{i}", f"features.{at}", layout=CONV)
            at += 2
        at += 1
    for layer in (6, 7):
        names |= dense(f"params/encoders_image/fc{layer}", f"classifier.{3 * layer - 18}")
    names |= dense("params/unimodal_heads_image_label/dense", "classifier.6")
    found = theirs(names, variables)
    flat = found["classifier.0.weight"]  # rows, columns, channels; torch flattens channels first
    found["classifier.0.weight"] = flat.reshape(len(flat), 7, 7, -1).transpose(0, 3, 1, 2).reshape(len(flat), -1)
    return found


def resnet_config(net: Net) -> dict[str, Any]:
    """As transformers has it."""
    return {
        "embedding_size": net.stages[0][1],
        "depths": [blocks for blocks, _ in net.stages],
        "hidden_sizes": [4 * channels for _, channels in net.stages],
    }


def peer(net: Net) -> Any:
    """pictures [b 3 h w] -> logits: transformers' ResNet, or torchvision's VGG without dropout, under its names."""
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


def theirs(net: Net, train: bool, batch: int, dtype: str, device: str, compiled: bool, weights: Weights) -> Work:
    import torch
    from torch.nn.functional import cross_entropy

    from benchmarks.peers import DEVICES, count, done, flops_of, load, place, train_step

    given = {name: place(x, device) for name, x in inputs(net, batch).items()}
    pictures = given["image"].permute(0, 3, 1, 2)  # channels_last as it lies in memory
    model = load(peer(net), weights, device).to(memory_format=torch.channels_last).train(train)
    run_model = torch.compile(model) if compiled else model

    def forward(model):
        with torch.autocast(DEVICES[device], torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = model(pictures)
            return logits if net.hidden else logits.logits

    loss = lambda model: cross_entropy(forward(model).float(), given["label"])
    other = deepcopy(model)  # whose running statistics may change
    with torch.no_grad():
        logits = forward(other).float().cpu().numpy()
    changed = {name: x.cpu().numpy() for name, x in other.state_dict().items()}
    found = {"logits": logits, "statistics": statistics(changed)}  # before they change again
    if train:
        flops = flops_of(lambda: loss(other).backward())
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY, fused=True)
        run = train_step(lambda: loss(run_model), optimizer, device)
    else:
        flops = flops_of(lambda: forward(other))

        def run():
            with torch.inference_mode():
                return done(forward(run_model), device)

    return Work(run, found, count(model), flops=flops, compared_runs=3 if train else 0)
