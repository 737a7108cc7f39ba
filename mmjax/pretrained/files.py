"""Files of weights -> {name: array}, and back. Nothing in a file is ever executed."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
WEIGHTS_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"


class WeightsError(ValueError):
    """Weights that cannot be read or do not fit; the message names the file and what would be valid."""


def weights_file(source: Path) -> Path:
    """The file to read: `source` itself, or in a folder model.safetensors, the index of its shards, or the only .npz file."""
    if source.is_file():
        return source
    if not source.is_dir():
        raise WeightsError(f"{source}: no such file or folder")
    for name in (WEIGHTS_FILE, INDEX_FILE):
        if (source / name).is_file():
            return source / name
    arrays = sorted(source.glob("*.npz"))
    if len(arrays) == 1:
        return arrays[0]
    pickles = sorted(file for file in source.iterdir() if file.suffix in PICKLES)
    if pickles:
        raise _pickle_error(pickles[0])
    raise WeightsError(f"{source}: the folder has no {WEIGHTS_FILE}, no {INDEX_FILE} and no single .npz file")


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """All tensors of a .safetensors file, of the shards of an index, or of an .npz file. Raises WeightsError."""
    if file.suffix in PICKLES or file.name.endswith(".bin.index.json"):
        raise _pickle_error(file)
    if file.name.endswith(".index.json"):
        return _read_shards(file)
    if file.suffix == ".safetensors":
        return _read_safetensors(file)
    if file.suffix == ".npz":
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except Exception as error:  # NumPy also raises errors of zipfile, zlib and its own header parser
            raise WeightsError(f"{file}: not a readable .npz file: {error}") from error
    raise WeightsError(f"{file}: weights must be .safetensors, its index, or .npz, not {file.suffix!r}")


def write_arrays(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a .safetensors file that PyTorch can read."""
    from safetensors.numpy import save_file

    save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, file, metadata={"format": "pt"})


def _pickle_error(file: Path) -> WeightsError:
    return WeightsError(
        f"{file}: this is a pickle, which can run any program when it is opened, so it is not read. If you trust it, convert "
        f"it with PyTorch: safetensors.torch.save_file({{name: x.clone().contiguous() for name, x in torch.load({file.name!r}, "
        f"weights_only=True).items()}}, {WEIGHTS_FILE!r})"
    )


def _read_safetensors(file: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise WeightsError(f"{file}: not a complete .safetensors file: {error}") from error


def _read_shards(index: Path) -> dict[str, np.ndarray]:
    try:
        shard_of = json.loads(index.read_text())["weight_map"]
        if not all(isinstance(shard, str) for shard in shard_of.values()):
            raise TypeError("its values must be file names")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{index}: an index must be JSON with a weight_map: {error!r}") from error
    arrays: dict[str, np.ndarray] = {}
    for shard in sorted(set(shard_of.values())):
        if Path(shard).name != shard:
            raise WeightsError(f"{index}: the shard {shard!r} must be in the folder of the index")
        if not (index.parent / shard).is_file():
            raise WeightsError(f"{index}: the shard {shard} is missing")
        found = _read_safetensors(index.parent / shard)
        expected = {name for name, file in shard_of.items() if file == shard}
        if set(found) != expected:
            raise WeightsError(f"{index}: the index and {shard} differ in {first_names(set(found) ^ expected)}")
        arrays |= found
    return arrays


def first_names(names: set[str], limit: int = 5) -> str:
    """The first names, and the number of further ones."""
    shown = ", ".join(sorted(names)[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def read_json(file: Path) -> dict:
    """A JSON object; {} if the file does not exist."""
    if not file.is_file():
        return {}
    try:
        value = json.loads(file.read_text())
    except ValueError as error:
        raise WeightsError(f"{file}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise WeightsError(f"{file}: it must hold a JSON object, not a {type(value).__name__}")
    return value
