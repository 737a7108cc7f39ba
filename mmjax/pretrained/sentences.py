"""The complete model of a folder of sentence-transformers: the encoder, and the pooling that its modules.json describes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mmjax.data.dataset import identity
from mmjax.encoders.dual import Pooled
from mmjax.encoders.sentence import SentencePooling
from mmjax.nn.attention import gelu
from mmjax.nn.pooling import first_token, last_token, masked_max, masked_mean, masked_root_mean, position_weighted_mean
from mmjax.pretrained.convert import Architecture, to_variables
from mmjax.pretrained.files import WeightsError, read_arrays, read_json, shown, weights_file
from mmjax.pretrained.layout import Names, dense
from mmjax.pretrained.source import Settings
from mmjax.types import Tokens

__all__ = ["ACTIVATIONS", "POOLINGS", "sentence_encoder"]

POOLINGS = {
    "cls": ("pooling_mode_cls_token", first_token),
    "max": ("pooling_mode_max_tokens", masked_max),
    "mean": ("pooling_mode_mean_tokens", masked_mean),
    "mean_sqrt_len_tokens": ("pooling_mode_mean_sqrt_len_tokens", masked_root_mean),
    "weightedmean": ("pooling_mode_weightedmean_tokens", position_weighted_mean),
    "lasttoken": ("pooling_mode_lasttoken", last_token),
}
"""pooling_mode of new files -> (the flag in older ones, our function), in the order of several poolings side by side."""
ACTIVATIONS = {
    "torch.nn.modules.activation.Tanh": jnp.tanh,
    "torch.nn.modules.activation.ReLU": jax.nn.relu,
    "torch.nn.modules.activation.GELU": gelu,
    "torch.nn.modules.linear.Identity": identity,
}


def sentence_encoder(encoder: nn.Module, variables: Mapping[str, Any], folder: Path | None) -> tuple[nn.Module, dict]:
    """(module, variables) whose single token is the sentence embedding. encoder, variables: of the folder's Transformer.

    Raises WeightsError if the folder has no modules.json, or if a module is not supported.
    """
    modules = _modules(folder)
    kinds = [kind for kind, _ in modules]
    layers = [Settings(str(folder), read_json(path / "config.json"), file=f"{path.name}/config.json") for _, path in modules]
    count = kinds.count("Dense")
    if kinds not in (["Transformer", "Pooling", *["Dense"] * count, *end] for end in ([], ["Normalize"])):
        raise WeightsError(
            f"{folder}: modules.json has {shown(', '.join(kinds))}; supported are Transformer, Pooling, any number of Dense, "
            "and Normalize or not, in this order"
        )
    if modules[0][1] != folder:
        place = shown(modules[0][1].name)
        raise WeightsError(f"{folder}: modules.json has its Transformer in {place}; it must be in the folder itself")
    _prompts(folder).require("default_prompt_name", None)
    given = layers[2 : 2 + count]
    pooling = SentencePooling(
        _poolings(layers[1]),
        tuple(layer.integer("out_features") for layer in given),
        tuple(_activation(layer) for layer in given),
        tuple(layer.flag("bias", True) for layer in given),
        kinds[-1] == "Normalize",
    )
    names: Names = {}
    tensors = {}
    for number, (_, path) in enumerate(modules[2 : 2 + count]):
        names |= dense(f"params/dense{number}", f"{path.name}/linear", pooling.biases[number])
        tensors |= {f"{path.name}/{name}": array for name, array in read_arrays(weights_file(path)).items()}
    tokens = Tokens(np.zeros((1, 1, encoder.width), np.float32), np.ones((1, 1), bool))
    own, _, _ = to_variables(Architecture(pooling, tokens, names, None), tensors, str(folder))
    params = {"encoder": variables["params"]} | ({"pool": own["params"]} if own else {})
    return Pooled(encoder, pooling), {**variables, "params": params}


def _modules(folder: Path | None) -> list[tuple[str, Path]]:
    """[(the last part of the module's class, its folder)] of modules.json."""
    file = folder / "modules.json" if folder else None
    if file is None or not file.is_file():
        raise WeightsError(f"{folder}: there is no modules.json, so the pooling of sentences is not known")
    found = []
    for module in read_json(file, list):
        kind, path = (module.get(key) if isinstance(module, dict) else None for key in ("type", "path"))
        if not isinstance(kind, str) or not isinstance(path, str) or (path and Path(path).name != path) or path == "..":
            raise WeightsError(f"{file}: each module must have a type, and a path inside the folder, not {shown(repr(module))}")
        found.append((kind.rpartition(".")[2], folder / path))
    return found


def _prompts(folder: Path) -> Settings:
    name = "config_sentence_transformers.json"
    return Settings(str(folder), read_json(folder / name), file=name)


def _poolings(settings: Settings) -> tuple:
    """The functions of a Pooling module."""
    if settings.config.get("pooling_mode") is not None:
        modes = settings.config["pooling_mode"]
        modes = modes if isinstance(modes, list) else [modes]
        if not modes or not all(isinstance(mode, str) and mode in POOLINGS for mode in modes):
            raise settings.error("pooling_mode", f"one or several of {', '.join(POOLINGS)}")
        return tuple(function for mode, (_, function) in POOLINGS.items() if mode in modes)
    found = tuple(function for flag, function in POOLINGS.values() if settings.flag(flag, False))
    if not found:
        raise WeightsError(f"{settings.where}: {settings.file} chooses no pooling; one flag must be true: {_flags()}")
    return found


def _flags() -> str:
    return ", ".join(flag for flag, _ in POOLINGS.values())


def _activation(settings: Settings) -> Any:
    name = settings.string("activation_function", "torch.nn.modules.activation.Tanh")
    if name not in ACTIVATIONS:
        raise settings.error("activation_function", f"one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]
