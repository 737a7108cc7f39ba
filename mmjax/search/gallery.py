"""A gallery: vectors in memory or in a file that is mapped into memory, and smaller int8 codes of them."""

import json
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int8

from mmjax.data.decode import DataError

__all__ = ["CHUNK", "FILES", "Gallery", "encode", "open_gallery", "write_gallery"]

CHUNK = 16_384  # rows that are written at a time
FILES = {"vectors": np.float32, "codes": np.int8, "scales": np.float32}


@dataclass(frozen=True, eq=False)
class Gallery:
    """n vectors of width d, and with codes also their int8 form: vectors[i] is about scales[i] * codes[i].

    vectors: Float32[n d], an array or a memory map. codes: Int8[n d]; scales: Float32[n]; both or neither.
    """

    vectors: np.ndarray
    codes: np.ndarray | None = None
    scales: np.ndarray | None = None

    def __post_init__(self):
        if self.vectors.ndim != 2 or self.vectors.dtype != np.float32 or not self.vectors.size:
            what = f"{self.vectors.dtype}{list(self.vectors.shape)}"
            raise DataError(f"Gallery.vectors is {what}; it must be float32 [n d] with n and d above 0")
        if not isinstance(self.vectors, np.memmap):  # those in a file were checked when it was written
            for start in range(0, len(self.vectors), CHUNK):
                _check_finite(self.vectors[start : start + CHUNK], start)
        if self.codes is not None and (self.codes.shape != self.vectors.shape or self.codes.dtype != np.int8):
            raise DataError(f"Gallery.codes is {self.codes.dtype}{list(self.codes.shape)}; it must be int8 and as large")
        if (self.codes is None) != (self.scales is None):
            raise DataError("Gallery: codes and scales belong together; give both or neither")

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def width(self) -> int:
        return self.vectors.shape[1]

    def with_codes(self) -> "Gallery":
        """The gallery with int8 codes in memory, a quarter of the size of the vectors."""
        return Gallery(self.vectors, *encode(self.vectors))


def encode(vectors: Float[np.ndarray, "n d"]) -> tuple[Int8[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
    """(codes, scales): each vector is divided by its scale, its largest absolute value / 127, and rounded.

    The error of a number is at most half a scale. A vector of zeros has the scale 0.
    """
    codes, scales = np.empty(vectors.shape, np.int8), np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), CHUNK):
        rows = slice(start, start + CHUNK)
        chunk = np.asarray(vectors[rows])
        scales[rows] = np.abs(chunk).max(axis=1) / 127
        codes[rows] = np.rint(chunk / np.where(scales[rows] > 0, scales[rows], 1)[:, None])
    return codes, scales


def write_gallery(folder: Path | str, chunks: Iterable[Float[np.ndarray, "m d"]], *, codes: bool = True) -> Gallery:
    """Writes vectors that arrive in chunks, which need not fit into memory together, and returns the gallery as memory maps.

    folder: is made. codes: whether the int8 codes are written too. Raises DataError, and leaves no gallery, if a chunk has
    another width, is not finite, or there is none.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gallery.json").unlink(missing_ok=True)  # a folder without it is no gallery, so an interrupted one is not opened
    count, width = 0, None
    with ExitStack() as stack:
        vectors, *small = (stack.enter_context((folder / name).open("wb")) for name in FILES)
        for chunk in chunks:
            chunk = np.ascontiguousarray(chunk, np.float32)
            if chunk.ndim != 2 or not chunk.shape[1] or (width is not None and chunk.shape[1] != width):
                raise DataError(f"vectors after row {count} have the shape {list(chunk.shape)}; it must be [m, {width or 'd'}]")
            _check_finite(chunk, count)
            width = chunk.shape[1]
            count += len(chunk)
            vectors.write(chunk.tobytes())
            if codes:
                for array, file in zip(encode(chunk), small):
                    file.write(array.tobytes())
    if not count:
        raise DataError(f"{folder}: there are no vectors; a gallery needs at least one")
    (folder / "gallery.json").write_text(json.dumps({"count": count, "width": width, "codes": codes}) + "\n")
    return open_gallery(folder)


def open_gallery(folder: Path | str) -> Gallery:
    """The gallery that `write_gallery` wrote, as memory maps. Raises DataError if it is not complete."""
    folder = Path(folder)
    try:
        about = json.loads((folder / "gallery.json").read_text())
        count, width, codes = int(about["count"]), int(about["width"]), bool(about["codes"])
        if count < 1 or width < 1:
            raise ValueError
    except FileNotFoundError:
        raise DataError(f"{folder} has no gallery.json; it must be the folder of a complete gallery") from None
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{folder / 'gallery.json'} is damaged; it must have count, width and codes") from None
    arrays = {}
    for name, dtype in FILES.items():
        shape = (count,) if name == "scales" else (count, width)
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if name != "vectors" and not codes:
            continue
        file = folder / name
        if not file.is_file() or file.stat().st_size != size:
            raise DataError(f"{file} should have {size:,} bytes for {count:,} vectors; write the gallery again")
        arrays[name] = np.memmap(file, dtype, "r", shape=shape)
    return Gallery(**arrays)


def _check_finite(vectors: np.ndarray, first: int) -> None:
    """Raises DataError, naming the vector, if a number is not finite. first: the number of the first vector."""
    valid = np.isfinite(vectors).all(axis=1)
    if not valid.all():
        raise DataError(f"vector {first + int(np.argmin(valid))} has NaN or infinite numbers; all must be finite")
