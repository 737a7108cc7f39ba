"""Selects the architecture of published weights by the model_type of config.json, open_clip's model_cfg, or a tensor's name."""

from mmjax.pretrained import (
    ast,
    bert,
    clip,
    efficientnet,
    gemma3,
    gpt2,
    idefics3,
    language_models,
    llava,
    llava_next,
    naflex,
    open_clip,
    paligemma,
    qwen2_audio,
    qwen2_vl,
    resnet,
    siglip,
    vgg,
    videomae,
    vit,
    wav2vec2,
    whisper,
)
from mmjax.pretrained.convert import Architecture
from mmjax.pretrained.files import WeightsError, shown
from mmjax.pretrained.source import Source

__all__ = ["BY_MODEL_TYPE", "BY_TENSOR", "architecture_of"]

BY_MODEL_TYPE = {
    "vit": vit.vit,
    "dinov2": vit.dinov2,
    "dinov2_with_registers": vit.dinov2,
    "resnet": resnet.resnet,
    "efficientnet-lite": efficientnet.efficientnet_lite,
    "bert": bert.bert,
    "roberta": bert.roberta,
    "xlm-roberta": bert.roberta,
    "camembert": bert.roberta,
    "distilbert": bert.distilbert,
    "clip": clip.clip,
    "siglip": siglip.siglip,
    "siglip2": naflex.naflex,
    "whisper": whisper.whisper,
    "wav2vec2": wav2vec2.wav2vec2,
    "videomae": videomae.videomae,
    "vivit": videomae.vivit,
    "audio-spectrogram-transformer": ast.ast,
    "llama": language_models.llama,
    "mistral": language_models.mistral,
    "qwen2": language_models.qwen2,
    "qwen3": language_models.qwen3,
    "phi3": language_models.phi3,
    "gemma": language_models.gemma,
    "gemma2": language_models.gemma2,
    "gemma3_text": language_models.gemma3,
    "gpt2": gpt2.gpt2,
    "llava": llava.llava,
    "llava_next": llava_next.llava_next,
    "qwen2_audio": qwen2_audio.qwen2_audio,
    "qwen2_vl": qwen2_vl.qwen2_vl,
    "paligemma": paligemma.paligemma,
    "idefics3": idefics3.idefics3,
    "smolvlm": idefics3.idefics3,
    "gemma3": gemma3.gemma3,
}
"""The model_type of config.json -> the function that reads the architecture."""

BY_TENSOR = {
    "Transformer/posembed_input/pos_embedding": vit.augreg,
    "features.0.weight": vgg.vgg,
    "layer1.0.conv1.weight": resnet.torchvision,
}
"""The name of a tensor that identifies weights without a config.json -> the function that reads the architecture."""


def architecture_of(source: Source) -> Architecture:
    """The architecture of these weights. Raises WeightsError with the supported model types if it is unknown."""
    if "model_cfg" in source.config:
        return open_clip.open_clip(source)
    kind = source.config.get("model_type")
    if isinstance(kind, str) and kind in BY_MODEL_TYPE:
        return BY_MODEL_TYPE[kind](source)
    if kind is None:
        for name, read in BY_TENSOR.items():
            if name in source.tensors:
                return read(source)
    known = ", ".join(sorted(BY_MODEL_TYPE))
    given = f"config.json has model_type = {shown(repr(kind))}"
    problem = given if kind is not None else "there is no config.json with a model_type"
    raise WeightsError(f"{source.where}: {problem}; supported are {known}. For a file without config.json, pass config=")
