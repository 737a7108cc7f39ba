"""Blocks of quantised numbers as in ggml (ggml's ggml-common.h and ggml-quants.c).

A row of a tensor is a sequence of blocks. Each block has groups of small integers, and for each group a scale and often a
minimum: number = scale * integer + minimum. Functions take blocks as bytes [b size].
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, UInt8

__all__ = ["GGML_TYPES", "Blocks", "GGMLType", "dequantize", "kept"]

_Bytes = UInt8[np.ndarray, "b size"]
_Numbers = Float32[np.ndarray, "b count"]


class Blocks(NamedTuple):
    """Groups of integers. integers: int8, or uint8 for integers of four bits, [b g n], or [... columns] of a tensor. scale,
    minimum: float32 [b g], or [... groups]; minimum None for zero."""

    integers: np.ndarray
    scale: np.ndarray
    minimum: np.ndarray | None = None

    def numbers(self) -> np.ndarray:
        """[b g n]."""
        found = self.scale[..., None] * self.integers
        return found if self.minimum is None else found + self.minimum[..., None]

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> "Blocks":
        """A function of each array."""
        return Blocks(*(None if x is None else function(x) for x in self))


class GGMLType(NamedTuple):
    """One type. name: in ggml. count: numbers of a block. size: bytes of a block. read: blocks -> their groups, or their
    numbers [b count] if these are not quantised."""

    name: str
    count: int
    size: int
    read: Callable[[_Bytes], Any]


def dequantize(kind: GGMLType, data: UInt8[np.ndarray, " bytes"], shape: tuple[int, ...]) -> Float32[np.ndarray, "..."]:
    """The float32 numbers of a tensor of this shape. data: all its blocks."""
    with np.errstate(all="ignore"):  # scales may be anything; who uses the numbers checks that they are finite
        found = kind.read(data.reshape(-1, kind.size))
        return (found.numbers() if isinstance(found, Blocks) else found).reshape(shape)


def kept(kind: GGMLType, data: UInt8[np.ndarray, " bytes"], shape: tuple[int, ...]) -> Blocks | None:
    """The integers [*shape] of a tensor, with scales and minima [*shape[:-1], groups of a row]. None if it has no integers."""
    with np.errstate(all="ignore"):
        found = kind.read(data.reshape(-1, kind.size))
    if not isinstance(found, Blocks):
        return None
    groups = None if found.minimum is None else found.minimum.reshape(*shape[:-1], -1)
    return Blocks(found.integers.reshape(shape), found.scale.reshape(*shape[:-1], -1), groups)


def _plain(dtype: np.dtype) -> Callable[[_Bytes], _Numbers]:
    return lambda blocks: blocks.reshape(-1).view(dtype).astype(np.float32)[:, None]


def _half(blocks: _Bytes, at: int) -> _Numbers:
    """The number in half precision at byte `at` of each block, [b 1]."""
    return blocks[:, at : at + 2].copy().view("<f2").astype(np.float32)


def _nibbles(packed: UInt8[np.ndarray, "... n"]) -> UInt8[np.ndarray, "... m"]:
    """The low halves of n bytes, then the high halves."""
    return np.concatenate([packed & 15, packed >> 4], axis=-1)


def _bits(packed: UInt8[np.ndarray, "b n"]) -> UInt8[np.ndarray, "b m"]:
    """The bits of n bytes, lowest first."""
    return np.unpackbits(packed, axis=-1, bitorder="little")


def _q4_0(blocks: _Bytes) -> Blocks:
    return Blocks(_nibbles(blocks[:, None, 2:]), _half(blocks, 0), -8 * _half(blocks, 0))


def _q4_1(blocks: _Bytes) -> Blocks:
    return Blocks(_nibbles(blocks[:, None, 4:]), _half(blocks, 0), _half(blocks, 2))


def _q5_0(blocks: _Bytes) -> Blocks:
    integers = (_nibbles(blocks[:, 6:]) | _bits(blocks[:, 2:6]) << 4).astype(np.int8) - 16
    return Blocks(integers[:, None], _half(blocks, 0))


def _q5_1(blocks: _Bytes) -> Blocks:
    integers = (_nibbles(blocks[:, 8:]) | _bits(blocks[:, 4:8]) << 4).astype(np.int8)
    return Blocks(integers[:, None], _half(blocks, 0), _half(blocks, 2))


def _q8_0(blocks: _Bytes) -> Blocks:
    return Blocks(blocks[:, None, 2:].view(np.int8), _half(blocks, 0))


def _scales(packed: UInt8[np.ndarray, "b 12"]) -> tuple[UInt8[np.ndarray, "b 8"], UInt8[np.ndarray, "b 8"]]:
    """Eight scales and eight minima of six bits each; the last four have their high bits in the first eight bytes."""
    first, second, last = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([first & 63, (last & 15) | (first >> 6) << 4], axis=1)
    return scales, np.concatenate([second & 63, (last >> 4) | (second >> 6) << 4], axis=1)


def _with_minima(blocks: _Bytes, integers: np.ndarray) -> Blocks:
    """integers: [b 8 32]."""
    scales, minima = _scales(blocks[:, 4:16])
    return Blocks(integers, _half(blocks, 0) * scales, -(_half(blocks, 2) * minima))


def _q4_k(blocks: _Bytes) -> Blocks:
    return _with_minima(blocks, _nibbles(blocks[:, 16:].reshape(-1, 4, 32)).reshape(-1, 8, 32))


def _q5_k(blocks: _Bytes) -> Blocks:
    low = _nibbles(blocks[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    fifth = blocks[:, 16:48, None] >> np.arange(8, dtype=np.uint8) & 1  # bit j of byte i is of number i in group j
    return _with_minima(blocks, (low | fifth.swapaxes(1, 2) << 4).astype(np.int8))


def _q6_k(blocks: _Bytes) -> Blocks:
    """Two halves of 128 numbers: 64 bytes of low four bits, 32 bytes of high two bits, and 8 scales each."""
    low = _nibbles(blocks[:, :128].reshape(-1, 2, 64)).reshape(-1, 2, 4, 32)
    high = blocks[:, 128:192].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1) & 3
    integers = ((low | high << 4).astype(np.int8) - 32).reshape(-1, 16, 16)
    return Blocks(integers, _half(blocks, 208) * blocks[:, 192:208].view(np.int8))


GGML_TYPES = {
    0: GGMLType("F32", 1, 4, _plain(np.dtype("<f4"))),
    1: GGMLType("F16", 1, 2, _plain(np.dtype("<f2"))),
    2: GGMLType("Q4_0", 32, 18, _q4_0),
    3: GGMLType("Q4_1", 32, 20, _q4_1),
    6: GGMLType("Q5_0", 32, 22, _q5_0),
    7: GGMLType("Q5_1", 32, 24, _q5_1),
    8: GGMLType("Q8_0", 32, 34, _q8_0),
    12: GGMLType("Q4_K", 256, 144, _q4_k),
    13: GGMLType("Q5_K", 256, 176, _q5_k),
    14: GGMLType("Q6_K", 256, 210, _q6_k),
    30: GGMLType("BF16", 1, 2, _plain(np.dtype(jnp.bfloat16))),
}
"""ggml's number of a type -> the type."""
