"""A value of an experiment as JSON, which can be read back, and as one line; differences between two JSON values."""

import dataclasses
import enum
import functools
import hashlib
import importlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

SCRIPT = "__main__"
FORMS = {"class", "function", "enum", "path", "partial", "array", "dtype", "unknown", "items"}  # keys with a meaning


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
        entries = {str(name): as_json(entry) for name, entry in value.items()}
        return {"items": [list(pair) for pair in entries.items()]} if FORMS & entries.keys() else entries
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {"class": _address(type(value))} | {name: as_json(entry) for name, entry in value._asdict().items()}
    if isinstance(value, (list, tuple)):
        return [as_json(entry) for entry in value]
    if isinstance(value, enum.Enum):
        return {"enum": _address(type(value)), "member": value.name}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, functools.partial):
        return {"partial": as_json(value.func), "args": as_json(value.args), "keywords": as_json(value.keywords)}
    if isinstance(value, (np.ndarray, jax.Array)):
        return {"array": np.asarray(value).tolist(), "dtype": np.asarray(value).dtype.name}
    if isinstance(value, (np.dtype, type)) or hasattr(value, "dtype"):
        return {"dtype": jnp.dtype(value).name}
    named = getattr(value, "__qualname__", None)
    return {"function": _address(value)} if named and hasattr(value, "__module__") else {"unknown": repr(value)}


def from_json(value: Any) -> Any:
    """The value that `as_json` described; lists become tuples.

    Only dataclasses, modules, named tuples, enums and functions are used, and none of the standard library, so a description
    from elsewhere cannot run system functions. Raises DescribeError if a module cannot be imported or a name does not exist.
    """
    match value:
        case list():
            return tuple(from_json(entry) for entry in value)
        case {"class": address, **fields}:
            kind = _resolve(address)
            if not isinstance(kind, type) or not (dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")):
                raise DescribeError(f"{address} is not a dataclass, module or named tuple")
            try:
                return kind(**{name: from_json(entry) for name, entry in fields.items() if name != "source"})
            except TypeError as error:
                raise DescribeError(f"{address} has other fields than when it was saved: {error}") from None
        case {"function": address}:
            return _resolve(address)
        case {"enum": address, "member": member}:
            return _resolve(address)[member]
        case {"path": path}:
            return Path(path)
        case {"partial": function, "args": args, "keywords": keywords}:
            return functools.partial(from_json(function), *from_json(args), **from_json(keywords))
        case {"array": entries, "dtype": dtype}:
            return np.array(entries, jnp.dtype(dtype))
        case {"dtype": name}:
            return jnp.dtype(name)
        case {"unknown": shown}:
            raise DescribeError(f"{shown} cannot be saved; use a dataclass or a function with a name at the top of its file")
        case {"items": items}:
            return {name: from_json(entry) for name, entry in items}
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
    if module.split(".")[0] in sys.stdlib_module_names or "<" in name:
        raise DescribeError(f"{address} cannot be rebuilt; use a class or function with a name at the top of its file")
    script = getattr(sys.modules[SCRIPT], "__file__", None)
    try:
        found = sys.modules[SCRIPT] if script and Path(script).stem == module else importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
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
        return {"source": hashlib.sha256(inspect.getsource(kind).encode()).hexdigest()[:16]}
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
