"""The spoken lines as a TFDS set in array_record, written without TensorFlow."""

from pathlib import Path

from mmjax.data.build.items import sha256
from mmjax.data.build.write_tfds import write_tfds
from mmjax.data.fillets.dataset import Fillets

__all__ = ["NAME", "build_tfds"]

NAME = "fillets"


def build_tfds(folder: Path, data: Fillets = Fillets()) -> Path:
    """Writes folder/tfds/fillets/<version>, one example per line in the splits of `data`; returns it.

    An example has "id", "language", "level", "voice", "text", "english", "speech" (bytes of an Ogg file), "image" (bytes of a
    PNG) and "group". Raises FileExistsError if the folder has media, and DataError.
    """
    cells = data.lines.read().cells
    rows_of = {name: number for number, name in enumerate(cells["id"])}
    (folder / "media").mkdir(parents=True)
    rows = []
    for split, metadata in data.load().metadata.items():
        for name, group in zip(metadata["id"].tolist(), metadata["group"].tolist(), strict=True):
            own = {column: cells[column][rows_of[name]] for column in cells}
            row = {"id": name, "split": split, "group": group, "voice": own["voice"] or ""}
            row |= {column: own[column] for column in ("language", "level", "text", "english")}
            for column, ending in (("speech", "ogg"), ("image", "png")):
                row[column] = f"media/{sha256(own[column])[:20]}.{ending}"
                (folder / row[column]).write_bytes(own[column])
            rows.append(row)
    return write_tfds(folder, NAME, rows, {"speech": "audio", "image": "image"}, "GPL-2.0-only")
