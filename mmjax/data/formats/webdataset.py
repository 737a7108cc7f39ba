"""Shards of WebDataset: tars in which files with one name and different extensions are one row. Nothing is extracted."""

import json
import os
import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmjax.data.custom.data import TableData, table_data
from mmjax.data.custom.folders import MODALITIES
from mmjax.data.custom.manifest import default_groups
from mmjax.data.custom.reading import named_columns
from mmjax.data.custom.splitting import NAMES, KFold, SplitColumn, splitting_of
from mmjax.data.custom.table import FilePart, Table
from mmjax.data.decode import DataError, decode_text

__all__ = ["BLOCK", "TARGETS", "WebDatasetShards", "webdataset"]

BLOCK = 512  # bytes of a tar's blocks
TARGETS = ("label", "score", "tags", "caption")


@dataclass(frozen=True)
class WebDatasetShards:
    """Uncompressed tars. The name of a row is that of its files up to the first dot.

    Columns: "id"; "image", "audio", "text" and "series" (.npy) by extension; "label" of .cls; the fields of a .json; other
    extensions are ignored. "split" if the name of each shard begins with that of a split, as train-000000.tar does.
    """

    shards: tuple[Path, ...]

    def read(self) -> Table:
        rows: dict[str, dict[str, Any]] = {}
        for shard in self.shards:
            split = NAMES.get(re.split(r"[-_.0-9]", shard.name)[0].lower())
            before = set(rows)
            for member in _members(shard):
                stem, _, ending = member.name.rpartition("/")[2].partition(".")
                key = f"{member.name.rpartition('/')[0]}/{stem}".lstrip("/")
                if key in before:
                    raise DataError(f"{shard}: row {key!r} is in another shard too; names must differ")
                row = rows.setdefault(key, {"id": key} | ({"split": split} if split else {}))
                _add(row, ending.lower(), member, shard)
        if not rows:
            raise DataError(f"{self.shards[0]}: the shards have no files")
        columns = dict.fromkeys(name for row in rows.values() for name in row)
        if not all("split" in row for row in rows.values()):
            columns.pop("split", None)
        return Table(str(self.shards[0].parent), {name: [row.get(name) for row in rows.values()] for name in columns})


def webdataset(
    shards: str | os.PathLike | Sequence[str | os.PathLike],
    inputs: Mapping[str, Any] | Iterable[str] | None = None,
    targets: Mapping[str, Any] | Iterable[str] | None = None,
    *,
    groups: Iterable[str] = (),
    split: Any = None,
    kinds: Mapping[str, Any] | None = None,
) -> TableData:
    """Shards of WebDataset; see `WebDatasetShards`.

    shards: a tar, several, or a folder of them. split: None for that in the names of the shards, else k folds. Other arguments
    as those of `from_manifest`.
    """
    if isinstance(shards, (str, os.PathLike)):
        shards = sorted(Path(shards).glob("*.tar")) if Path(shards).is_dir() else [shards]
    if not shards:
        raise DataError("webdataset: there are no shards; name a .tar file, or a folder of them")
    source = WebDatasetShards(tuple(Path(shard) for shard in shards))
    columns = list(source.read().cells)
    groups = default_groups(columns, groups)
    targets = named_columns([name for name in columns if name in TARGETS] if targets is None else targets)
    taken = {column for of in targets for column in of.columns} | {*groups, "id", "split"}
    inputs = named_columns([n for n in columns if n not in taken and n in MODALITIES.values()] if inputs is None else inputs)
    splitting = (SplitColumn() if "split" in columns else KFold()) if split is None else splitting_of(split)
    return table_data(source, inputs, targets, kinds, groups, "id", splitting)


def _members(shard: Path) -> list[FilePart]:
    """The files of a tar, in order; other members are ignored."""
    try:
        with tarfile.open(shard, "r:") as tar:
            members = [member for member in tar if member.isreg()]
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise DataError(f"{shard}: it is no uncompressed tar, or damaged ({error}); write the shard again") from None
    end = max((member.offset_data + -(-member.size // BLOCK) * BLOCK for member in members), default=0)
    if end + BLOCK > shard.stat().st_size:  # a block of zeros ends a tar; `tarfile` does not miss it
        raise DataError(f"{shard}: it ends within or after {members[-1].name if members else ''!r}; the shard is truncated")
    return [FilePart(shard, member.offset_data, member.size, member.name) for member in members]


def _add(row: dict[str, Any], ending: str, member: FilePart, shard: Path) -> None:
    """Adds the cell of one file to its row."""
    cells: dict[str, Any] = {}
    column = MODALITIES.get(f".{ending}")
    if column is not None:
        cells[column] = member
    elif ending == "cls":
        cells["label"] = decode_text(member.read_bytes(), f"{shard}: {member.name}").strip()
    elif ending == "json":
        try:
            cells = json.loads(member.read_bytes())
        except (ValueError, RecursionError) as error:
            raise DataError(f"{shard}: {member.name!r} is not JSON ({error})") from None
        if not isinstance(cells, dict):
            raise DataError(f"{shard}: {member.name!r} is {type(cells).__name__}; it should be an object")
        cells = {name: value for name, value in cells.items() if not isinstance(value, dict) and name not in ("id", "split")}
    for name, value in cells.items():
        if name in row:
            raise DataError(f"{shard}: {member.name!r}: the row has two values of {name!r}")
        row[name] = value
