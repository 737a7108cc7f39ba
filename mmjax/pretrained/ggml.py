"""Blocks of quantised numbers as in ggml -> float32 (ggml's ggml-common.h and ggml-quants.c).

A row of a tensor is a sequence of blocks. Each block has scales in half precision and small integers. Functions take blocks as
bytes [b size] and return their numbers [b count].
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, UInt8

__all__ = ["GGML_TYPES", "GGMLType", "dequantize"]

_Bytes = UInt8[np.ndarray, "b size"]
_Numbers = Float32[np.ndarray, "b count"]


class GGMLType(NamedTuple):
    """One type. name: in ggml. count: numbers of a block. size: bytes of a block. numbers: blocks -> numbers."""

    name: str
    count: int
    size: int
    numbers: Callable[[_Bytes], _Numbers]


def dequantize(kind: GGMLType, data: UInt8[np.ndarray, " bytes"], shape: tuple[int, ...]) -> Float32[np.ndarray, "..."]:
    """The float32 numbers of a tensor of this shape. data: all its blocks."""
    with np.errstate(all="ignore"):  # scales may be anything; who uses the numbers checks that they are finite
        return kind.numbers(data.reshape(-1, kind.size)).reshape(shape)


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


def _q4_0(blocks: _Bytes) -> _Numbers:
    return _half(blocks, 0) * (_nibbles(blocks[:, 2:]).astype(np.int8) - 8)


def _q4_1(blocks: _Bytes) -> _Numbers:
    return _half(blocks, 0) * _nibbles(blocks[:, 4:]) + _half(blocks, 2)


def _q5_0(blocks: _Bytes) -> _Numbers:
    fifth = _bits(blocks[:, 2:6]) << 4
    return _half(blocks, 0) * ((_nibbles(blocks[:, 6:]) | fifth).astype(np.int8) - 16)


def _q5_1(blocks: _Bytes) -> _Numbers:
    fifth = _bits(blocks[:, 4:8]) << 4
    return _half(blocks, 0) * (_nibbles(blocks[:, 8:]) | fifth) + _half(blocks, 2)


def _q8_0(blocks: _Bytes) -> _Numbers:
    return _half(blocks, 0) * blocks[:, 2:].view(np.int8)


def _scales(packed: UInt8[np.ndarray, "b 12"]) -> tuple[UInt8[np.ndarray, "b 8"], UInt8[np.ndarray, "b 8"]]:
    """Eight scales and eight minima of six bits each; the last four have their high bits in the first eight bytes."""
    first, second, last = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([first & 63, (last & 15) | (first >> 6) << 4], axis=1)
    return scales, np.concatenate([second & 63, (last >> 4) | (second >> 6) << 4], axis=1)


def _with_minima(blocks: _Bytes, quants: UInt8[np.ndarray, "b 8 32"]) -> _Numbers:
    scales, minima = _scales(blocks[:, 4:16])
    scales, minima = _half(blocks, 0) * scales, _half(blocks, 2) * minima
    return (scales[..., None] * quants - minima[..., None]).reshape(-1, 256)


def _q4_k(blocks: _Bytes) -> _Numbers:
    return _with_minima(blocks, _nibbles(blocks[:, 16:].reshape(-1, 4, 32)).reshape(-1, 8, 32))


def _q5_k(blocks: _Bytes) -> _Numbers:
    low = _nibbles(blocks[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    fifth = blocks[:, 16:48, None] >> np.arange(8, dtype=np.uint8) & 1  # bit j of byte i is of number i in group j
    return _with_minima(blocks, low | fifth.swapaxes(1, 2) << 4)


def _q6_k(blocks: _Bytes) -> _Numbers:
    """Two halves of 128 numbers: 64 bytes of low four bits, 32 bytes of high two bits, and 8 scales each."""
    low = _nibbles(blocks[:, :128].reshape(-1, 2, 64)).reshape(-1, 2, 4, 32)
    high = blocks[:, 128:192].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1) & 3
    quants = ((low | high << 4).astype(np.int8) - 32).reshape(-1, 16, 16)
    scales = _half(blocks, 208) * blocks[:, 192:208].view(np.int8)
    return (scales[..., None] * quants).reshape(-1, 256)


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
