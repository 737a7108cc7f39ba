"""A data set that `datasets` of Hugging Face saved with `save_to_disk`, read without that package."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmjax.data.custom.data import TableData, table_data
from mmjax.data.custom.infer import default_inputs
from mmjax.data.custom.manifest import default_groups
from mmjax.data.custom.reading import named_columns
from mmjax.data.custom.splitting import KFold, SplitColumn, splitting_of
from mmjax.data.custom.table import Table
from mmjax.data.custom.target_kinds import Labels
from mmjax.data.decode import DataError
from mmjax.data.formats.arrow import cells_of, pyarrow

__all__ = ["TARGETS", "HuggingFaceFolder", "hugging_face"]

TARGETS = ("label", "score", "tags", "caption")


@dataclass(frozen=True)
class HuggingFaceFolder:
    """The folder of a `DatasetDict` (dataset_dict.json and a folder per split) or of a `Dataset`.

    A split has state.json, which names its Arrow files, and dataset_info.json with the features. Class labels become their
    names; images and sounds are their encoded bytes, or the file at their path, relative to the folder of the split.
    """

    folder: Path

    def splits(self) -> dict[str, Path]:
        """{split: its folder}; {"": the folder} for a single `Dataset`."""
        if (self.folder / "dataset_dict.json").is_file():
            names = _json(self.folder / "dataset_dict.json").get("splits")
            if not isinstance(names, list) or not names:
                raise DataError(f"{self.folder / 'dataset_dict.json'}: it names no splits; save the data set again")
            return {str(name): self.folder / str(name) for name in names}
        return {"": self.folder}

    def classes(self) -> dict[str, tuple[str, ...]]:
        """{column: names of its classes} of the columns that are class labels."""
        file = next(iter(self.splits().values())) / "dataset_info.json"
        features = _json(file).get("features") or {}
        if not isinstance(features, dict):
            raise DataError(f"{file}: field 'features': it is {type(features).__name__}; it should be an object")
        return {
            name: tuple(map(str, feature["names"]))
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)
        }

    def read(self) -> Table:
        columns: dict[str, list[Any]] = {}
        splits, classes = self.splits(), self.classes()
        for split, folder in splits.items():
            part, count = _columns(folder), 0
            if columns and part.keys() != columns.keys() - {"split"}:
                raise DataError(f"{folder}: its columns are {', '.join(part)}; other splits have others")
            for name, cells in part.items():
                count = len(cells)
                columns.setdefault(name, []).extend(_names(cells, classes.get(name), f"{folder}: field {name!r}"))
            if split:
                columns.setdefault("split", []).extend([split] * count)
        return Table(str(self.folder), columns)


def hugging_face(
    folder: str | os.PathLike,
    inputs: Mapping[str, Any] | Iterable[str] | None = None,
    targets: Mapping[str, Any] | Iterable[str] | None = None,
    *,
    groups: Iterable[str] = (),
    split: Any = None,
    ids: str | None = None,
    kinds: Mapping[str, Any] | None = None,
) -> TableData:
    """A saved data set of Hugging Face; see `HuggingFaceFolder`. Needs pyarrow.

    split: None for its own splits, else k folds. Other arguments as those of `from_manifest`.
    """
    source = HuggingFaceFolder(Path(folder))
    columns, classes = source.read().cells, source.classes()
    groups, ids = default_groups(columns, groups), "id" if ids is None and "id" in columns else ids
    targets = named_columns([name for name in columns if name in TARGETS or name in classes] if targets is None else targets)
    taken = {column for of in targets for column in of.columns} | {*groups, ids, "split"}
    inputs = named_columns(default_inputs(columns, taken) if inputs is None else inputs)
    stated = {of.name: Labels(classes[of.columns[0]]) for of in targets if of.columns[0] in classes}
    splitting = (SplitColumn() if "" not in source.splits() else KFold()) if split is None else splitting_of(split)
    return table_data(source, inputs, targets, stated | dict(kinds or {}), groups, ids, splitting)


def _columns(folder: Path) -> dict[str, list[Any]]:
    """{column: cells} of one split."""
    library = pyarrow()
    named = _json(folder / "state.json").get("_data_files")
    named = named if isinstance(named, list) else []
    files = [folder / str(entry["filename"]) for entry in named if isinstance(entry, dict) and "filename" in entry]
    if not files:
        raise DataError(f"{folder / 'state.json'}: it names no data files; it should be what save_to_disk wrote")
    columns: dict[str, list[Any]] = {}
    for file in files:
        try:
            with library.memory_map(str(file)) as data:
                table = library.ipc.open_stream(data).read_all()
                names = table.column_names
        except (library.ArrowException, OSError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{file}: the Arrow file is missing or damaged ({reason}); save the data set again") from None
        for name in names:
            cells = cells_of(table.column(name), str(file), name)
            columns.setdefault(name, []).extend(folder / cell if isinstance(cell, Path) else cell for cell in cells)
    return columns


def _names(cells: list[Any], classes: tuple[str, ...] | None, where: str) -> list[Any]:
    """Class numbers -> names; -1 is a missing label."""
    if classes is None:
        return cells
    for row, cell in enumerate(cells, 1):
        if cell is not None and (not isinstance(cell, int) or cell >= len(classes)):
            raise DataError(f"{where}, row {row}: the class is {cell!r}; it should be 0 to {len(classes) - 1}")
    return [None if cell is None or cell < 0 else classes[cell] for cell in cells]


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}; the folder should be what save_to_disk wrote") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: it is not JSON ({error}); save the data set again") from None
    if not isinstance(content, dict):
        raise DataError(f"{file}: it is {type(content).__name__}; it should be an object")
    return content
