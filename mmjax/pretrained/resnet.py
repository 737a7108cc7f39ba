"""ResNet under torchvision's names, with sizes read off the tensors, and transformers' ResNetModel."""

from collections.abc import Callable

from mmjax.encoders.resnet import EXPANSION, ResNet
from mmjax.pretrained.convert import Architecture, example_array
from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.images import ImagePreprocessing
from mmjax.pretrained.layout import CONV, Names, batch_norm, dense
from mmjax.pretrained.source import LAYERS, Source
from mmjax.pretrained.vgg import TORCHVISION

__all__ = ["resnet", "torchvision"]


def _names(module: ResNet, stem: tuple[str, str], part: Callable[[int, int, int | None], tuple[str, str]]) -> Names:
    """The name table of a ResNet. stem: the published names of its convolution and norm. part: (stage, block, convolution) from
    0 -> the same two names; the convolution is None for the shortcut."""
    names: Names = {}

    def add(ours: str, theirs: tuple[str, str]) -> None:
        names.update(dense(f"params/{ours}/conv", theirs[0], bias=False, layout=CONV) | batch_norm(f"{ours}/norm", theirs[1]))

    add("stem", stem)
    expansion, before = EXPANSION if module.bottleneck else 1, module.stages[0][1]
    for stage, (blocks, channels) in enumerate(module.stages):
        for block in range(blocks):
            ours = f"stage{stage + 1}_block{block + 1}"
            for number in range(3 if module.bottleneck else 2):
                add(f"{ours}_conv{number + 1}", part(stage, block, number))
            if block == 0 and (stage > 0 or before != channels * expansion):
                add(f"{ours}_shortcut", part(stage, block, None))
    return names


def torchvision(source: Source) -> Architecture:
    """torchvision.models.resnet18 to resnet152. Wide ResNets and ResNeXt have other shapes and are refused."""
    tensors = source.tensors
    if getattr(tensors.get("conv1.weight"), "shape", ())[2:] != (7, 7):
        raise WeightsError(f"{source.where}: conv1.weight must be a 7 x 7 convolution")
    stages = []
    while f"layer{len(stages) + 1}.0.conv1.weight" in tensors:
        at = f"layer{len(stages) + 1}"
        blocks = len({name.split(".")[1] for name in tensors if name.startswith(f"{at}.")})
        kernel = tensors[f"{at}.0.conv1.weight"].shape
        if len(kernel) != 4:
            raise WeightsError(f"{source.where}: {at}.0.conv1.weight is {list(kernel)}; a convolution must have 4 axes")
        stages.append((blocks, kernel[0]))
    module = ResNet(tuple(stages), bottleneck="layer1.0.conv3.weight" in tensors)

    def part(stage: int, block: int, number: int | None) -> tuple[str, str]:
        at = f"layer{stage + 1}.{block}"
        shortcut = f"{at}.downsample.0", f"{at}.downsample.1"
        return shortcut if number is None else (f"{at}.conv{number + 1}", f"{at}.bn{number + 1}")

    return Architecture(
        module,
        example_array(1, 224, 224, tensors["conv1.weight"].shape[1]),
        _names(module, ("conv1", "bn1"), part),
        ImagePreprocessing.of(source) or TORCHVISION,
        unused=(r".*\.num_batches_tracked",),
        classifier=dense("params", "fc"),
    )


def resnet(source: Source) -> Architecture:
    """transformers' ResNetModel, or ResNetForImageClassification with its classifier."""
    source.require("hidden_act", "relu")
    source.require("layer_type", "bottleneck", "basic")
    source.require("downsample_in_first_stage", False)
    source.require("downsample_in_bottleneck", False)
    bottleneck = source.config.get("layer_type", "bottleneck") == "bottleneck"
    expansion = EXPANSION if bottleneck else 1
    widths, depths = source.integers("hidden_sizes"), source.integers("depths", maximum=LAYERS)
    first = source.integer("embedding_size")
    if first * expansion != widths[0] or any(width % expansion for width in widths) or len(widths) != len(depths):
        raise WeightsError(
            f"{source.where}: config.json has embedding_size = {first}, hidden_sizes = {widths}, depths = {depths}; the first "
            f"hidden size must be {first * expansion}, all must be multiples of {expansion}, and each needs a depth"
        )
    if sum(depths) > LAYERS:
        raise source.error("depths", f"a list of at most {LAYERS} blocks in all")
    module = ResNet(tuple((depth, width // expansion) for depth, width in zip(depths, widths)), bottleneck)
    prefix = "resnet." if "resnet.embedder.embedder.convolution.weight" in source.tensors else ""

    def pair(at: str) -> tuple[str, str]:
        return f"{at}.convolution", f"{at}.normalization"

    def part(stage: int, block: int, number: int | None) -> tuple[str, str]:
        at = f"{prefix}encoder.stages.{stage}.layers.{block}"
        return pair(f"{at}.shortcut" if number is None else f"{at}.layer.{number}")

    return Architecture(
        module,
        example_array(1, 224, 224, source.integer("num_channels", 3)),
        _names(module, pair(f"{prefix}embedder.embedder"), part),
        ImagePreprocessing.of(source),
        unused=(r".*\.num_batches_tracked",),
        classifier=dense("params", "classifier.1"),
    )
