"""What the cleaning reports of one part."""

from typing import NamedTuple

__all__ = ["DROPPED", "NOTED", "REPAIRED", "Checked", "Finding", "with_extension"]

DROPPED, REPAIRED, NOTED = "dropped", "repaired", "noted"


class Finding(NamedTuple):
    """item: its id. modality: "" for the item itself. action: dropped, repaired or noted. detail: counts and causes.

    Findings are published, but cleaning precedes de-identification: they have no texts, file names or cells."""

    item: str
    modality: str
    action: str
    reason: str
    detail: str = ""


class Checked(NamedTuple):
    """data: the bytes to keep, None if the part is dropped. findings: (action, reason, detail). name: with the extension of the
    actual format. rate: sample rate of a recording in Hz, else 0."""

    data: bytes | None
    findings: list[tuple[str, str, str]]
    name: str
    rate: int = 0


def with_extension(name: str, extensions: tuple[str, ...]) -> tuple[str, list[tuple[str, str, str]]]:
    """The name with the first of these extensions, and the finding, unless it already has one of them."""
    stem, dot, suffix = name.rpartition(".")
    if dot and "/" not in suffix and suffix.lower() in extensions:
        return name, []
    base = stem if dot and "/" not in suffix and len(suffix) <= 5 else name
    detail = f"{'.' + suffix if base == stem else 'none'}; the file is {extensions[0].upper()}"
    return f"{base}.{extensions[0]}", [(REPAIRED, "wrong extension", detail)]
