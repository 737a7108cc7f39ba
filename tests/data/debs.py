"""Debian packages for tests: an `ar` archive with a tar of files and links."""

import io
import tarfile
from pathlib import Path


def write_deb(file: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(fileobj=(raw := io.BytesIO()), mode="w:xz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": b"", "data.tar.xz": raw.getvalue()}
    archive = b"!<arch>\n"
    for name, data in parts.items():
        archive += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    file.write_bytes(archive)
    return file
