"""Reads pickles of NumPy arrays without executing any code of a pickle.

A pickle names functions that the reader calls. Here it gets stand-ins for the few that arrays need; they check the sizes and
build the arrays. Everything else is refused. `pickle.load` is never used.
"""

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.data.decode import DataError

__all__ = ["DTYPE", "MAX_CHARACTER", "MAX_DEPTH", "REFUSED", "load_arrays_pickle", "read_arrays_pickle"]

DTYPE = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248]|[SU]\d{1,6}|O8?|\?)")
REFUSED = "PERSID BINPERSID EXT1 EXT2 EXT4 INST OBJ NEWOBJ NEWOBJ_EX NEXT_BUFFER READONLY_BUFFER".split()
MAX_DEPTH, MAX_CHARACTER = 50, 0x10FFFF


class _Refused(Exception):
    """The pickle has something other than arrays and builtins."""


def read_arrays_pickle(file: Path) -> Any:
    """The content of a pickle: dicts, lists, tuples, sets, texts, bytes, numbers and NumPy arrays.

    Pickles of Python 2 are read too. Raises DataError, in one line, for a damaged file and for any other content.
    """
    try:
        with file.open("rb") as data:
            return load_arrays_pickle(data, str(file))
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}; it must be a pickle of arrays") from None


def load_arrays_pickle(data: io.BufferedIOBase, name: str) -> Any:
    """`read_arrays_pickle` of an open, seekable file, from its position. name: the file's name in errors."""
    start = data.tell()
    try:
        _check(data)
        data.seek(start)
        return _plain(_unpickler(data).load(), 0, {})
    except OSError:
        raise
    except _Refused as error:
        raise DataError(f"{name}: the pickle has {error}; only NumPy arrays and Python's builtin values are read") from None
    except Exception as error:  # a malformed pickle can raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(f"{name}: the pickle is damaged ({reason}); it should be a complete file of NumPy arrays") from None


def _check(data: Any) -> None:
    """Refuses operations that arrays do not need. A huge index in a PUT would fill the memory."""
    count = 0
    for step, given, _ in pickletools.genops(data):
        count += 1
        if step.name in REFUSED or (step.name.endswith("PUT") and int(given) > count):
            raise _Refused(f"the operation {step.name}")


class _Array:
    """A stand-in for `numpy.ndarray` that a pickle sets up."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self.array = _array(shape, dtype, bool(fortran), data)


class _Dtype:
    """A stand-in for `numpy.dtype`."""

    def __init__(self, name: Any, *_: Any):
        if not isinstance(name, str) or not DTYPE.fullmatch(name):
            raise _Refused(f"the dtype {name!r:.60}")
        self.name = name

    def __setstate__(self, state: Any) -> None:
        order, parts = state[1], state[3] if len(state) > 3 else None
        if parts is not None or order not in ("<", ">", "|", "="):
            raise _Refused("a dtype of several fields")
        self.name = self.name.lstrip("<>|=") if order == "|" else order + self.name.lstrip("<>|=")


def _array(shape: Any, dtype: Any, fortran: bool, data: Any) -> np.ndarray:
    """Raises _Refused unless the data have the size that the shape and the dtype say."""
    if not isinstance(dtype, _Dtype) or not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise _Refused("an array without shape and dtype")
    kind, order = np.dtype(dtype.name), "F" if fortran else "C"
    count = math.prod(shape)
    if kind.hasobject:
        if not isinstance(data, list) or len(data) != count:
            raise _Refused(f"an array of {count} objects without its values")
        array = np.empty(count, object)
        for number, value in enumerate(data):
            array[number] = value
        return array.reshape(shape, order=order)
    data = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(data, (bytes, bytearray)) or len(data) != count * kind.itemsize:
        raise _Refused(f"an array {kind}{list(shape)} of another number of bytes")
    if kind.kind == "b":
        return (np.frombuffer(bytes(data), np.uint8) != 0).reshape(shape, order=order)
    if kind.kind == "U" and (np.frombuffer(bytes(data), np.dtype("u4").newbyteorder(kind.byteorder)) > MAX_CHARACTER).any():
        raise _Refused("a text with an invalid character")
    return np.frombuffer(bytes(data), kind).reshape(shape, order=order)


def _unpickler(data: Any) -> pickle.Unpickler:
    """An unpickler with stand-ins of its own, since a pickle can modify what it is given."""
    array, dtype = type("ndarray", (_Array,), {}), type("dtype", (_Dtype,), {})
    known: dict[str, Any] = {"numpy.ndarray": array, "numpy.dtype": dtype}
    known["collections.OrderedDict"] = lambda pairs=(): dict(pairs)
    known |= {"builtins.set": lambda values=(): set(values), "builtins.frozenset": lambda values=(): frozenset(values)}
    known["builtins.complex"] = lambda real, imaginary: complex(float(real), float(imaginary))
    known |= {name: lambda *given: _bytes(*given) for name in ("builtins.bytes", "builtins.bytearray", "_codecs.encode")}
    known |= {f"__builtin__.{name.partition('.')[2]}": known[name] for name in list(known) if name.startswith("builtins.")}
    for core in ("numpy.core", "numpy._core"):
        known[f"{core}.multiarray._reconstruct"] = lambda *_: array()
        known[f"{core}.multiarray.scalar"] = lambda dtype, data=b"": _array((), dtype, False, data)[()]
        known[f"{core}.numeric._frombuffer"] = lambda data, dtype, shape, order: _array(shape, dtype, order == "F", data)
    return _restricted(known)(data, encoding="latin1")


def _restricted(known: dict[str, Callable[..., Any]]) -> type[pickle.Unpickler]:
    class Restricted(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if f"{module}.{name}" not in known:
                raise _Refused(f"{module}.{name}"[:100])
            return known[f"{module}.{name}"]

    return Restricted


def _bytes(value: Any = b"", encoding: str = "latin1", *_: Any) -> bytes:
    """The bytes of a text, as Python 2 and 3 write them; never a number of zero bytes."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if not isinstance(value, str) or encoding not in ("latin1", "latin-1"):
        raise _Refused("bytes that are not given")
    return value.encode("latin1")


def _plain(value: Any, depth: int, known: dict[int, Any]) -> Any:
    """The value with arrays in the place of stand-ins. Raises _Refused for values that contain themselves.

    known: {id of a container: its result}, since a few bytes can refer to one container very often.
    """
    if id(value) in known:
        return known[id(value)]
    found = _rebuilt(value, depth, known)
    if isinstance(value, (dict, list, tuple, np.ndarray)):
        known[id(value)] = found
    return found


def _rebuilt(value: Any, depth: int, known: dict[int, Any]) -> Any:
    if depth > MAX_DEPTH:
        raise _Refused("values that are nested too deeply")
    if isinstance(value, _Array):
        value = value.array
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            flat = [_plain(part, depth + 1, known) for part in value.reshape(-1)]
            value = np.empty(len(flat), object)
            value[:] = flat if not any(isinstance(part, (list, tuple, np.ndarray)) for part in flat) else None
            for number, part in enumerate(flat):
                value[number] = part
        return value
    if isinstance(value, dict):
        return {_plain(key, depth + 1, known): _plain(part, depth + 1, known) for key, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return type(value)(_plain(part, depth + 1, known) for part in value)
    if value is None or isinstance(value, (str, bytes, bool, int, float, complex, np.generic)):
        return value
    raise _Refused(f"a value of the type {type(value).__name__}")


