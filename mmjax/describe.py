"""A value of an experiment as JSON, which can be read back, and as one line; differences between two JSON values."""

import base64
import dataclasses
import enum
import functools
import hashlib
import importlib
import inspect
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["FORMS", "SCRIPT", "SOURCE", "DescribeError", "as_json", "as_line", "differences", "from_json", "parameter_count"]

SCRIPT = "__main__"
FORMS = {"class", "function", "enum", "path", "partial", "array", "float", "dtype", "unknown", "items"}  # keys with a meaning
SOURCE = "source sha256"  # not a possible name of a field


class DescribeError(ValueError):
    """A value cannot be rebuilt from its JSON; the message names the class or function and the remedy."""


def as_json(value: Any) -> Any:
    """Any value of an experiment as JSON; `from_json` is the inverse.

    A dataclass or module becomes {"class": "package.module:Name", field: value, ...}, with the hash of its source if it is not
    part of mmjax. Functions become {"function": "package.module:name"}; dtypes, arrays, paths, enums and `functools.partial`
    have similar forms. Tuples become lists, and a mapping with a key of these forms becomes {"items": pairs}. Anything else
    becomes {"unknown": its repr}, which cannot be rebuilt.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        skip = ("parent", "name") if isinstance(value, nn.Module) else ()
        names = [f.name for f in dataclasses.fields(value) if f.init and f.name not in skip]
        fields = {name: as_json(getattr(value, name)) for name in names}
        return {"class": _address(type(value))} | _source_hash(type(value)) | fields
    if isinstance(value, Mapping):
        entries = {name: as_json(entry) for name, entry in value.items()}
        plain = all(isinstance(name, str) for name in entries) and not FORMS & entries.keys()
        return entries if plain else {"items": [[as_json(name), entry] for name, entry in entries.items()]}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {"class": _address(type(value))} | {name: as_json(entry) for name, entry in value._asdict().items()}
    if isinstance(value, (list, tuple)):
        return [as_json(entry) for entry in value]
    if isinstance(value, enum.Enum):
        return {"enum": _address(type(value)), "member": value.name}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(float(value))}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return as_json(value.item())
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, functools.partial):
        return {"partial": as_json(value.func), "args": as_json(value.args), "keywords": as_json(value.keywords)}
    if isinstance(value, (np.ndarray, jax.Array)):
        array = np.asarray(value)
        return {"array": base64.b64encode(array.tobytes()).decode(), "dtype": array.dtype.name, "shape": list(array.shape)}
    if isinstance(value, (np.dtype, type)) or hasattr(value, "dtype"):
        return {"dtype": jnp.dtype(value).name}
    named = getattr(value, "__qualname__", None)
    is_function = named and getattr(value, "__module__", None) and not inspect.ismethod(value)
    return {"function": _address(value)} if is_function else {"unknown": repr(value)}


def from_json(value: Any) -> Any:
    """The value that `as_json` described; lists become tuples.

    Only dataclasses, modules, named tuples, enums and functions are used, and none of the standard library. A module that a
    description names is imported, which runs its code. Raises DescribeError if it cannot be imported, if a name does not exist,
    or if the source of a class has changed.
    """
    match value:
        case list():
            return tuple(from_json(entry) for entry in value)
        case {"class": address, **fields}:
            kind = _resolve(address)
            if not isinstance(kind, type) or not (dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")):
                raise DescribeError(f"{address} is not a dataclass, module or named tuple")
            saved = fields.pop(SOURCE, None)
            if saved != _source_hash(kind).get(SOURCE):
                raise DescribeError(f"{address} has changed since it was saved; restore the source that it had then")
            try:
                return kind(**{name: from_json(entry) for name, entry in fields.items()})
            except TypeError as error:
                raise DescribeError(f"{address} has other fields than when it was saved: {error}") from None
        case {"function": address}:
            return _resolve(address)
        case {"enum": address, "member": member}:
            kind = _resolve(address)
            if not (isinstance(kind, type) and issubclass(kind, enum.Enum)) or member not in kind.__members__:
                raise DescribeError(f"{address} is not an enum with the member {member!r}")
            return kind[member]
        case {"path": path}:
            return Path(path)
        case {"partial": function, "args": args, "keywords": keywords}:
            return functools.partial(from_json(function), *from_json(args), **from_json(keywords))
        case {"array": data, "dtype": dtype, "shape": shape}:
            return np.frombuffer(base64.b64decode(data), jnp.dtype(dtype)).reshape(shape).copy()
        case {"float": text}:
            return float(text)
        case {"dtype": name}:
            return jnp.dtype(name)
        case {"unknown": shown}:
            raise DescribeError(f"{shown} cannot be saved; use a dataclass or a function with a name at the top of its file")
        case {"items": items}:
            return {from_json(name): from_json(entry) for name, entry in items}
        case dict():
            return {name: from_json(entry) for name, entry in value.items()}
    return value


def _address(value: Any) -> str:
    """ "package.module:name" of a class or function. A script's own classes have the name of its file as module."""
    module = value.__module__
    if module == SCRIPT and getattr(sys.modules[SCRIPT], "__file__", None):
        module = Path(sys.modules[SCRIPT].__file__).stem
    return f"{module}:{value.__qualname__}"


