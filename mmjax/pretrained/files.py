"""Files of weights -> {name: array}, and back. Nothing in a file is ever executed."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"


class WeightsError(ValueError):
    """Weights that cannot be read or do not fit; the message names the file and what would be right."""


def weights_file(source: Path) -> Path:
    """The file to begin with: `source` itself, or in a folder model.safetensors, the index of its shards, or the only .npz."""
    if source.is_file():
        return source
    if not source.is_dir():
        raise WeightsError(f"{source}: there is no such file or folder")
    for name in (WHOLE, INDEX):
        if (source / name).is_file():
            return source / name
    arrays = sorted(source.glob("*.npz"))
    if len(arrays) == 1:
        return arrays[0]
    pickles = sorted(file for file in source.iterdir() if file.suffix in PICKLES)
    if pickles:
        raise _refused(pickles[0])
    raise WeightsError(f"{source}: the folder has no {WHOLE}, no {INDEX} and no single .npz")


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """All tensors of a .safetensors file, of the shards that an index names, or of an .npz. Raises WeightsError."""
    if file.suffix in PICKLES:
        raise _refused(file)
    if file.name.endswith(".bin.index.json"):
        raise _refused(file)
    if file.name.endswith(".index.json"):
        return _read_shards(file)
    if file.suffix == ".safetensors":
        return _read_safetensors(file)
    if file.suffix == ".npz":
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except Exception as error:  # NumPy raises whatever zipfile, zlib or its own header parser does
            raise WeightsError(f"{file}: not a readable .npz: {error}") from error
    raise WeightsError(f"{file}: weights are read from .safetensors, its index and .npz, not from {file.suffix!r}")


def write_arrays(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """A .safetensors file that PyTorch's readers take."""
    from safetensors.numpy import save_file

    save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, file, metadata={"format": "pt"})


def _refused(file: Path) -> WeightsError:
    return WeightsError(
        f"{file}: a pickle, which can run any program when it is opened, and is not read. Where you trust it, convert it with "
        f"PyTorch: safetensors.torch.save_file({{name: x.clone().contiguous() for name, x in torch.load({file.name!r}, "
        f"weights_only=True).items()}}, {WHOLE!r})"
    )


def _read_safetensors(file: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise WeightsError(f"{file}: not a whole .safetensors file: {error}") from error


def _read_shards(index: Path) -> dict[str, np.ndarray]:
    try:
        shard_of = json.loads(index.read_text())["weight_map"]
        if not all(isinstance(shard, str) for shard in shard_of.values()):
            raise TypeError("its values must be names of files")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{index}: an index must be JSON with a weight_map: {error!r}") from error
    arrays: dict[str, np.ndarray] = {}
    for shard in sorted(set(shard_of.values())):
        if Path(shard).name != shard:
            raise WeightsError(f"{index}: the shard {shard!r} is not beside it")
        if not (index.parent / shard).is_file():
            raise WeightsError(f"{index}: the shard {shard} is missing")
        held = _read_safetensors(index.parent / shard)
        named = {name for name, where in shard_of.items() if where == shard}
        if set(held) != named:
            raise WeightsError(f"{index}: {shard} holds {few(set(held) ^ named)} otherwise than the index says")
        arrays |= held
    return arrays


def few(names: set[str], most: int = 5) -> str:
    """The first of some names, and how many more there are."""
    shown = ", ".join(sorted(names)[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def read_json(file: Path) -> dict:
    """A JSON object; {} where the file is not there."""
    if not file.is_file():
        return {}
    try:
        value = json.loads(file.read_text())
    except ValueError as error:
        raise WeightsError(f"{file}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise WeightsError(f"{file}: it must hold an object, and holds a {type(value).__name__}")
    return value
