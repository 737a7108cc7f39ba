"""Small packs with valid checksums, made of stamps of the real one."""

import gzip
import hashlib
import json
import zipfile
from pathlib import Path

from mmjax.data.stamps.pack import INDEX, StampsPack


def write_sums(folder: Path) -> None:
    """Lists the sha256 of every file of a pack."""
    files = sorted(path for path in folder.iterdir() if path.name != "sha256sums.txt")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (folder / "sha256sums.txt").write_text("".join(lines))


def write_index(folder: Path, text: str) -> None:
    (folder / INDEX).write_bytes(gzip.compress(text.encode()))


def read_index(folder: Path) -> str:
    return gzip.decompress((folder / INDEX).read_bytes()).decode()


def write_pack(folder: Path, pack: StampsPack, rows: list[int], clips: int = 0, truncated: str | None = None) -> Path:
    """These stamps with their images and texts, and the first `clips` Dutch clips; the image `truncated` is cut in half."""
    folder.mkdir()
    records = []
    with (
        zipfile.ZipFile(folder / "images.zip", "w") as images,
        zipfile.ZipFile(folder / "speech-nl.zip", "w") as speech,
    ):
        for i in rows:
            record = {**pack.index[i], "speech": {}, "sound": None, "spoken": {}}
            if "nl" in pack.index[i]["speech"] and sum(bool(r["speech"]) for r in records) < clips:
                record["speech"] = {"nl": f"{i}.mp3"}
                speech.writestr(f"{i}.mp3", pack.speech_bytes(i, "nl"))
            data = pack.image_bytes(i)
            images.writestr(record["image"], data[: len(data) // 2] if record["id"] == truncated else data)
            records.append(record)
    assert sum(bool(record["speech"]) for record in records) == clips
    write_index(folder, "".join(json.dumps(record) + "\n" for record in records))
    write_sums(folder)
    return folder
