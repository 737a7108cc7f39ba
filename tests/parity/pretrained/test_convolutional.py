"""VGG, ResNet and EfficientNet: weights are exchanged with the originals in both directions.

torchvision's models are reimplemented here: torchvision cannot be installed beside a CPU-only torch.
"""

import json

import numpy as np
import pytest

from mmjax.pretrained import load, save
from mmjax.pretrained.efficientnet import LITE0
from mmjax.pretrained.pickles import read_pickled
from mmjax.pretrained.vgg import TORCHVISION
from tests.parity.originals import assert_parity, published, randomised
from tests.parity.pretrained.image_models import assert_read_back, channels_first, image_batch, with_logits

pytestmark = pytest.mark.parity


def torch_vgg(stages, hidden, batch_norm, classes):
    """torchvision.models.vgg: make_layers, AdaptiveAvgPool2d((7, 7)) and the classifier."""
    from torch import nn

    layers, channels = [], 3
    for convolutions, width in stages:
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, width, kernel_size=3, padding=1)]
            layers += [nn.BatchNorm2d(width)] if batch_norm else []
            layers += [nn.ReLU(inplace=True)]
            channels = width
        layers += [nn.MaxPool2d(kernel_size=2, stride=2)]
    model = nn.ModuleDict({"features": nn.Sequential(*layers)})
    if hidden:
        sizes, classifier = (channels * 7 * 7, *hidden), []
        for n, m in zip(sizes, hidden):
            classifier += [nn.Linear(n, m), nn.ReLU(True), nn.Dropout(0.5)]
        model["avgpool"] = nn.AdaptiveAvgPool2d((7, 7))
        model["classifier"] = nn.Sequential(*classifier, nn.Linear(hidden[-1], classes))

    def forward(x):
        x = model["features"](x.permute(0, 3, 1, 2))
        if not hidden:
            return {"tokens": x.flatten(2).transpose(1, 2)}
        x = model["classifier"][:-1](model["avgpool"](x).flatten(1))
        return {"tokens": x[:, None], "logits": model["classifier"][-1](x)}

    return model, forward


