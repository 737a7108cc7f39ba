"""Files of weights -> {name: array}, and back. Nothing in a file is ever executed, and sizes are checked before they are
allocated: a hostile file gives one error at once."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

__all__ = [
    "CONFIG_FILE", "DTYPES", "INDEX_FILE", "MAX_JSON", "MAX_RATIO", "OPEN_CLIP", "PICKLES", "WEIGHTS_FILE", "WeightsError",
    "config_file", "first_names", "read_arrays", "read_json", "shown", "weights_file", "write_arrays",
]

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
WEIGHTS_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
CONFIG_FILE = "config.json"
OPEN_CLIP = "open_clip_config.json", "open_clip_model.safetensors"
"""open_clip's names of the two files."""
MAX_JSON = 3_000_000
"""Bytes of a JSON file or header. Python needs up to 40 times as many for its content."""
MAX_RATIO = 20
"""The largest ratio of the arrays in an .npz file to the file itself. Trained weights are hardly compressible."""

DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(jnp.bfloat16),
    **{f"{kind}{8 * size}": np.dtype(f"<{kind.lower()}{size}") for kind in "IU" for size in (1, 2, 4, 8)},
    "BOOL": np.dtype("?"),
}
"""The dtypes of a .safetensors file."""


class WeightsError(ValueError):
    """Weights that cannot be read or do not fit; the message names the file and what would be valid."""


def weights_file(source: Path) -> Path:
    """The file to read: `source` itself, or in a folder model.safetensors, the index of its shards, open_clip's name, or the
    only .npz file."""
    if source.is_file():
        return source
    if not source.is_dir():
        raise WeightsError(f"{source}: no such file or folder")
    for name in (WEIGHTS_FILE, INDEX_FILE, OPEN_CLIP[1]):
        if (source / name).is_file():
            return source / name
    arrays = sorted(source.glob("*.npz"))
    if len(arrays) == 1:
        return arrays[0]
    pickles = sorted(file for file in source.iterdir() if file.suffix in PICKLES)
    if pickles:
        raise _pickle_error(pickles[0])
    raise WeightsError(f"{source}: the folder has no {WEIGHTS_FILE}, no {INDEX_FILE} and no single .npz file")


