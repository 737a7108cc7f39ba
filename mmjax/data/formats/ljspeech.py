"""Folders in the layout of LJSpeech: recordings with transcripts."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmjax.data.custom.data import TableData, table_data
from mmjax.data.custom.reading import named_columns
from mmjax.data.custom.splitting import splitting_of
from mmjax.data.custom.table import SOUND_SUFFIXES, Table
from mmjax.data.decode import DataError, decode_text

__all__ = ["LjSpeechFolder", "ljspeech"]


@dataclass(frozen=True)
class LjSpeechFolder:
    """metadata.csv with lines ID|transcript or ID|transcript|normalised transcript, without quotes, and wavs/ID.wav (or .flac,
    .ogg, .mp3). Columns: "id", "audio", "transcript", "normalized" (the transcript if there is none) and "chapter", the part of
    the id before the first "-"."""

    folder: Path

    def read(self) -> Table:
        file = self.folder / "metadata.csv"
        try:
            lines = decode_text(file.read_bytes(), str(file)).replace("\r\n", "\n").split("\n")
        except OSError as error:
            raise DataError(f"{file}: {error.strerror or error}; it should have a line ID|transcript per recording") from None
        cells: dict[str, list[Any]] = {name: [] for name in ("id", "audio", "transcript", "normalized", "chapter")}
        for number, line in enumerate(lines, 1):
            parts = line.split("|")
            if not line.strip():
                continue
            if len(parts) not in (2, 3) or not parts[0].strip():
                raise DataError(f"{file}: row {number} has {len(parts)} parts; it should be ID|transcript|normalised")
            found = (self.folder / "wavs" / f"{parts[0]}{suffix}" for suffix in SOUND_SUFFIXES)
            audio = next((path for path in found if path.is_file()), None)
            if audio is None:
                what = f"there is no wavs/{parts[0]}.wav, nor .flac, .ogg or .mp3"
                raise DataError(f"{file}: row {number}, field 'audio': {what}")
            row = (parts[0], audio, parts[1], parts[-1] if parts[-1].strip() else parts[1], parts[0].partition("-")[0])
            for name, value in zip(cells, row):
                cells[name].append(value)
        if not cells["id"]:
            raise DataError(f"{file}: there are no lines; it should have a line ID|transcript per recording")
        return Table(str(file), cells)


def ljspeech(
    folder: str | os.PathLike,
    inputs: Mapping[str, Any] | Iterable[str] | None = None,
    targets: Mapping[str, Any] | Iterable[str] = (),
    *,
    groups: Iterable[str] = ("chapter",),
    split: Any = None,
    kinds: Mapping[str, Any] | None = None,
) -> TableData:
    """Recordings with transcripts; see `LjSpeechFolder`.

    inputs: None for {"audio": "audio", "text": "normalized"}; for speech recognition inputs=("audio",) and targets={"caption":
    "normalized"}. groups: recordings of a chapter share a split. Other arguments as those of `from_manifest`.
    """
    inputs = {"audio": "audio", "text": "normalized"} if inputs is None else inputs
    source = LjSpeechFolder(Path(folder))
    return table_data(source, named_columns(inputs), named_columns(targets), kinds, tuple(groups), "id", splitting_of(split))
