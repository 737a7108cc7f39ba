"""EfficientNet-Lite, under the names of its PyTorch port (`_blocks.0._depthwise_conv.weight`) in a wheel."""

import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.encoders.efficientnet import EfficientNetLite, efficientnet_lite0
from mmjax.pretrained.convert import Architecture, example_array
from mmjax.pretrained.files import WEIGHTS_FILE, write_arrays
from mmjax.pretrained.images import BICUBIC, ImagePreprocessing
from mmjax.pretrained.layout import CONV, Names, batch_norm, dense
from mmjax.pretrained.pickles import read_pickled
from mmjax.pretrained.source import LAYERS, Source, are_integers

__all__ = ["LITE0", "PREPROCESSING", "config_of", "efficientnet_lite", "preprocessing_of", "wheel"]

def config_of(module: EfficientNetLite) -> dict[str, Any]:
    """Our own config.json: the fields of our module."""
    return {
        "model_type": "efficientnet-lite",
        "stages": [list(stage) for stage in module.stages],
        "stem": module.stem,
        "head": module.head,
        "batch_norm_eps": module.epsilon,
    }


LITE0 = config_of(efficientnet_lite0())


def preprocessing_of(size: int) -> dict[str, Any]:
    """preprocessor_config.json: a centre crop of `size` pixels of an image with 32 pixels more on its shorter side, and pixels
    (x - 127) / 128, as in TensorFlow's code."""
    return {
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": size + 32},
        "crop_size": {"height": size, "width": size},
        "resample": BICUBIC,
        "rescale_factor": 1 / 255,
        "image_mean": [127 / 255] * 3,
        "image_std": [128 / 255] * 3,
    }


PREPROCESSING = preprocessing_of(224)


def efficientnet_lite(source: Source) -> Architecture:
    """config.json has the fields of `LITE0`."""
    expected = f"a list of [blocks, kernel, stride, expansion, channels] from 1, at most {LAYERS} blocks and kernels up to 31"
    stages = source.read("stages", _are_stages, expected)
    stages = tuple(tuple(map(int, stage)) for stage in stages)
    names = _part("stem", "_conv_stem", "_bn0") | _part("head", "_conv_head", "_bn1")
    number = 0
    for stage, (blocks, _, _, expansion, _) in enumerate(stages, 1):
        for block in range(1, blocks + 1):
            ours, theirs = f"stage{stage}_block{block}", f"_blocks.{number}"
            if expansion != 1:
                names |= _part(f"{ours}_expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
            names |= _part(f"{ours}_depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
            names |= _part(f"{ours}_project", f"{theirs}._project_conv", f"{theirs}._bn2")
            number += 1
    module = EfficientNetLite(stages, source.integer("stem"), source.integer("head"), source.positive("batch_norm_eps"))
    return Architecture(
        module,
        example_array(1, 224, 224, 3),
        names,
        ImagePreprocessing.of(source),
        unused=(r".*\.num_batches_tracked",),
        classifier=dense("params", "_fc"),
    )


def _are_stages(value: Any) -> bool:
    """Whether it is a list of [blocks, kernel, stride, expansion, channels] of a possible size."""
    fits = isinstance(value, list | tuple) and len(value) > 0 and all(are_integers(stage, 5) for stage in value)
    return fits and sum(stage[0] for stage in value) <= LAYERS and all(stage[1] <= 31 for stage in value)


def _part(ours: str, convolution: str, norm: str) -> Names:
    return dense(f"params/{ours}_conv", convolution, bias=False, layout=CONV) | batch_norm(f"{ours}_norm", norm)


def wheel(inside: str, module: EfficientNetLite, size: int) -> Callable[[zipfile.ZipFile, Path], None]:
    """A function that unpacks an EfficientNet-Lite into a folder for `load`.

    inside: the path of the .pth file in the wheel. module: of its size. size: of its images, in pixels.
    """

    def unpack(opened: zipfile.ZipFile, folder: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            arrays = read_pickled(Path(opened.extract(inside, scratch)))
        floats = {name: array for name, array in arrays.items() if array.dtype == np.float32}  # not num_batches_tracked
        write_arrays(folder / WEIGHTS_FILE, floats)
        (folder / "config.json").write_text(json.dumps(config_of(module), indent=1))
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing_of(size), indent=1))

    return unpack
