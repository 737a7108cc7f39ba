"""Reads a GGUF file: metadata and tensors, which are dequantised when they are used (ggml's docs/gguf.md, versions 2 and 3).

The format: "GGUF"; u32 version; u64 numbers of tensors and of entries; entries of metadata (name, u32 type, value); for each
tensor its name, u32 number of sizes, u64 sizes (the last axis first), u32 type and u64 offset; padding; the data. A name is a
u64 length and its bytes. Integers are little-endian. Every count, length and offset is compared with the size of the file
before anything is allocated.
"""

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmjax.pretrained.files import WeightsError, shown
from mmjax.pretrained.ggml import GGML_TYPES, Blocks, GGMLType, dequantize, kept

__all__ = ["GGUF", "MAX_STRINGS", "NUMBERS", "GGUFTensor", "LazyTensors", "read_gguf"]

NUMBERS = {0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "<u1", 10: "<u8", 11: "<i8", 12: "<f8"}
"""Number of a value's type -> dtype. 7 is a Boolean, 8 a string, 9 an array."""
_BOOL, _STRING, _ARRAY = 7, 8, 9
MAX_STRINGS = 2_000_000
"""All strings of a file, metadata and names. The largest published vocabularies have 560,000 tokens and merges."""
_MAX_TENSORS, _MAX_SIZES, _MAX_NAME = 100_000, 4, 1000


class GGUFTensor(NamedTuple):
    """kind: of its blocks. shape: of the array. data: all its blocks, a view of the file."""

    kind: GGMLType
    shape: tuple[int, ...]
    data: np.ndarray

    def array(self) -> np.ndarray:
        """The float32 numbers."""
        return dequantize(self.kind, self.data, self.shape)

    def blocks(self) -> Blocks | None:
        """The integers with their scales and minima, None if there are none."""
        return kept(self.kind, self.data, self.shape)


@dataclass(frozen=True)
class GGUF:
    """The content of a file. metadata: {name: value}; arrays of numbers are NumPy arrays, arrays of strings lists."""

    file: Path
    metadata: Mapping[str, Any] = field(repr=False)
    tensors: Mapping[str, GGUFTensor] = field(repr=False)

    def get(self, name: str, kind: type, default: Any = None) -> Any:
        """A value of the metadata; None as default if it is required. Raises WeightsError for another type."""
        value = self.metadata.get(name, default)
        if value is None:
            raise WeightsError(f"{self.file}: its metadata lacks {shown(name)}")
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            wanted = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}.get(kind, "an array")
            raise WeightsError(f"{self.file}: {shown(name)} is {shown(repr(value), 60)}; it must be {wanted}")
        return value


@dataclass(frozen=True)
class LazyTensors(Mapping[str, np.ndarray]):
    """{name: float32 array or `Blocks`}, each made when it is used. makers: {name: () -> array}."""

    makers: Mapping[str, Any] = field(repr=False)

    def __getitem__(self, name: str) -> np.ndarray | Blocks:
        return self.makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self.makers)

    def __len__(self) -> int:
        return len(self.makers)


def read_gguf(file: Path) -> GGUF:
    """The metadata and tensors of a file. Raises WeightsError, in one line, if it is damaged or has unsupported types."""
    try:
        size = file.stat().st_size
        if size < 24:
            raise ValueError(f"it has {size} bytes")
        data = np.memmap(file, np.uint8, "r")
        return _read(file, _Reader(memoryview(data)), data)
    except OSError as error:
        raise WeightsError(f"{file}: it cannot be read: {error.strerror}") from error
    except (ValueError, struct.error) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{file}: not a complete GGUF file: {shown(error)}") from error


