"""A data set from arrays and lists in memory."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mmjax.data.custom.data import TableData, table_data
from mmjax.data.custom.reading import TableColumns
from mmjax.data.custom.splitting import SplitColumn, splitting_of
from mmjax.data.custom.table import Cells, Table, digest
from mmjax.data.decode import DataError

__all__ = ["RESERVED", "Arrays", "from_arrays", "hash_of"]

RESERVED = ("id", "group", "split")


@dataclass(frozen=True)
class Arrays:
    """Cells in memory. They compare by the hash of their bytes, and only that is written to a run.

    sha256: of all cells. table: the cells.
    """

    sha256: str
    table: Any = field(init=False, repr=False, compare=False)

    def read(self) -> Table:
        """Raises DataError if the arrays are not in memory, or if they have changed since `from_arrays`."""
        table = getattr(self, "table", None)
        if table is None:
            raise DataError("the arrays of from_arrays are not saved with a run; call from_arrays again")
        if hash_of(table) != self.sha256:
            raise DataError("the arrays have changed since from_arrays was called; call it again")
        return table


def hash_of(table: Table) -> str:
    """sha256 of all cells of a table, with the names of its columns."""
    total = hashlib.sha256()
    for name, cells in table.cells.items():
        total.update(f"{name} {len(cells)}\n".encode())
        for row, cell in enumerate(cells):
            try:
                total.update(digest(cell))
            except OSError as error:
                raise DataError(f"{table.where(row, name)}: the file cannot be read ({error.strerror or error})") from None
    return total.hexdigest()


def from_arrays(
    inputs: Mapping[str, Any],
    targets: Mapping[str, Any] | None = None,
    *,
    groups: Any = None,
    split: Any = None,
    ids: Any = None,
    metadata: Mapping[str, Any] | None = None,
    kinds: Mapping[str, Any] | None = None,
) -> TableData:
    """A data set of n rows from arrays and lists, for `Experiment.data`.

        data = from_arrays({"image": images, "audio": waves}, {"label": names}, groups=speakers)

    inputs: {modality: n cells}. An image is uint8 [h w], [h w 3] or [h w 4], a Pillow image, the path of a file or its bytes; a
    sound a path, bytes, (samples [t], rate in Hz), or samples [t] at 16 kHz; a text a str; a series [t channels]; a vector
    [width] or a number; a video uint8 [t h w 3], or the path of a GIF or WebP. None, or all NaN, is a missing modality.
    targets: {name: n cells}: names or integers (classes), floats (scores), sets or lists of names (tags), or strings
    (captions). None, or NaN, is a missing target.
    groups: n names; rows with one name are not independent and share a split, such as the clips of a speaker. None: rows with
    an equal image, sound, video or series are a group.
    split: n names of splits (train, validation, test), {"test": names of groups that are held out, "validation": ...}, or
    `KFold(folds, fold, seed)`; None: grouped, stratified folds, `KFold()`. ids: n different names of the rows. metadata: {name:
    n names or integers}, displayed, and columns for `Experiment.groups`. kinds: {input or target: its kind}, such as
    {"image": Images(size=32), "score": Labels()}; see `mmjax.data.custom`.
    Raises DataError for columns of unequal length or equal name; `load` does for cells.
    """
    named = {**(inputs or {})}
    for what, columns in (("target", targets or {}), ("metadata column", metadata or {})):
        for name, cells in columns.items():
            if name in named:
                raise DataError(f"{what} {name!r} has the name of another column; rename one of them")
            named[name] = cells
    reserved = next((name for name in named if name in RESERVED), None)
    if reserved:
        raise DataError(f"{reserved!r} is not a possible name of an input, target or metadata column; rename it")
    if split is not None and not isinstance(split, (Mapping, str)) and not hasattr(split, "split_of"):
        named["split"], split = split, SplitColumn()
    named |= {name: cells for name, cells in (("group", groups), ("id", ids)) if cells is not None}
    counts = {}
    for name, cells in named.items():
        if isinstance(cells, (str, bytes, Mapping, set)) or not hasattr(cells, "__len__") or not hasattr(cells, "__getitem__"):
            raise DataError(f"{name!r} is {type(cells).__name__}; it must be a list or array with a cell for each row")
        counts[name] = len(cells)
    if len(set(counts.values())) > 1:
        raise DataError(f"the columns have different numbers of rows: {counts}")
    table = Table("from_arrays", {name: _plain(cells) for name, cells in named.items()})
    source = Arrays(hash_of(table))
    object.__setattr__(source, "table", table)  # not a field of the description: see `mmjax.describe.as_json`
    columns = lambda names: [TableColumns(name, (name,)) for name in names]
    return table_data(
        source,
        columns(inputs),
        columns(targets or {}),
        kinds,
        ("group",) if groups is not None else (),
        "id" if ids is not None else None,
        splitting_of(split),
    )


def _plain(cells: Any) -> Cells:
    """A pandas column as a list, since its [] is by label."""
    return cells.tolist() if type(cells).__module__.startswith("pandas") else cells
