"""Published tensors <-> the variables of our modules, by the name tables of `mmjax.pretrained.layout`."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mmjax.decoders.products import IntegerKernel, four_bits
from mmjax.pretrained.files import WeightsError, first_names, shown
from mmjax.pretrained.ggml import Blocks
from mmjax.pretrained.layout import Names

__all__ = ["Architecture", "example_array", "to_tensors", "to_variables"]


@dataclass(frozen=True)
class Architecture:
    """A published model as one of our modules.

    example_input: an input with the shapes that the parameters are made for. names: the table of all parameters. preprocessing:
    raw examples -> inputs, with `read` for one example on the host and a jitted `finish` for many. unused: regular expressions
    that fully match the names of tensors without a use, such as a pretraining head. classifier: the names of "params/kernel"
    and "params/bias" of the published classifier, {} if there is none.
    """

    module: nn.Module
    example_input: Any
    names: Names
    preprocessing: Any
    unused: tuple[str, ...] = ()
    classifier: Names = field(default_factory=dict)


def to_variables(
    architecture: Architecture, tensors: Mapping[str, np.ndarray], where: str
) -> tuple[dict, dict | None, list[str]]:
    """(variables, the classifier's variables or None, the names of unused tensors).

    where: the source of the tensors, for error messages. Raises WeightsError if a tensor is missing, unknown, of another shape
    or dtype, or not finite.
    """
    names, classifier = architecture.names, architecture.classifier
    if not _published(classifier) <= set(tensors):
        classifier = {}
    missing = _published(names) - set(tensors)
    if missing:
        raise WeightsError(f"{where}: missing {first_names(missing)}")
    known = _published(names) | _published(classifier)
    unused = [name for name in tensors if name not in known]
    unknown = {name for name in unused if not any(re.fullmatch(pattern, name) for pattern in architecture.unused)}
    if unknown:
        raise WeightsError(f"{where}: {type(architecture.module).__name__} has no parameters for {first_names(unknown)}")
    expected, width = _expected(architecture, where)  # after the checks of names: many layers take long
    flat = {path: _array(path, entry, tensors, expected[path], where) for path, entry in names.items()}
    head = _head(classifier, tensors, width, where) if classifier else None
    return unflatten_dict(flat, sep="/"), head, sorted(unused)


def to_tensors(names: Names, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Our variables -> {published name: tensor in its published layout}. Raises WeightsError for kernels in blocks."""
    kernels = [path for path, x in flatten_dict(dict(variables), sep="/").items() if isinstance(x, IntegerKernel)]
    if kernels:
        raise WeightsError(f"{kernels[0]} is in blocks, which cannot be saved; load the weights with keep_blocks=False")
    arrays = {path: np.asarray(array) for path, array in flatten_dict(dict(variables), sep="/").items()}
    differing = set(arrays) ^ set(names)
    if differing:
        raise WeightsError(f"the variables and the architecture differ in {first_names(differing)}")
    tensors: dict[str, np.ndarray] = {}
    slices: dict[str, dict[int, np.ndarray]] = {}
    for path, (name, layout) in names.items():
        array = layout.to_theirs(arrays[path])
        if layout.slice_index is not None:
            slices.setdefault(name, {})[layout.slice_index] = array
        else:
            tensors |= zip(name, array) if isinstance(name, tuple) else [(name, array)]
    return tensors | {name: np.concatenate([parts[n] for n in sorted(parts)]) for name, parts in slices.items()}


def _published(names: Names) -> set[str]:
    """All published names of a table."""
    return {one for name, _ in names.values() for one in (name if isinstance(name, tuple) else (name,))}


def _head(names: Names, tensors: Mapping[str, np.ndarray], width: int, where: str) -> dict[str, Any]:
    """The classifier's variables. width: of the module's tokens. The number of classes is read off the kernel."""
    classes = tensors[names["params/kernel"][0]].shape[:1]
    shapes = {"params/kernel": (width, *classes), "params/bias": classes}
    return unflatten_dict({path: _array(path, names[path], tensors, shape, where) for path, shape in shapes.items()}, sep="/")


def _expected(architecture: Architecture, where: str) -> tuple[dict[str, tuple[int, ...]], int]:
    """({our path: shape}, the width of the module's tokens if there is a classifier, else 0).

    Raises AssertionError if the paths are not exactly those of `architecture.names`: that is a mistake in our code.
    """
    try:
        out, variables = jax.eval_shape(architecture.module.init_with_output, jax.random.key(0), architecture.example_input)
    except Exception as error:  # impossible sizes fail in many ways
        reason = shown(str(error).partition("\n")[0])
        raise WeightsError(f"{where}: config.json describes an impossible module: {reason}") from error
    expected = {path: leaf.shape for path, leaf in flatten_dict(dict(variables), sep="/").items()}
    if set(expected) != set(architecture.names):
        raise AssertionError(f"{type(architecture.module).__name__}: names differ in {set(expected) ^ set(architecture.names)}")
    return expected, out.x.shape[-1] if architecture.classifier else 0


def _array(path: str, entry: tuple, tensors: Mapping[str, np.ndarray], shape: tuple[int, ...], where: str) -> Any:
    """The float32 array, or `IntegerKernel`, of one path. shape: the shape that our module expects."""
    name, layout = entry
    names = name if isinstance(name, tuple) else (name,)
    arrays = [tensors[one] for one in names]
    if isinstance(arrays[0], Blocks):
        return _kernel(path, names[0], arrays[0].map(layout.to_ours), shape, where)
    shapes = " and ".join(str(list(array.shape)) for array in arrays)
    for one, array in zip(names, arrays):
        if not (np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16"):
            raise WeightsError(f"{where}: {one} is {array.dtype.name}; it must be floating point")
    size = sum(array.size for array in arrays)
    if layout.slice_index is None and size != math.prod(shape):  # before a layout copies it
        raise WeightsError(f"{where}: {name} of shape {shapes} gives {size} numbers, but {path} must be {list(shape)}")
    try:
        found = layout.to_ours(*arrays)
    except (ValueError, IndexError) as error:
        raise WeightsError(f"{where}: {name} of shape {shapes} cannot become {path}: {shown(error)}") from error
    if found.shape != shape:
        raise WeightsError(f"{where}: {name} of shape {shapes} gives {list(found.shape)}, but {path} must be {list(shape)}")
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.array(found, np.float32)  # a copy: the tensors are views of a file
    if not np.isfinite(found).all():
        raise WeightsError(f"{where}: {name} has values that are NaN or infinite; all weights must be finite")
    return found


def _kernel(path: str, name: str, blocks: Blocks, shape: tuple[int, ...], where: str) -> IntegerKernel:
    """The kernel of a dense layer that stays in blocks. blocks: in our layout, [i o]."""
    if blocks.integers.shape != shape:
        raise WeightsError(f"{where}: {name} gives {list(blocks.integers.shape)}, but {path} must be {list(shape)}")
    if not all(np.isfinite(x).all() for x in blocks[1:] if x is not None):
        raise WeightsError(f"{where}: {name} has scales that are NaN or infinite; all weights must be finite")
    values, scale, minimum = (None if x is None else np.ascontiguousarray(x) for x in blocks)
    return IntegerKernel(four_bits(values) if values.dtype == np.uint8 else values, scale, minimum)


def example_array(*shape: int) -> np.ndarray:
    """Zeros for an `Architecture.example_input`, float32 [*shape], which take no memory."""
    return np.broadcast_to(np.float32(0), shape)