def config_file(folder: Path, weights: Path) -> str:
    """The name of the file that describes these weights of the folder, which may also have the other library's files."""
    own = weights.name == OPEN_CLIP[1] or not (folder / CONFIG_FILE).is_file()
    return OPEN_CLIP[0] if own and (folder / OPEN_CLIP[0]).is_file() else CONFIG_FILE


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """All tensors of a .safetensors file, of the shards of an index, or of an .npz file. Raises WeightsError.

    Those of .safetensors files are read-only views of the file, which are read when they are used.
    """
    if file.suffix in PICKLES or file.name.endswith(".bin.index.json"):
        raise _pickle_error(file)
    if file.name.endswith(".index.json"):
        return _read_shards(file)
    if file.suffix == ".safetensors":
        return _read_safetensors(file)
    if file.suffix == ".npz":
        return _read_npz(file)
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
    """The format (safetensors' README): u64 length of the header in bytes, the header as JSON, and the tensors without gaps.
    A header's entry is {"dtype", "shape", "data_offsets": [begin, end]}; "__metadata__" is free."""
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            start = 8 + int.from_bytes(opened.read(8), "little")
            if size < 8 or start > size:
                raise ValueError(f"its header should have {start - 8:,} bytes, but the file ends after {size:,}")
            if start > MAX_JSON:
                raise ValueError(f"its header has {start - 8:,} bytes; it should have at most {MAX_JSON:,}")
            header = json.loads(opened.read(start - 8), object_pairs_hook=_without_repetition)
        data = np.memmap(file, np.uint8, "r", start) if size > start else np.zeros(0, np.uint8)
        return _tensors(header, data)
    except OSError as error:
        raise WeightsError(f"{file}: it cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise WeightsError(f"{file}: not a complete .safetensors file: its header is nested too deeply") from error
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{file}: not a complete .safetensors file: {shown(error)}") from error


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _tensors(header: Any, data: np.ndarray) -> dict[str, np.ndarray]:
    """Views of the data. Raises ValueError or TypeError unless the tensors fill the data exactly."""
    if not isinstance(header, dict):
        raise TypeError("its header is not a JSON object")
    whole = lambda numbers: isinstance(numbers, list) and all(type(number) is int and number >= 0 for number in numbers)
    found = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        entry = entry if isinstance(entry, dict) else {}
        dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise TypeError(f"{shown(name)} has dtype {shown(dtype)}; supported are {', '.join(DTYPES)}")
        if not whole(shape) or len(shape) > 32 or not whole(offsets) or len(offsets) != 2:
            raise TypeError(f"{shown(name)} needs a shape and two data_offsets")
        if offsets[1] - offsets[0] != math.prod(shape) * DTYPES[dtype].itemsize:
            raise ValueError(f"{shown(name)} has the bytes {shown(offsets)}, which do not fit {dtype} of shape {shown(shape)}")
        found.append((*offsets, name, DTYPES[dtype], shape))
    position = 0
    for begin, end, name, *_ in sorted(found, key=lambda one: one[:2]):
        if begin != position:
            raise ValueError(f"{shown(name)} begins at byte {begin}, but the tensor before it ends at {position}")
        position = end
    if position != len(data):
        raise ValueError(f"its tensors have {position:,} bytes, but the file has {len(data):,} after the header")
    return {name: np.asarray(data[begin:end]).view(dtype).reshape(shape) for begin, end, name, dtype, shape in found}


def _read_npz(file: Path) -> dict[str, np.ndarray]:
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:  # np.load leaves a broken file open
            size, expanded = file.stat().st_size, sum(entry.file_size for entry in arrays.zip.infolist())
            if expanded > MAX_RATIO * size + 1_000_000:
                raise ValueError(f"its {size:,} bytes expand to {expanded:,}, more than {MAX_RATIO} times as many")
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # NumPy also raises errors of zipfile, zlib and its own header parser
        raise WeightsError(f"{file}: not a readable .npz file: {shown(error)}") from error


def _read_shards(index: Path) -> dict[str, np.ndarray]:
    shard_of = read_json(index).get("weight_map")
    if not isinstance(shard_of, dict) or not all(isinstance(shard, str) for shard in shard_of.values()):
        raise WeightsError(f"{index}: an index must be JSON with a weight_map whose values are file names")
    arrays: dict[str, np.ndarray] = {}
    for shard in sorted(set(shard_of.values())):
        if Path(shard).name != shard or shard == "..":
            raise WeightsError(f"{index}: the shard {shown(shard)} must be in the folder of the index")
        if len(shard) > 255 or not (index.parent / shard).is_file():
            raise WeightsError(f"{index}: the shard {shown(shard)} is missing")
        found = _read_safetensors(index.parent / shard)
        expected = {name for name, file in shard_of.items() if file == shard}
        if set(found) != expected:
            raise WeightsError(f"{index}: the index and {shard} differ in {first_names(set(found) ^ expected)}")
        arrays |= found
    return arrays


def shown(value: Any, limit: int = 200) -> str:
    """A value of a file in an error message: one line, cut to `limit` characters."""
    text = str(value)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= limit else f"{text[:limit]}..."


def first_names(names: set[str], limit: int = 5) -> str:
    """The first names, and the number of further ones."""
    text = ", ".join(shown(name, 100) for name in sorted(names)[:limit])
    return text if len(names) <= limit else f"{text} and {len(names) - limit} more"


def read_json(file: Path, kind: type = dict) -> Any:
    """A JSON object, or a list; empty if the file does not exist."""
    if not file.is_file():
        return kind()
    try:
        size = file.stat().st_size
        if size > MAX_JSON:
            raise WeightsError(f"{file}: it has {size:,} bytes; a JSON file of weights should have at most {MAX_JSON:,}")
        value = json.loads(file.read_bytes())
    except OSError as error:
        raise WeightsError(f"{file}: it cannot be read: {error.strerror}") from error
    except WeightsError:
        raise
    except RecursionError as error:
        raise WeightsError(f"{file}: not JSON that can be read: it is nested too deeply") from error
    except ValueError as error:
        raise WeightsError(f"{file}: not JSON: {shown(error)}") from error
    if not isinstance(value, kind):
        wanted = "JSON object" if kind is dict else "JSON list"
        raise WeightsError(f"{file}: it must hold a {wanted}, not a {type(value).__name__}")
    return value