def _resolve(address: str) -> Any:
    """The class or function with this address."""
    module, _, name = address.partition(":")
    if module.split(".")[0] in sys.stdlib_module_names:
        raise DescribeError(f"{address} cannot be rebuilt: the standard library has a module of that name; rename the file")
    if "<" in name:
        raise DescribeError(f"{address} cannot be rebuilt; use a class or function with a name at the top of its file")
    script = getattr(sys.modules[SCRIPT], "__file__", None)
    try:
        found = sys.modules[SCRIPT] if script and Path(script).stem == module else importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
            owner = getattr(found, "__module__", None) or ""
            if inspect.ismodule(found) or owner.split(".")[0] in sys.stdlib_module_names | {"builtins", "posix"}:
                if owner != SCRIPT:
                    raise DescribeError(f"{address} is not a class or function of {module}")
    except ImportError:
        raise DescribeError(
            f"{address} is needed, but {module} cannot be imported; add the folder of {module.split('.')[0]}.py to PYTHONPATH"
        ) from None
    except AttributeError:
        raise DescribeError(f"{address} is needed, but {module} has no {name!r} any more") from None
    return found


def _source_hash(kind: type) -> dict[str, str]:
    """The sha256 of the source of a class outside mmjax, so that a user's edit of a module makes another experiment."""
    if kind.__module__.split(".")[0] in ("mmjax", "flax"):
        return {}
    try:
        return {SOURCE: hashlib.sha256(inspect.getsource(kind).encode()).hexdigest()[:16]}
    except (OSError, TypeError):  # defined without a file, as in a notebook
        return {}


def as_line(value: Any) -> str:
    """A module or dataclass in one line: its class, and the fields that differ from their defaults."""
    fields = [f for f in dataclasses.fields(value) if f.name not in ("parent", "name")]
    given = [f"{f.name}={_shown(getattr(value, f.name))}" for f in fields if getattr(value, f.name) != f.default]
    return f"{type(value).__name__}({', '.join(given)})"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_shown(part)}" for name, part in value.items()) + "}"
    return as_line(value) if isinstance(value, nn.Module) else repr(value)


def parameter_count(params: Any) -> int:
    """The number of elements in a pytree of arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def differences(then: Any, now: Any, path: str = "") -> list[str]:
    """The differences between two JSON values, one line each: "optim.lr was 0.001 and is 0.01"."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        return [
            line
            for key in sorted(then.keys() | now.keys())
            for line in differences(then.get(key), now.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if then == now else [f"{path} was {then} and is {now}"]
