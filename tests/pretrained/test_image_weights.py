"""Unsupported weights and settings of image models are refused by name."""

import numpy as np
import pytest

from mmjax.pretrained.architectures import architecture_of
from mmjax.pretrained.convert import to_variables
from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.source import Source
from tests.pretrained.tiny import random_tensors

VIT = {
    "model_type": "vit",
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "image_size": 8,
    "patch_size": 4,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "layer_norm_eps": 1e-6,
}
DINO = {**VIT, "model_type": "dinov2", "mlp_ratio": 2, "layerscale_value": 1.0}
RESNET = {"model_type": "resnet", "embedding_size": 4, "hidden_sizes": [16, 32], "depths": [1, 1]}
LITE = {"model_type": "efficientnet-lite", "stages": [[1, 3, 1, 1, 4]], "stem": 4, "head": 8, "batch_norm_eps": 1e-3}


@pytest.mark.parametrize("config", [VIT, DINO, RESNET, LITE])
def test_valid_configs(config):
    architecture = architecture_of(Source("here", config, {}))
    with pytest.raises(WeightsError, match=r"here: missing .* more"):
        to_variables(architecture, {}, "here")


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (VIT | {"qkv_bias": False}, "qkv_bias"),
        (VIT | {"hidden_act": "swish"}, "hidden_act"),
        (VIT | {"patch_size": [4, 2]}, "patch_size"),
        (VIT | {"image_size": [8, 9]}, "patch_size"),
        ({name: value for name, value in VIT.items() if name != "layer_norm_eps"}, "layer_norm_eps"),
        (DINO | {"use_swiglu_ffn": True}, "use_swiglu_ffn"),
        (DINO | {"image_size": [8, 12]}, "image_size"),
        (RESNET | {"hidden_act": "gelu"}, "hidden_act"),
        (RESNET | {"layer_type": "other"}, "layer_type"),
        (RESNET | {"downsample_in_first_stage": True}, "downsample_in_first_stage"),
        (RESNET | {"downsample_in_bottleneck": True}, "downsample_in_bottleneck"),
        (RESNET | {"embedding_size": 8}, "embedding_size"),
        (RESNET | {"hidden_sizes": [16, 30]}, "hidden_sizes"),
        (RESNET | {"depths": [1]}, "depths"),
        (LITE | {"stages": [[1, 3, 1, 4]]}, "stages"),
        ({name: value for name, value in LITE.items() if name != "stem"}, "stem"),
    ],
)
def test_unsupported_settings_are_named(config, named):
    with pytest.raises(WeightsError, match=f"here: .*{named}"):
        architecture_of(Source("here", config, {}))


def test_unsupported_models_of_torchvision_are_refused():
    zeros = lambda *shape: np.zeros(shape, np.float32)
    alexnet = {"features.0.weight": zeros(4, 3, 11, 11), "features.3.weight": zeros(4, 4, 5, 5)}
    with pytest.raises(WeightsError, match=r"here: features\.0\.weight .* 3 x 3"):
        architecture_of(Source("here", {}, alexnet))
    gap = {"features.0.weight": zeros(4, 3, 3, 3), "features.4.weight": zeros(4, 4, 3, 3)}
    with pytest.raises(WeightsError, match=r"here: features\.2 or features\.3 must be a convolution"):
        architecture_of(Source("here", {}, gap))
    small = {"layer1.0.conv1.weight": zeros(4, 4, 3, 3), "conv1.weight": zeros(4, 3, 3, 3)}
    with pytest.raises(WeightsError, match=r"here: conv1\.weight .* 7 x 7"):
        architecture_of(Source("here", {}, small))
    flat = {"layer1.0.conv1.weight": zeros(4), "conv1.weight": zeros(4, 3, 7, 7)}
    with pytest.raises(WeightsError, match=r"here: layer1\.0\.conv1\.weight is \[4\]"):
        architecture_of(Source("here", {}, flat))
    bent = {"features.0.weight": zeros(4, 3, 3, 3), "classifier.0.weight": zeros()}
    with pytest.raises(WeightsError, match=r"here: classifier\.0\.weight is \[\]; a dense kernel must have 2 axes"):
        architecture_of(Source("here", {}, bent))
    hybrid = {"Transformer/posembed_input/pos_embedding": zeros(1, 5, 8), "conv_root/kernel": zeros(7, 7, 3, 4)}
    with pytest.raises(WeightsError, match="here: embedding/kernel must exist with 4 axes"):
        architecture_of(Source("here", {}, hybrid))


def test_a_wide_resnet_is_refused_by_its_shapes():
    """Its 3x3 convolution has twice the channels, and its last one twice those instead of four times."""
    zeros = lambda *shape: np.zeros(shape, np.float32)
    norm = lambda at, n: {f"{at}.{part}": zeros(n) for part in ("weight", "bias", "running_mean", "running_var")}
    tensors = {"conv1.weight": zeros(4, 3, 7, 7), **norm("bn1", 4)}
    for number, shape in enumerate([(8, 4, 1, 1), (8, 8, 3, 3), (16, 8, 1, 1)], 1):
        tensors |= {f"layer1.0.conv{number}.weight": zeros(*shape), **norm(f"layer1.0.bn{number}", shape[0])}
    tensors |= {"layer1.0.downsample.0.weight": zeros(16, 4, 1, 1), **norm("layer1.0.downsample.1", 16)}
    with pytest.raises(WeightsError, match=r"here: conv1\.weight of shape \[4, 3, 7, 7\]"):
        to_variables(architecture_of(Source("here", {}, tensors)), tensors, "here")


@pytest.mark.parametrize(("config", "name", "width"), [(LITE, "_fc", 8), (RESNET, "classifier.1", 32)])
def test_a_classifier_must_fit_its_tokens(config, name, width):
    """The number of classes is read off the kernel; the tokens have `width`."""
    zeros, tensors = lambda *shape: np.zeros(shape, np.float32), random_tensors(config=config)
    architecture = architecture_of(Source("here", config, tensors))

    def read(kernel, bias):
        return to_variables(architecture, {**tensors, f"{name}.weight": kernel, f"{name}.bias": bias}, "here")[1]

    assert read(zeros(5, width), zeros(5))["params"]["kernel"].shape == (width, 5)
    for kernel in (zeros(5, width + 1), zeros(5), zeros(), zeros(width, 5), zeros(5, width, 1, 1)):
        with pytest.raises(WeightsError, match=rf"here: {name}\.(weight|bias) of shape"):
            read(kernel, zeros(5))
    for bias in (zeros(4), zeros(5, 1), zeros()):
        with pytest.raises(WeightsError, match=rf"here: {name}\.bias of shape .* params/bias must be \[5\]"):
            read(zeros(5, width), bias)
