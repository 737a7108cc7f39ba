"""The Croissant description of a set (mlcommons.org/croissant): machine-readable metadata, from which rows can be read."""

import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmjax.data.build.items import sha256

__all__ = ["CROISSANT", "TABLE", "mlcroissant", "read_croissant", "write_croissant"]

CROISSANT, TABLE = "croissant.json", "items.parquet"


def write_croissant(folder: Path, name: str, rows: Sequence[dict[str, Any]], about: dict[str, str]) -> None:
    """Writes croissant.json and the table that it describes, items.parquet, with one field for each key of a row; "group" is an
    integer, the rest texts, and media are names of files in the folder. mlcroissant would read texts such as "007" from JSON
    Lines or CSV as numbers.

    about: description, license, url, biases, personal (a statement on sensitive information). Raises ImportError without
    mlcroissant.
    """
    mlc = mlcroissant()
    _write_parquet(folder / TABLE, rows)
    table = mlc.FileObject(
        id=TABLE, name=TABLE, description="One row per item.", content_url=TABLE,
        encoding_formats=["application/x-parquet"], sha256=sha256((folder / TABLE).read_bytes()),
    )  # fmt: skip
    fields = [
        mlc.Field(
            id=f"items/{key}", name=key, description=_meaning(key),
            data_types=[mlc.DataType.INTEGER if key == "group" else mlc.DataType.TEXT],
            source=mlc.Source(file_object=TABLE, extract=mlc.Extract(column=key)),
        )
        for key in rows[0]
    ]  # fmt: skip
    metadata = mlc.Metadata(
        name=name, description=about["description"], license=[about["license"]], url=about["url"], version="1.0.0",
        distribution=[table], record_sets=[mlc.RecordSet(id="items", name="items", fields=fields)],
        data_biases=[about["biases"]], personal_sensitive_information=[about["personal"]],
    )  # fmt: skip
    text = json.dumps(metadata.to_json(), ensure_ascii=False, indent=1, default=str)
    (folder / CROISSANT).write_text(text + "\n", encoding="utf-8")


def _write_parquet(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    types = {key: pyarrow.int64() if key == "group" else pyarrow.string() for key in rows[0]}
    columns = {key: pyarrow.array([row[key] for row in rows], of) for key, of in types.items()}
    pyarrow.parquet.write_table(pyarrow.table(columns), file)


def _meaning(key: str) -> str:
    known = {
        "id": "Names the item.",
        "split": "train, validation or test.",
        "group": "Items of one group are not independent and share a split.",
    }
    return known.get(key, f"The field {key} of the item.")


def read_croissant(folder: Path) -> list[dict[str, Any]]:
    """Validates croissant.json and reads all rows with mlcroissant; texts are str, absent cells None."""
    library = mlcroissant()
    logger = logging.getLogger("absl")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "ConjunctiveGraph is deprecated", DeprecationWarning)  # rdflib warns of itself
        warnings.filterwarnings("ignore", "The inplace keyword in DataFrame.reset_index")  # mlcroissant with pandas 3
        logger.addFilter(_no_recommendation)
        try:
            dataset = library.Dataset(jsonld=str(folder / CROISSANT))
        finally:
            logger.removeFilter(_no_recommendation)
        return [_plain(row) for row in dataset.records("items")]


def _no_recommendation(record: logging.LogRecord) -> bool:
    """A set has no date, so that two builds are equal, and no citation."""
    return "is recommended" not in record.getMessage()


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {key.removeprefix("items/"): _cell(value) for key, value in row.items()}


def _cell(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return None if value is None or value != value else value


def mlcroissant() -> Any:
    try:
        import mlcroissant as library
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError("the Croissant file needs mlcroissant and pyarrow: pip install 'mmjax[build]'") from error
    return library
