"""Features of frozen encoders on disk: what identifies them, and how they are read and written.

The name of a file is the sha256 of everything that determines its features: the weights, the module and the preprocessing, the
source code of mmjax behind both, the versions of the libraries that decode and compute, and the fingerprint of the items. A
change of any of these is another file, so features are never out of date. A sha256 inside detects damage.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.describe import as_json

__all__ = ["LIBRARIES", "feature_key", "features_folder", "load_features", "save_features"]

LIBRARIES = ("jax", "flax", "numpy", "pillow", "soundfile", "soxr", "tokenizers", "resvg-py")


def features_folder() -> Path:
    """The folder of all features: mmjax/features in XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmjax" / "features"


def feature_key(inputs: Any, module: Any, preprocessing: Any) -> str:
    """sha256 of the inputs (JSON), of a module and a preprocessing by their fields, of our source code, and of versions."""
    parts = [inputs, _fields(module), _fields(preprocessing), _source_hash(), _versions()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def load_features(file: Path) -> dict[str, np.ndarray] | None:
    """The features in a file; None if there is no file, or if it is damaged, which a warning reports."""
    if not file.is_file():
        return None
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:  # np.load leaves a broken file open
            features = {name: arrays[name] for name in arrays.files}
            digest = str(features.pop("sha256"))
    except Exception as error:  # zipfile, zlib and NumPy raise many classes for damaged files
        warnings.warn(f"{file} is damaged ({error}); its features are computed again", stacklevel=2)
        return None
    if _digest(features) != digest:
        warnings.warn(f"{file} is damaged (its sha256 differs); its features are computed again", stacklevel=2)
        return None
    return features


def save_features(file: Path, features: Mapping[str, np.ndarray]) -> None:
    """Writes a file completely or not at all. If that fails, a warning says why; the features can be computed again."""
    scratch = file.with_name(f"{file.stem}.{os.getpid()}.npz")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(scratch, **features, sha256=_digest(features))
        scratch.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
        warnings.warn(f"{file} cannot be written ({error}); the next run computes its features again", stacklevel=2)


def _fields(value: Any) -> Any:
    """A module or preprocessing as JSON, with the sha256 of the content of its files in place of their paths."""
    fields = as_json(value)
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            held = getattr(value, field.name, None)
            if isinstance(held, Path):
                fields[field.name] = hashlib.sha256(held.read_bytes()).hexdigest()
    return fields


@cache
def _source_hash() -> str:
    """sha256 of the source of every package that takes part in computing features."""
    package, digest = Path(__file__).parents[1], hashlib.sha256()
    for folder in ("data", "encoders", "nn", "pretrained"):
        for file in sorted((package / folder).rglob("*.py")):
            digest.update(f"{file.relative_to(package)}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    """{library: version}, of those that are installed."""
    found = {}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _digest(features: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, x in sorted(features.items()):
        digest.update(f"{name} {x.dtype}{x.shape}".encode() + x.tobytes())
    return digest.hexdigest()
