"""The names and layouts of published tensors, as tables that are followed in both directions: loading and saving.

    names = {"params/embed/kernel": ("embeddings.weight", DENSE), **dense("params/head", "classifier")}

A key is our path: its parts are joined by "/" and begin with the collection, "params" or "batch_stats". A value is the
published name, or several, and the layout.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "CLASS_TOKEN", "CONV", "CONV_TIME", "DENSE", "POSITIONS", "SAME", "BlockNames", "Layout", "Names", "batch_norm", "dense",
    "norm", "patches", "split_rows",
]


@dataclass(frozen=True)
class Layout:
    """to_ours: published array(s) -> our array. to_theirs: our array -> published array, or a tuple if there are several.

    slice_index: the position of our array among the equal slices of one published tensor along its first axis; None if it is
    the complete tensor.
    """

    to_ours: Callable[..., np.ndarray]
    to_theirs: Callable[[np.ndarray], Any]
    slice_index: int | None = None


SAME = Layout(lambda x: x, lambda x: x)
DENSE = Layout(np.transpose, np.transpose)  # [out in] <-> [in out]
CONV = Layout(lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1))  # [out in h w] <-> [h w in out]
CONV_TIME = Layout(lambda x: x.transpose(2, 1, 0), lambda x: x.transpose(2, 1, 0))  # [out in k] <-> [k in out]
CLASS_TOKEN = Layout(lambda x: x.reshape(x.shape[-1]), lambda x: x.reshape(1, 1, -1))  # [1 1 d] <-> [d]
POSITIONS = Layout(lambda x: x[0], lambda x: x[None])  # [1 n d] <-> [n d]


def split_rows(layout: Layout, count: int) -> list[Layout]:
    """`count` equal slices of a tensor along its first axis, each in `layout`: for instance a joint query, key and value."""

    def part(index):
        return Layout(lambda x: layout.to_ours(np.split(x, count)[index]), layout.to_theirs, index)

    return [part(index) for index in range(count)]


def patches(*sides: int) -> Layout:
    """The kernel of a convolution whose stride is its size, [out in *sides] <-> [prod(sides) in, out] of our matmul."""
    n = len(sides)

    def to_ours(x):
        return np.moveaxis(x, (0, 1), (-1, -2)).reshape(-1, x.shape[0])

    def to_theirs(x):
        return np.moveaxis(x.reshape(*sides, -1, x.shape[-1]), (n + 1, n), (0, 1))

    return Layout(to_ours, to_theirs)


Names = dict[str, tuple[str | tuple[str, ...], Layout]]


def dense(ours: str, theirs: str, bias: bool = True, layout: Layout = DENSE) -> Names:
    """A dense layer; with another layout a convolution, or an embedding that is computed by a matmul."""
    names: Names = {f"{ours}/kernel": (f"{theirs}.weight", layout)}
    return names | ({f"{ours}/bias": (f"{theirs}.bias", SAME)} if bias else {})


def norm(ours: str, theirs: str) -> Names:
    """A layer norm."""
    return {f"{ours}/scale": (f"{theirs}.weight", SAME), f"{ours}/bias": (f"{theirs}.bias", SAME)}


def batch_norm(ours: str, theirs: str) -> Names:
    """A batch norm with its running statistics. ours: our path without the collection, such as "stage1_block1_conv1/norm"."""
    statistics: Names = {f"batch_stats/{ours}/{name}": (f"{theirs}.running_{name}", SAME) for name in ("mean", "var")}
    return norm(f"params/{ours}", theirs) | statistics


@dataclass(frozen=True)
class BlockNames:
    """The published names of a Transformer block's layers, without the prefix of the block."""

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
        """All parameters of `mmjax.nn.Block` except layer scales. ours: the block's path. theirs: its prefix, without a dot."""
        names: Names = {}
        for part in ("query", "key", "value", "out"):
            bias = part != "key" or self.key_bias
            names |= dense(f"{ours}/attention/{part}", f"{theirs}.{getattr(self, part)}", bias)
        for part in ("up", "down"):
            names |= dense(f"{ours}/{part}", f"{theirs}.{getattr(self, part)}")
        return names | norm(f"{ours}/norm1", f"{theirs}.{self.norm1}") | norm(f"{ours}/norm2", f"{theirs}.{self.norm2}")
