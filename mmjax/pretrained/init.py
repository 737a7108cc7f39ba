"""Training that begins with published weights: they take the place of what was initialised, in every seed."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mmjax.pretrained.files import WeightsError, few


def init_from_pretrained(variables: Mapping[str, Any], weights: Mapping[str, str], lead: tuple[int, ...] = ()) -> dict[str, Any]:
    """A model's variables {"params", ...} with these weights in their places.

    variables: arrays, or shapes alone, that lead with the dimensions `lead`, such as (seeds,). weights: {path: source}, the
    path of an encoder in the parameters, such as "encoders_text", or "encoders_text/base" inside of `LoRA`; the source as
    `mmjax.pretrained.encoder` takes it. Raises WeightsError where names or shapes do not fit.
    """
    flat = flatten_dict(dict(variables), sep="/")
    for path, source in weights.items():
        given = _leaves(path, source)
        place = {name for name in flat if f"{name.partition('/')[2]}/".startswith(f"{path}/")}
        if not place:
            parts = sorted(variables["params"])
            raise WeightsError(f"weights.{path}: the model has no such part; it has {', '.join(parts)}")
        if place != set(given):
            differing = few({name.partition("/")[2] for name in place ^ set(given)})
            raise WeightsError(f"weights.{path}: {source} is another module than the encoder: they differ in {differing}")
        for name, leaf in given.items():
            found, wanted = leaf.shape, flat[name].shape[len(lead) :]
            if found != wanted:
                raise WeightsError(f"weights.{path}: {name} is {list(found)} in {source}, and {list(wanted)} in the encoder")
            flat[name] = _spread(leaf, lead, flat[name])
    return unflatten_dict(flat, sep="/")


def digest_of(source: str) -> str:
    """sha256 over the numbers of an encoder's weights, whatever file they lie in."""
    from mmjax.pretrained import encoder

    return digest(encoder(source).variables)


def digest(variables: Mapping[str, Any]) -> str:
    """sha256 over names, dtypes, shapes and values."""
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        found.update(f"{jax.tree_util.keystr(path)} {leaf.dtype}{leaf.shape}".encode() + np.ascontiguousarray(leaf).tobytes())
    return found.hexdigest()


def _leaves(path: str, source: str) -> dict[str, Any]:
    """{full path: array} of a source's variables, for this place."""
    from mmjax.pretrained import encoder

    collections = encoder(source).variables.items()
    return {
        f"{collection}/{path}/{name}": leaf
        for collection, tree in collections
        for name, leaf in flatten_dict(dict(tree), sep="/").items()
    }


def _spread(leaf: Any, lead: tuple[int, ...], like: Any) -> Any:
    if isinstance(like, jax.ShapeDtypeStruct):
        return like
    return jnp.broadcast_to(jnp.asarray(leaf)[(None,) * len(lead)], (*lead, *leaf.shape))
