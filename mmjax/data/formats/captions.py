"""Images with captions: COCO's annotation files, Karpathy's splits, and Flickr8k. A row is an image with one caption."""

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmjax.data.custom.data import TableData, table_data
from mmjax.data.custom.reading import named_columns
from mmjax.data.custom.splitting import KFold, SplitColumn, splitting_of
from mmjax.data.custom.table import Table
from mmjax.data.decode import DataError, decode_text
from mmjax.data.formats.json_files import field, read_json, text

__all__ = [
    "FLICKR_CAPTIONS", "FLICKR_IMAGES", "FLICKR_SPLITS", "INPUTS", "SPLITS", "CocoCaptions", "Flickr8k", "KarpathySplits",
    "coco_captions", "flickr8k", "karpathy",
]

SPLITS = ("train", "validation", "test")
INPUTS = {"image": "image", "text": "caption"}
FLICKR_SPLITS = {name: f"Flickr_8k.{of}Images.txt" for name, of in zip(SPLITS, ("train", "dev", "test"))}
FLICKR_CAPTIONS, FLICKR_IMAGES = ("Flickr8k.token.txt", "captions.txt"), ("Images", "Flicker8k_Dataset", "Flickr8k_Dataset")


@dataclass(frozen=True)
class CocoCaptions:
    """Annotation files of COCO (Lin et al., 2014), such as captions_train2017.json.

    {"images": [{"id", "file_name"}], "annotations": [{"id", "image_id", "caption"}]}. files: (split, annotations, folder of the
    images); the split is "" if there is one file.
    """

    files: tuple[tuple[str, Path, Path], ...]

    def read(self) -> Table:
        rows = []
        for split, file, folder in self.files:
            content = read_json(file)
            names = {field(image, "id", file, "images"): field(image, "file_name", file, "images") for image in
                     field(content, "images", file, "the file")}  # fmt: skip
            for row, note in enumerate(field(content, "annotations", file, "the file"), 1):
                image = field(note, "image_id", file, f"annotation {row}")
                if image not in names:
                    raise DataError(f"{file}: annotation {row}, field 'image_id': there is no image {image!r}")
                where = f"annotation {row}"
                caption = text(field(note, "caption", file, where), f"{file}: {where}, field 'caption'")
                rows.append((f"{image}/{note.get('id', row)}", folder / str(names[image]), caption, str(image), split))
        return _table(self.files[0][1], rows)


@dataclass(frozen=True)
class KarpathySplits:
    """One of Karpathy's files (Karpathy and Fei-Fei, 2015): dataset_coco.json, dataset_flickr8k.json or dataset_flickr30k.json.

    {"images": [{"filename", "filepath" of COCO, "split", "sentences": [{"raw"}]}]}. The split "restval" is training.
    """

    file: Path
    images: Path

    def read(self) -> Table:
        rows = []
        for number, image in enumerate(field(read_json(self.file), "images", self.file, "the file"), 1):
            where = f"image {number}"
            name = field(image, "filename", self.file, where)
            split = field(image, "split", self.file, where)
            for k, sentence in enumerate(field(image, "sentences", self.file, where)):
                caption = text(field(sentence, "raw", self.file, where), f"{self.file}: {where}, field 'raw'")
                path = self.images / str(image.get("filepath", "")) / str(name)
                rows.append((f"{name}/{k}", path, caption, str(name), "train" if split == "restval" else split))
        return _table(self.file, rows)


@dataclass(frozen=True)
class Flickr8k:
    """Flickr8k (Hodosh et al., 2013) in one folder.

    Captions: Flickr8k.token.txt with lines "x.jpg#0<tab>caption", or captions.txt with columns image and caption. Images: in
    the folder Images, Flicker8k_Dataset or Flickr8k_Dataset. Splits: Flickr_8k.trainImages.txt, devImages and testImages with a
    file name per line; images in none of them are left out.
    """

    folder: Path

    def read(self) -> Table:
        file = next((self.folder / name for name in FLICKR_CAPTIONS if (self.folder / name).is_file()), None)
        images = next((self.folder / name for name in FLICKR_IMAGES if (self.folder / name).is_dir()), None)
        if file is None or images is None:
            raise DataError(f"{self.folder}: it needs Flickr8k.token.txt or captions.txt, and the images in Images")
        split_of = {
            name.strip(): split
            for split, list_ in FLICKR_SPLITS.items()
            if (self.folder / list_).is_file()
            for name in decode_text((self.folder / list_).read_bytes(), str(self.folder / list_)).splitlines()
            if name.strip()
        }
        rows, count = [], {}
        for name, caption in _flickr_lines(file):
            count[name] = count.get(name, 0) + 1
            if not split_of or name in split_of:
                rows.append((f"{name}/{count[name]}", images / name, caption, name, split_of.get(name, "")))
        return _table(file, rows)


