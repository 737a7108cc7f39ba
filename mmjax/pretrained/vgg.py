"""VGG under torchvision's names, with or without batch norm. There is no config.json: all sizes are read off the tensors."""


import re

from mmjax.encoders.vgg import VGG
from mmjax.pretrained.convert import Architecture, example_array
from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.images import BILINEAR, ImagePreprocessing, round_half
from mmjax.pretrained.layout import CONV, Layout, Names, batch_norm, dense
from mmjax.pretrained.source import Source

__all__ = ["CELLS", "TORCHVISION", "vgg"]

CELLS = 7  # rows and columns of the last grid before the dense layers

TORCHVISION = ImagePreprocessing(256, BILINEAR, (224, 224), crop_start=round_half)
"""The preprocessing of torchvision's first ImageNet weights (IMAGENET1K_V1) of VGG and ResNet."""


def _grid(height: int, width: int) -> Layout:
    """A dense kernel over a flattened grid: [out c*h*w] <-> [h*w*c out]."""

    def to_ours(x):
        return x.reshape(x.shape[0], -1, height, width).transpose(2, 3, 1, 0).reshape(-1, x.shape[0])

    def to_theirs(x):
        return x.reshape(height, width, -1, x.shape[-1]).transpose(3, 2, 0, 1).reshape(x.shape[-1], -1)

    return Layout(to_ours, to_theirs)


def vgg(source: Source) -> Architecture:
    """Layers are numbered consecutively: convolution, batch norm, ReLU, and a pool after each stage. Without torchvision's two
    hidden dense layers, the tokens are the cells of the last grid."""
    tensors = source.tensors
    layers = sorted(int(name.split(".")[1]) for name, array in tensors.items() if _is_convolution(name, array.ndim))
    normalised = "features.1.running_mean" in tensors
    step = 3 if normalised else 2
    names: Names = {}
    stages = [[0, 0]]
    expected = 0
    for at in layers:
        if at == expected + 1 and at > 0:  # after a pool
            stages.append([0, 0])
        elif at != expected:
            raise WeightsError(f"{source.where}: features.{expected} or features.{expected + 1} must be a convolution")
        kernel = tensors[f"features.{at}.weight"].shape
        if kernel[2:] != (3, 3):
            raise WeightsError(f"{source.where}: features.{at}.weight is {list(kernel)}; VGG's kernels must be 3 x 3")
        stages[-1] = [stages[-1][0] + 1, kernel[0]]
        where = f"{len(stages)}_{stages[-1][0]}"
        names |= dense(f"params/conv{where}", f"features.{at}", layout=CONV)
        if normalised:
            names |= batch_norm(f"norm{where}", f"features.{at + 1}")
        expected = at + step
    if expected == 0:
        raise WeightsError(f"{source.where}: features.0.weight must be a convolution with 4 axes")
    hidden = []
    for layer, theirs in enumerate(("classifier.0", "classifier.3")):
        if f"{theirs}.weight" in tensors:
            kernel = tensors[f"{theirs}.weight"].shape
            if len(kernel) != 2:
                raise WeightsError(f"{source.where}: {theirs}.weight is {list(kernel)}; a dense kernel must have 2 axes")
            hidden.append(kernel[0])
            names |= dense(f"params/fc{6 + layer}", theirs, **({} if layer else {"layout": _grid(CELLS, CELLS)}))
    return Architecture(
        VGG(tuple(map(tuple, stages)), tuple(hidden), normalised),
        example_array(1, 224, 224, tensors["features.0.weight"].shape[1]),
        names,
        ImagePreprocessing.of(source) or TORCHVISION,
        unused=(r".*\.num_batches_tracked",),
        classifier=dense("params", "classifier.6") if hidden else {},
    )


def _is_convolution(name: str, axes: int) -> bool:
    return axes == 4 and re.fullmatch(r"features\.[0-9]{1,3}\.weight", name) is not None