@dataclass
class _Reader:
    """Reads `data` from the position `at`, never beyond the end. strings: how many more may be read."""

    data: memoryview
    at: int = 0
    strings: int = MAX_STRINGS

    def take(self, size: int) -> memoryview:
        if size > len(self.data) - self.at:
            raise ValueError(f"{size:,} bytes are expected at byte {self.at:,}, but it ends after {len(self.data):,}")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, kind: str) -> int:
        return struct.unpack(f"<{kind}", self.take(struct.calcsize(kind)))[0]

    def string(self) -> str:
        self.strings -= 1
        if self.strings < 0:
            raise ValueError(f"it has more than {MAX_STRINGS:,} strings")
        return str(self.take(self.number("Q")), "utf-8")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            inner, count = self.number("I"), self.number("Q")
            if inner == _STRING:
                self._fits(count, 8)
                return [self.string() for _ in range(count)]
            if inner not in NUMBERS:
                raise ValueError(f"an array before byte {self.at:,} has the unknown type {inner}")
            dtype = np.dtype(NUMBERS[inner])
            self._fits(count, dtype.itemsize)
            return np.frombuffer(self.take(count * dtype.itemsize), dtype)
        if kind not in NUMBERS:
            raise ValueError(f"a value before byte {self.at:,} has the unknown type {kind}")
        value = np.frombuffer(self.take(np.dtype(NUMBERS[kind]).itemsize), NUMBERS[kind])[0].item()
        return bool(value) if kind == _BOOL else value

    def _fits(self, count: int, size: int) -> None:
        if count > (len(self.data) - self.at) // size or (size == 8 and count > max(self.strings, 2**26)):
            raise ValueError(f"an array before byte {self.at:,} has {count:,} entries, but it has {len(self.data):,} bytes")


def _read(file: Path, reader: _Reader, data: np.ndarray) -> GGUF:
    if bytes(reader.take(4)) != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    version = reader.number("I")
    if version not in (2, 3):
        raise ValueError(f"its version is {version}; supported are 2 and 3, little-endian")
    tensors, entries = reader.number("Q"), reader.number("Q")
    if tensors > _MAX_TENSORS or entries > _MAX_TENSORS:
        raise ValueError(f"it should have {tensors:,} tensors and {entries:,} entries; at most {_MAX_TENSORS:,} are supported")
    metadata: dict[str, Any] = {}
    for _ in range(entries):
        name = reader.string()
        if name in metadata:
            raise ValueError(f"{shown(name, 60)} occurs twice")
        metadata[name] = reader.value(reader.number("I"))
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 2**20 or alignment & (alignment - 1):
        raise ValueError(f"general.alignment is {shown(repr(alignment), 60)}; it must be a power of two")
    described = [_described(reader) for _ in range(tensors)]
    start = -(-reader.at // alignment) * alignment
    return GGUF(file, metadata, _placed(described, data[start:], alignment))


def _described(reader: _Reader) -> tuple[str, tuple[int, ...], GGMLType, int]:
    """(name, shape, type, offset) of the next tensor."""
    name, count = reader.string(), reader.number("I")
    if not name or len(name) > _MAX_NAME or not 1 <= count <= _MAX_SIZES:
        raise ValueError(f"the tensor {shown(name, 60)!r} has {count} axes; it must have a name and 1 to {_MAX_SIZES} axes")
    shape = tuple(reader.number("Q") for _ in range(count))[::-1]
    kind, offset = reader.number("I"), reader.number("Q")
    if kind not in GGML_TYPES:
        known = ", ".join(one.name for one in GGML_TYPES.values())
        raise ValueError(f"{shown(name, 60)} has the type {kind}; supported are {known}")
    if min(shape) < 1 or shape[-1] % GGML_TYPES[kind].count:
        wanted = f"rows of a multiple of {GGML_TYPES[kind].count} numbers"
        raise ValueError(f"{shown(name, 60)} has shape {shown(list(shape), 60)}; {GGML_TYPES[kind].name} needs {wanted}")
    return name, shape, GGML_TYPES[kind], offset


def _placed(described: list, data: np.ndarray, alignment: int) -> dict[str, GGUFTensor]:
    """Views of the data. Raises ValueError if a tensor is outside of it, misplaced, or overlaps another one."""
    tensors: dict[str, GGUFTensor] = {}
    end = 0
    for name, shape, kind, offset in sorted(described, key=lambda one: one[3]):
        size = math.prod(shape) // kind.count * kind.size
        if name in tensors:
            raise ValueError(f"the tensor {shown(name, 60)} occurs twice")
        if offset % alignment or offset < end:
            raise ValueError(f"{shown(name, 60)} begins at byte {offset:,} of the data, inside another tensor or misaligned")
        end = offset + size
        if end > len(data):
            raise ValueError(f"{shown(name, 60)} should end at byte {end:,} of the data, which has {len(data):,}")
        tensors[name] = GGUFTensor(kind, shape, data[offset:end])
    return tensors
