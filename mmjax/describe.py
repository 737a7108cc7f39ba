"""A value of an experiment as JSON and as one line, and the differences between two JSON values."""

import dataclasses
import enum
import hashlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def as_json(value: Any) -> Any:
    """Any value of an experiment as JSON. Dataclasses and modules become their fields and the name of their class; functions
    become their qualified names."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        skip = ("parent", "name") if isinstance(value, nn.Module) else ()
        names = [f.name for f in dataclasses.fields(value) if f.init and f.name not in skip]
        fields = {name: as_json(getattr(value, name)) for name in names}
        return {"class": type(value).__name__} | _source_hash(type(value)) | fields
    if isinstance(value, Mapping):
        return {str(name): as_json(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(entry) for entry in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, (np.dtype, type)) or hasattr(value, "dtype"):
        return jnp.dtype(value).name
    return getattr(value, "__qualname__", None) or repr(value)


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
