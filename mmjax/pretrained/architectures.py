"""Which of our modules a set of weights is: by the model_type of config.json, or by the names that torchvision gives."""

from mmjax.pretrained import ast, bert, clip, efficientnet, resnet, siglip, vgg, videomae, vit, wav2vec2, whisper
from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.layout import Architecture
from mmjax.pretrained.source import Source

BY_MODEL_TYPE = {
    "vit": vit.vit,
    "dinov2": vit.dinov2,
    "resnet": resnet.resnet,
    "efficientnet-lite": efficientnet.efficientnet_lite,
    "bert": bert.bert,
    "roberta": bert.roberta,
    "xlm-roberta": bert.roberta,
    "camembert": bert.roberta,
    "distilbert": bert.distilbert,
    "clip": clip.clip,
    "siglip": siglip.siglip,
    "siglip2": siglip.naflex,
    "whisper": whisper.whisper,
    "wav2vec2": wav2vec2.wav2vec2,
    "videomae": videomae.videomae,
    "vivit": videomae.vivit,
    "audio-spectrogram-transformer": ast.ast,
}
"""config.json's model_type -> what reads it."""

BY_TENSOR = {
    "Transformer/posembed_input/pos_embedding": vit.augreg,
    "features.0.weight": vgg.vgg,
    "layer1.0.conv1.weight": resnet.torchvision,
}
"""A tensor's name that gives away weights without a config.json -> what reads them."""


def architecture_of(source: Source) -> Architecture:
    """The architecture of these weights, or a WeightsError that says which are known."""
    kind = source.config.get("model_type")
    if isinstance(kind, str) and kind in BY_MODEL_TYPE:
        return BY_MODEL_TYPE[kind](source)
    if kind is None:
        for name, read in BY_TENSOR.items():
            if name in source.tensors:
                return read(source)
    known = ", ".join(sorted(BY_MODEL_TYPE))
    said = f"config.json has model_type = {kind!r}" if kind is not None else "there is no config.json with a model_type"
    raise WeightsError(f"{source.where}: {said}; known are {known}. For a file without config.json give config=")