def coco_captions(
    annotations: str | os.PathLike | Mapping[str, tuple[Any, Any]],
    images: str | os.PathLike | None = None,
    inputs: Mapping[str, Any] | Iterable[str] = INPUTS,
    targets: Mapping[str, Any] | Iterable[str] = (),
    *,
    split: Any = None,
    kinds: Mapping[str, Any] | None = None,
) -> TableData:
    """COCO captions; see `CocoCaptions`. Captions of one image share a split.

    annotations: a file, with the folder of its images; or {"train": (file, folder), "test": (file, folder)}. inputs: "image"
    and "text", the caption; targets=("caption",) makes the caption a target. split: None for the given files, else k folds.
    """
    named = annotations if isinstance(annotations, Mapping) else {"": (annotations, images)}
    if any(folder is None for _, folder in named.values()):
        raise DataError("coco_captions needs the folder of the images")
    files = tuple((split, Path(file), Path(folder)) for split, (file, folder) in named.items())
    return _data(CocoCaptions(files), isinstance(annotations, Mapping), inputs, targets, split, kinds)


def karpathy(
    file: str | os.PathLike,
    images: str | os.PathLike,
    inputs: Mapping[str, Any] | Iterable[str] = INPUTS,
    targets: Mapping[str, Any] | Iterable[str] = (),
    *,
    split: Any = None,
    kinds: Mapping[str, Any] | None = None,
) -> TableData:
    """COCO, Flickr8k or Flickr30k in Karpathy's splits; see `KarpathySplits`.

    images: the folder of the images. Other arguments as those of `coco_captions`.
    """
    return _data(KarpathySplits(Path(file), Path(images)), True, inputs, targets, split, kinds)


def flickr8k(
    folder: str | os.PathLike,
    inputs: Mapping[str, Any] | Iterable[str] = INPUTS,
    targets: Mapping[str, Any] | Iterable[str] = (),
    *,
    split: Any = None,
    kinds: Mapping[str, Any] | None = None,
) -> TableData:
    """Flickr8k; see `Flickr8k`.

    split: None for the official split if its three lists are there, else k folds. Other arguments as those of `coco_captions`.
    """
    official = all((Path(folder) / name).is_file() for name in FLICKR_SPLITS.values())
    return _data(Flickr8k(Path(folder)), official, inputs, targets, split, kinds)


def _data(source: Any, official: bool, inputs: Any, targets: Any, split: Any, kinds: Any) -> TableData:
    splitting = (SplitColumn() if official else KFold()) if split is None else splitting_of(split)
    return table_data(source, named_columns(inputs), named_columns(targets), kinds, ("image_id",), "id", splitting)


def _table(file: Path, rows: Sequence[tuple[Any, ...]]) -> Table:
    if not rows:
        raise DataError(f"{file}: there are no captions; it needs at least one")
    return Table(str(file), dict(zip(("id", "image", "caption", "image_id", "split"), map(list, zip(*rows)))))


def _flickr_lines(file: Path) -> list[tuple[str, str]]:
    """(image, caption) of each line."""
    content = decode_text(file.read_bytes(), str(file))
    if file.name == "captions.txt":
        rows = [row for row in csv.reader(io.StringIO(content, newline="")) if row]
        if not rows or rows[0] != ["image", "caption"]:
            raise DataError(f"{file}: the first line is {','.join(rows[0] if rows else [])!r:.80}; it should be image,caption")
        pairs = [(row[0], ",".join(row[1:])) for row in rows[1:]]
    else:
        lines = [line for line in content.replace("\r\n", "\n").split("\n") if line.strip()]
        pairs = [(line.partition("\t")[0].partition("#")[0], line.partition("\t")[2]) for line in lines]
    for row, (name, caption) in enumerate(pairs, 1):
        if not name or not caption.strip():
            raise DataError(f"{file}: row {row} has no {'caption' if name else 'image'}; each row is an image and its caption")
    return pairs
