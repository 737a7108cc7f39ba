"""How tensors lie in other people's files, and how in ours: names and layouts, to be followed in both directions.

    names = {"params/embed/kernel": ("embeddings.weight", DENSE), **dense("params/head", "classifier")}

Our path comes first; its parts are joined by "/" and begin with the collection, "params" or "batch_stats".
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mmjax.pretrained.files import WeightsError, few


@dataclass(frozen=True)
class Layout:
    """ours: their array(s) -> ours; theirs: ours -> theirs, a tuple where ours is made of several. piece: which piece of
    theirs along its first axis ours is, where several of ours make one of theirs; None for all of it."""

    ours: Callable[..., np.ndarray]
    theirs: Callable[[np.ndarray], Any]
    piece: int | None = None


SAME = Layout(lambda x: x, lambda x: x)
DENSE = Layout(np.transpose, np.transpose)  # [out in] <-> [in out]
CONV = Layout(lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1))  # [out in h w] <-> [h w in out]
CONV_TIME = Layout(lambda x: x.transpose(2, 1, 0), lambda x: x.transpose(2, 1, 0))  # [out in k] <-> [k in out]
FIRST = Layout(lambda x: x.reshape(x.shape[-1]), lambda x: x.reshape(1, 1, -1))  # [1 1 d] <-> [d]: a class token
POSITIONS = Layout(lambda x: x[0], lambda x: x[None])  # [1 n d] <-> [n d]


def pieces(layout: Layout, count: int) -> list[Layout]:
    """`count` equal pieces of a tensor along its first axis, each in this layout: query, key and value in one, for instance."""

    def cut(number):
        return Layout(lambda x: layout.ours(np.split(x, count)[number]), layout.theirs, number)

    return [cut(number) for number in range(count)]


def patches(*sides: int) -> Layout:
    """The kernel of a convolution whose stride is its size, [out in *sides] <-> [prod(sides) in, out] of our matmul."""
    n = len(sides)

    def ours(x):
        return np.moveaxis(x, (0, 1), (-1, -2)).reshape(-1, x.shape[0])

    def theirs(x):
        return np.moveaxis(x.reshape(*sides, -1, x.shape[-1]), (n + 1, n), (0, 1))

    return Layout(ours, theirs)


Names = dict[str, tuple[str | tuple[str, ...], Layout]]


def dense(ours: str, theirs: str, bias: bool = True, layout: Layout = DENSE) -> Names:
    """A dense layer; with another layout a convolution, or an embedding as a matmul."""
    names: Names = {f"{ours}/kernel": (f"{theirs}.weight", layout)}
    return names | ({f"{ours}/bias": (f"{theirs}.bias", SAME)} if bias else {})


def norm(ours: str, theirs: str) -> Names:
    """A layer norm."""
    return {f"{ours}/scale": (f"{theirs}.weight", SAME), f"{ours}/bias": (f"{theirs}.bias", SAME)}


def batch_norm(ours: str, theirs: str) -> Names:
    """A batch norm with its running statistics; ours without collection, "stage1_block1_conv1/norm"."""
    statistics: Names = {f"batch_stats/{ours}/{mine}": (f"{theirs}.running_{mine}", SAME) for mine in ("mean", "var")}
    return norm(f"params/{ours}", theirs) | statistics


@dataclass(frozen=True)
class BlockNames:
    """What a Transformer block's parts are called after the block's own prefix."""

    query: str
    key: str
    value: str
    out: str
    up: str
    down: str
    norm1: str
    norm2: str
    key_bias: bool = True

    def at(self, ours: str, theirs: str) -> Names:
        """All of `mmjax.nn.Block`'s parameters but layer scales; ours, theirs: the block's path and prefix, without the dot."""
        names: Names = {}
        for part in ("query", "key", "value", "out"):
            bias = part != "key" or self.key_bias
            names |= dense(f"{ours}/attention/{part}", f"{theirs}.{getattr(self, part)}", bias)
        for part in ("up", "down"):
            names |= dense(f"{ours}/{part}", f"{theirs}.{getattr(self, part)}")
        return names | norm(f"{ours}/norm1", f"{theirs}.{self.norm1}") | norm(f"{ours}/norm2", f"{theirs}.{self.norm2}")


@dataclass(frozen=True)
class Architecture:
    """A published model as one of our modules.

    module; given: an input whose shapes its parameters are made for; names: of all its parameters; unused: regular expressions
    of tensors that it has no use for, matched whole, such as a head for pretraining; preprocessing: raw examples -> `given`, by
    `read` of one on the host and a jitted `finish` of many; classifier: names of "params/kernel" and "params/bias" of the
    published classifier, {} without.
    """

    module: nn.Module
    given: Any
    names: Names
    preprocessing: Any
    unused: tuple[str, ...] = ()
    classifier: Names = field(default_factory=dict)


def ours(architecture: Architecture, tensors: Mapping[str, np.ndarray], where: str) -> tuple[dict, dict | None, list[str]]:
    """(variables, the classifier's variables or None, the names of the tensors without use). Raises WeightsError with names."""
    expected, width = _expected(architecture, where)
    names, classifier = architecture.names, architecture.classifier
    if not _needed(classifier) <= set(tensors):
        classifier = {}
    missing = _needed(names) - set(tensors)
    if missing:
        raise WeightsError(f"{where}: missing {few(missing)}")
    known = _needed(names) | _needed(classifier)
    unused = [name for name in tensors if name not in known]
    surplus = {name for name in unused if not any(re.fullmatch(pattern, name) for pattern in architecture.unused)}
    if surplus:
        raise WeightsError(f"{where}: {few(surplus)} belong to nothing in {type(architecture.module).__name__}")
    flat = {path: _one(path, entry, tensors, expected[path], where) for path, entry in names.items()}
    head = _head(classifier, tensors, width, where) if classifier else None
    return unflatten_dict(flat, sep="/"), head, sorted(unused)


def theirs(names: Names, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The tensors under their names and in their layout."""
    given = {path: np.asarray(array) for path, array in flatten_dict(dict(variables), sep="/").items()}
    differing = set(given) ^ set(names)
    if differing:
        raise WeightsError(f"the variables and the architecture differ in {few(differing)}")
    tensors: dict[str, np.ndarray] = {}
    cut: dict[str, dict[int, np.ndarray]] = {}
    for path, (name, layout) in names.items():
        back = layout.theirs(given[path])
        if layout.piece is not None:
            cut.setdefault(name, {})[layout.piece] = back
        else:
            tensors |= zip(name, back) if isinstance(name, tuple) else [(name, back)]
    return tensors | {name: np.concatenate([held[n] for n in sorted(held)]) for name, held in cut.items()}


def _needed(names: Names) -> set[str]:
    return {one for name, _ in names.values() for one in (name if isinstance(name, tuple) else (name,))}


def _head(names: Names, tensors: Mapping[str, np.ndarray], width: int, where: str) -> dict:
    """The classifier's variables. width: of the module's tokens; how many classes there are is read off its kernel."""
    classes = tensors[names["params/kernel"][0]].shape[:1]
    shapes = {"params/kernel": (width, *classes), "params/bias": classes}
    return unflatten_dict({path: _one(path, names[path], tensors, shape, where) for path, shape in shapes.items()}, sep="/")


def _expected(architecture: Architecture, where: str) -> tuple[dict[str, tuple[int, ...]], int]:
    """({our path: shape}, the width of what the module returns where it has a classifier, else 0). The paths must be exactly
    what `names` has: anything else is a mistake in our own file."""
    try:
        out, variables = jax.eval_shape(architecture.module.init_with_output, jax.random.key(0), architecture.given)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise WeightsError(f"{where}: config.json describes a module that cannot be: {error}") from error
    expected = {path: leaf.shape for path, leaf in flatten_dict(dict(variables), sep="/").items()}
    if set(expected) != set(architecture.names):
        raise AssertionError(f"{type(architecture.module).__name__}: names differ in {set(expected) ^ set(architecture.names)}")
    return expected, out.x.shape[-1] if architecture.classifier else 0


def _one(path: str, entry: tuple, tensors: Mapping[str, np.ndarray], shape: tuple[int, ...], where: str) -> np.ndarray:
    """The array of one path, float32. shape: what it must have."""
    name, layout = entry
    arrays = [tensors[one] for one in (name if isinstance(name, tuple) else (name,))]
    for one, array in zip(name if isinstance(name, tuple) else (name,), arrays):
        if not (np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16"):
            raise WeightsError(f"{where}: {one} is {array.dtype.name}, and must be of floating point")
    try:
        found = np.asarray(layout.ours(*arrays), np.float32)
    except (ValueError, IndexError) as error:
        shapes = " and ".join(str(list(array.shape)) for array in arrays)
        raise WeightsError(f"{where}: {name} has the shape {shapes}, which cannot become {path}: {error}") from error
    if found.shape != shape:
        raise WeightsError(
            f"{where}: {name} of shape {list(arrays[0].shape)} gives {list(found.shape)}, but {path} is {list(shape)}"
        )
    return found
