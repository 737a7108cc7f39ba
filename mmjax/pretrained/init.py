"""Published weights as initial values of a model's encoders and decoders (see `mmjax.train.training.Training.init`)."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from mmjax.decoders.whisper import Whisper
from mmjax.nn.integer_weights import fitted
from mmjax.pretrained.files import WeightsError, first_names

__all__ = ["digest", "read_weights"]


def read_weights(shapes: Mapping[str, Any], weights: Mapping[str, str]) -> dict[str, np.ndarray]:
    """{"params/encoders_text/...": array} of published weights, each source read once.

    shapes: the shapes of one seed's variables, {"params": ..., ...}. weights: {path: source}; the path of an encoder's or
    decoder's parameters, such as "encoders_text", or "encoders_text/base" inside `LoRA`; the source as for
    `mmjax.pretrained.load_encoder`. Of a model with encoder and decoder, such as "whisper-base", a path that begins with
    "encoders_" gets the encoder and one that begins with "decoders_" the decoder. Raises WeightsError unless a source has
    exactly the names and shapes of the model's parameters at its path. Where the model keeps integers with scales
    (`encoders.QLoRA`), the weights are quantised.
    """
    from mmjax.pretrained import load_encoder  # here: runs without published weights do not need its libraries

    leaves = flatten_dict(dict(shapes), sep="/")
    expected = {name: leaf.shape for name, leaf in leaves.items()}
    loaded = {source: load_encoder(source) for source in dict.fromkeys(weights.values())}
    arrays: dict[str, np.ndarray] = {}
    for path, source in weights.items():
        found = {
            f"{collection}/{path}/{name}": leaf
            for collection, tree in _part(loaded[source], path).items()
            for name, leaf in flatten_dict(dict(tree), sep="/").items()
        }
        found = {name: np.asarray(leaf) for name, leaf in fitted(found, leaves).items()}
        _check(path, source, found, {name: shape for name, shape in expected.items() if _is_under(path, name)}, shapes)
        arrays |= found
    return arrays


def _kind(path: str) -> str:
    return "decoder" if path.startswith("decoders_") else "encoder"


def _part(weights: Any, path: str) -> Mapping[str, Any]:
    """The variables for a path: those of the encoder or decoder of a model that has both."""
    if not isinstance(weights.module, Whisper) or not path.startswith(("encoders_", "decoders_")):
        return weights.variables
    return {collection: tree[_kind(path)] for collection, tree in weights.variables.items()}


def _is_under(path: str, name: str) -> bool:
    """Whether "collection/..." names a variable at this path or below."""
    return f"{name.partition('/')[2]}/".startswith(f"{path}/")


def _check(path: str, source: str, found: Mapping[str, Any], wanted: Mapping[str, Any], shapes: Mapping[str, Any]) -> None:
    if not wanted:
        parts = ", ".join(sorted(shapes["params"]))
        raise WeightsError(f"weights.{path}: the model has no parameters at this path; it has {parts}")
    if wanted.keys() != found.keys():
        differing = first_names({name.partition("/")[2] for name in wanted.keys() ^ found.keys()})
        raise WeightsError(f"weights.{path}: {source} and the {_kind(path)} are different modules: they differ in {differing}")
    for name, leaf in found.items():
        if leaf.shape != wanted[name]:
            sizes = f"{list(leaf.shape)} in {source}, but {list(wanted[name])} in the {_kind(path)}"
            raise WeightsError(f"weights.{path}: {name} is {sizes}")


def digest(variables: Mapping[str, Any]) -> str:
    """sha256 of names, dtypes, shapes and values, in the order of the tree's leaves."""
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        found.update(f"{jax.tree_util.keystr(path)} {leaf.dtype}{leaf.shape}".encode() + np.ascontiguousarray(leaf).tobytes())
    return found.hexdigest()