def torch_resnet(stages, bottleneck, classes):
    """torchvision.models.resnet: BasicBlock, Bottleneck (with the stride in its 3x3 convolution) and ResNet."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self, before, channels, stride):
            super().__init__()
            out = channels * 4 if bottleneck else channels
            kernels = ((before, channels, 1, 1), (channels, channels, 3, stride), (channels, out, 1, 1))
            if not bottleneck:
                kernels = ((before, channels, 3, stride), (channels, channels, 3, 1))
            for i, (a, b, kernel, step) in enumerate(kernels, 1):
                self.add_module(f"conv{i}", nn.Conv2d(a, b, kernel, step, kernel // 2, bias=False))
                self.add_module(f"bn{i}", nn.BatchNorm2d(b))
            self.depth, self.downsample = len(kernels), None
            if stride != 1 or before != out:
                self.downsample = nn.Sequential(nn.Conv2d(before, out, 1, stride, bias=False), nn.BatchNorm2d(out))

        def forward(self, x):
            y = x
            for i in range(1, self.depth + 1):
                y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
                y = y.relu() if i < self.depth else y
            return (y + (x if self.downsample is None else self.downsample(x))).relu()

    width = stages[0][1]
    model = nn.ModuleDict({"conv1": nn.Conv2d(3, width, 7, 2, 3, bias=False), "bn1": nn.BatchNorm2d(width)})
    for stage, (blocks, channels) in enumerate(stages, 1):
        layers = []
        for block in range(blocks):
            layers.append(Block(width, channels, 2 if stage > 1 and block == 0 else 1))
            width = channels * 4 if bottleneck else channels
        model[f"layer{stage}"] = nn.Sequential(*layers)
    model["fc"] = nn.Linear(width, classes)

    def forward(x):
        x = nn.functional.max_pool2d(model["bn1"](model["conv1"](x.permute(0, 3, 1, 2))).relu(), 3, 2, 1)
        for stage in range(len(stages)):
            x = model[f"layer{stage + 1}"](x)
        return {"tokens": x.flatten(2).transpose(1, 2), "logits": model["fc"](x.mean((2, 3)))}

    return model, forward


def as_torchvision(model, folder):
    """Saves the state_dict of a model with random weights to a single file, and loads it."""
    from safetensors.torch import save_file

    save_file(randomised(model).state_dict(), folder / "weights.safetensors")
    return load(folder / "weights.safetensors")


def assert_torch_reads_what_we_save(model, weights, folder):
    import torch
    from safetensors.torch import load_file

    save(weights, folder)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(load_file(folder / "model.safetensors"))  # strict, except num_batches_tracked, which old files lack
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(
    ("stages", "hidden", "classes", "size"),
    [
        (((1, 6), (2, 8)), (), 0, (16, 22)),
        (((2, 4), (1, 5), (2, 8)), (12, 9), 4, (59, 56)),  # 7 x 7 cells: the pool is the identity
        (((1, 4), (1, 6), (2, 8)), (10, 11), 3, (33, 90)),  # 4 x 11 cells are pooled to 7 x 7
    ],
)
def test_vgg(stages, hidden, classes, size, batch_norm, tmp_path):
    model, forward = torch_vgg(stages, hidden, batch_norm, classes)
    weights = as_torchvision(model, tmp_path)
    assert (weights.module.stages, weights.module.hidden, weights.module.batch_norm) == (stages, hidden, batch_norm)
    assert weights.preprocessing == TORCHVISION
    assert_parity(with_logits(weights), forward, image_batch(*size))
    assert_torch_reads_what_we_save(model, weights, tmp_path / "ours")


RESNETS = [(((1, 4), (2, 8)), (32, 32)), (((2, 6), (1, 8), (1, 10)), (45, 38)), (((1, 4), (1, 4), (1, 8)), (33, 64))]


@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize(("stages", "size"), RESNETS)
def test_resnet_of_torchvision(stages, size, bottleneck, tmp_path):
    model, forward = torch_resnet(stages, bottleneck, 5)
    weights = as_torchvision(model, tmp_path)
    assert (weights.module.stages, weights.module.bottleneck) == (stages, bottleneck)
    assert_parity(with_logits(weights), forward, image_batch(*size))
    assert_torch_reads_what_we_save(model, weights, tmp_path / "ours")


@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize(("stages", "size"), RESNETS)
def test_resnet_of_transformers(stages, size, bottleneck, tmp_path):
    from transformers import ResNetConfig, ResNetForImageClassification, ResNetModel

    config = ResNetConfig(
        embedding_size=stages[0][1],
        depths=[blocks for blocks, _ in stages],
        hidden_sizes=[channels * (4 if bottleneck else 1) for _, channels in stages],
        layer_type="bottleneck" if bottleneck else "basic",
        num_labels=3,
    )
    headed = len(stages) == 2
    model = (ResNetForImageClassification if headed else ResNetModel)(config)
    weights = load(published(model, tmp_path / "theirs"))

    def theirs(x):
        outputs = channels_first(model.resnet if headed else model)(x)
        return outputs | ({"logits": model.classifier[1](outputs["tokens"].mean(1))} if headed else {})

    assert_parity(with_logits(weights), theirs, image_batch(*size))
    assert_read_back(model, weights, tmp_path / "ours")


def torch_efficientnet(stages, stem, head, classes):
    """EfficientNet-Lite after lukemelas' EfficientNet-PyTorch: no squeeze-and-excitation, ReLU6 instead of swish, and
    padding as TensorFlow's "SAME"."""
    from torch import nn

    class Same(nn.Conv2d):
        def forward(self, x):
            pads = []
            for size, k, s in zip(x.shape[2:], self.kernel_size, self.stride):
                total = max((-(-size // s) - 1) * s + k - size, 0)
                pads = [total // 2, total - total // 2, *pads]  # torch expects columns first
            return super().forward(nn.functional.pad(x, pads))

    def conv(a, b, kernel=1, stride=1, groups=1):
        return Same(a, b, kernel, stride, groups=groups, bias=False)

    norm = lambda width: nn.BatchNorm2d(width, eps=1e-3)
    blocks, width = [], stem
    for count, kernel, stride, expansion, channels in stages:
        for i in range(count):
            inner, step = width * expansion, stride if i == 0 else 1
            parts = {"_expand_conv": conv(width, inner), "_bn0": norm(inner)} if expansion != 1 else {}
            parts |= {"_depthwise_conv": conv(inner, inner, kernel, step, inner), "_bn1": norm(inner)}
            blocks.append(nn.ModuleDict(parts | {"_project_conv": conv(inner, channels), "_bn2": norm(channels)}))
            width = channels
    model = nn.ModuleDict({"_conv_stem": conv(3, stem, 3, 2), "_bn0": norm(stem), "_blocks": nn.ModuleList(blocks)})
    model.update({"_conv_head": conv(width, head), "_bn1": norm(head), "_fc": nn.Linear(head, classes)})

    def forward(x):
        act = nn.functional.relu6
        x = act(model["_bn0"](model["_conv_stem"](x.permute(0, 3, 1, 2))))
        for block in model["_blocks"]:
            y = act(block["_bn0"](block["_expand_conv"](x))) if "_expand_conv" in block else x
            y = block["_bn2"](block["_project_conv"](act(block["_bn1"](block["_depthwise_conv"](y)))))
            x = x + y if x.shape == y.shape else y
        x = act(model["_bn1"](model["_conv_head"](x)))
        return {"tokens": x.flatten(2).transpose(1, 2), "logits": model["_fc"](x.mean((2, 3)))}

    return model, forward


@pytest.mark.parametrize(
    ("stages", "stem", "head", "size"),
    [
        (((1, 3, 1, 1, 4), (1, 3, 2, 2, 4)), 4, 8, (16, 16)),
        (((2, 5, 2, 3, 6), (3, 3, 1, 2, 8)), 6, 10, (45, 38)),  # an odd number of rows, and padding on one side only
        (((1, 5, 2, 1, 4), (2, 3, 2, 6, 6), (1, 5, 1, 4, 6)), 8, 5, (31, 64)),
    ],
)
def test_efficientnet(stages, stem, head, size, tmp_path):
    from safetensors.torch import save_file

    model, forward = torch_efficientnet(stages, stem, head, 3)
    save_file(randomised(model).state_dict(), tmp_path / "model.safetensors")
    config = LITE0 | {"stages": stages, "stem": stem, "head": head}
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = load(tmp_path)
    assert_parity(with_logits(weights), forward, image_batch(*size))
    assert_torch_reads_what_we_save(model, weights, tmp_path / "ours")


def test_files_of_torch_before_1_6(tmp_path):
    import torch

    model, _ = torch_efficientnet(((1, 3, 1, 2, 4),), 4, 8, 3)
    state = randomised(model).state_dict()
    state["transposed"] = state["_fc.weight"].T  # a view of the same storage
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    found = read_pickled(tmp_path / "old.pth")
    assert list(found) == list(state)
    for name, value in state.items():
        np.testing.assert_array_equal(found[name], value.numpy(), err_msg=name)
