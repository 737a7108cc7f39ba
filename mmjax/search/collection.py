"""What a search page searches in: the files of a folder, or the items of a data set, with their media to see and hear."""

import hashlib
import io
import wave
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmjax.data.dataset import Column, Dataset
from mmjax.data.decode import DataError, decode_text
from mmjax.data.image import on_white
from mmjax.data.inputs import ImageInput, SoundInput, TextInput
from mmjax.pretrained import load_encoder
from mmjax.pretrained.cached_features import FeatureInput
from mmjax.pretrained.images import ImagePreprocessing
from mmjax.pretrained.texts import TextPreprocessing
from mmjax.runs.model import Reader
from mmjax.tasks.items import items_of

__all__ = ["CAPTION", "SUFFIXES", "Collection", "Media", "kind_of", "of_dataset", "of_folder"]

SUFFIXES = {
    "image": {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif",
              ".bmp": "image/bmp"},
    "sound": {".wav": "audio/wav", ".flac": "audio/flac", ".ogg": "audio/ogg", ".mp3": "audio/mpeg"},
    "text": {".txt": "text/plain"},
}  # fmt: skip
"""{kind: {suffix of its files: media type}}."""
CAPTION = 400  # characters of a text that are shown
Media = Mapping[str, Callable[[], tuple[bytes, str]]]
"""{"image" or "sound": a function that reads (encoded bytes, media type)}."""


@dataclass(frozen=True, eq=False)
class Collection:
    """n items of one modality.

    name: of the folder or data set. modality: of the cell. fingerprint: changes if an item changes. ids, captions: n texts that
    are shown. parsed: number -> the item, as the cell's reader returns it; DataError if it cannot be read. media: number ->
    what is shown of the item.
    """

    name: str
    modality: str
    fingerprint: str
    ids: tuple[str, ...]
    captions: tuple[str, ...]
    parsed: Callable[[int], Any]
    media: Callable[[int], Media]

    def __len__(self) -> int:
        return len(self.ids)


def kind_of(reader: Reader) -> str | None:
    """ "image", "sound" or "text", what the reader of a modality takes; None if it takes something else."""
    match reader.parse:
        case ImageInput():
            return "image"
        case SoundInput():
            return "sound"
        case TextInput():
            return "text"
        case FeatureInput(source=source):
            match load_encoder(source).preprocessing:
                case ImagePreprocessing():
                    return "image"
                case TextPreprocessing():
                    return "text"
                case _:
                    return "sound"
        case _:
            return None


def of_folder(folder: Path, readers: Mapping[str, Reader], modalities: Mapping[str, str]) -> Collection:
    """The images, sounds or text files in a folder and its subfolders, by their suffixes, sorted by path.

    readers: of the cell. modalities: {modality that can be a gallery: its kind}. Raises DataError if the folder has files of
    none or of several of these modalities.
    """
    known = {suffix: name for name, kind in modalities.items() for suffix in SUFFIXES[kind]}
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in known and path.is_file())
    counts = Counter(known[path.suffix.lower()] for path in files)
    if len(counts) != 1:
        found = ", ".join(f"{count} of {name}" for name, count in sorted(counts.items())) or "no file"
        accepted = " or ".join(f"{name} ({', '.join(SUFFIXES[kind])})" for name, kind in sorted(modalities.items()))
        raise DataError(f"{folder} has {found}; it must have files of one modality, {accepted}; --modality selects one")
    (modality,) = counts
    kind = modalities[modality]
    stats = [path.stat() for path in files]
    names = [path.relative_to(folder).as_posix() for path in files]
    listed = "\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in zip(names, stats))
    raw = _text if kind == "text" else str
    return Collection(
        name=_printable(folder.resolve().name),
        modality=modality,
        fingerprint=_sha256(f"{folder.resolve()}\n{listed}"),
        ids=tuple(map(_printable, names)),
        captions=tuple(_start_of(path) if kind == "text" else "" for path in files),
        parsed=lambda number: readers[modality].parse(raw(files[number])),
        media=lambda number: {} if kind == "text" else {kind: partial(_file, files[number], kind)},
    )


def of_dataset(data: Dataset, name: str, splits: tuple[str, ...], modality: str) -> Collection:
    """The distinct items of a modality of a data set. Their other modalities are shown too, if the data have the originals."""
    items = [(split, items_of(data, split, (modality,))) for split in splits]
    of_split = lambda name, split, found: np.asarray(data.splits[split].pointer[name])[found.row]
    pointers = {name: np.concatenate([of_split(name, *one) for one in items]) for name in data.columns}
    ids = tuple(str(id) for _, of in items for id in of.metadata["id"])
    kinds = {name: kind for name, column in data.columns.items() if (kind := _kind_of_originals(column))}
    columns = {kind: name for name, kind in reversed([*kinds.items(), (modality, kinds.get(modality))]) if kind}

    def shown(kind: str, number: int) -> int:
        """The item that is shown of this kind, -1 for none."""
        return int(pointers[columns[kind]][number]) if kind in columns else -1

    def caption(number: int) -> str:
        at = shown("text", number)
        return _cut(data.columns[columns["text"]].original(at)) if at >= 0 else ""

    def media(number: int) -> Media:
        found = {kind: shown(kind, number) for kind in ("image", "sound")}
        return {kind: partial(_encoded, data.columns[columns[kind]].original, at) for kind, at in found.items() if at >= 0}

    return Collection(
        name=name,
        modality=modality,
        fingerprint=_sha256(f"{data.fingerprint} {modality} {splits}"),
        ids=ids,
        captions=tuple(map(caption, range(len(ids)))),
        parsed=lambda number: data.columns[modality].read(int(pointers[modality][number])),
        media=media,
    )


def _kind_of_originals(column: Column) -> str | None:
    """The kind of what `Column.original` returns."""
    match column.original(0) if column.original and column.count else None:
        case str():
            return "text"
        case np.ndarray(ndim=3):
            return "image"
        case (np.ndarray(), _):
            return "sound"
        case _:
            return None


def _encoded(original: Callable[[int], Any], number: int) -> tuple[bytes, str]:
    """An image as PNG, a sound as WAV of 16 bits."""
    found, file = original(number), io.BytesIO()
    if isinstance(found, np.ndarray):
        Image.fromarray(on_white(found)[..., :3]).save(file, "PNG", compress_level=1)
        return file.getvalue(), "image/png"
    samples, rate = found
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue(), "audio/wav"


def _file(path: Path, kind: str) -> tuple[bytes, str]:
    return path.read_bytes(), SUFFIXES[kind][path.suffix.lower()]


def _text(path: Path) -> str:
    try:
        return decode_text(path.read_bytes(), str(path))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; it must be a file that can be read") from None


def _printable(name: str) -> str:
    """The name of a file, with "?" for bytes that are not UTF-8."""
    return name.encode(errors="replace").decode()


def _start_of(path: Path) -> str:
    """The start of a text file, "" if it cannot be read: `parsed` reports why."""
    try:
        with path.open("rb") as file:
            return _cut(file.read(4 * CAPTION).decode("utf-8-sig", errors="ignore"))
    except OSError:
        return ""


def _cut(text: str) -> str:
    return text if len(text) <= CAPTION else f"{text[:CAPTION]} ..."


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
