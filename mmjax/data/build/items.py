"""The items of a set under construction. Each step of the build is a function of a list of them."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmjax.data.decode import DataError, decode_text

__all__ = ["KINDS", "Item", "Part", "check_unicode", "column", "modalities", "parts_of", "sha256"]

KINDS = ("image", "audio", "text")


@dataclass(frozen=True)
class Part:
    """One modality of one item.

    kind: one of `KINDS`. name: a file name relative to the root of the data, or the row and column of a text; used in reports.
    content: the file, or its bytes (UTF-8 for a text).
    """

    kind: str
    name: str
    content: Path | bytes

    def __post_init__(self):
        if self.kind not in KINDS:
            raise DataError(f"{self.name}: the kind is {self.kind!r}; it must be one of {', '.join(KINDS)}")

    def read(self) -> bytes:
        """The encoded bytes. Raises DataError if the file cannot be read."""
        if isinstance(self.content, bytes):
            return self.content
        try:
            return self.content.read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"{self.name}: {reason}; it must be a file that can be read") from None

    def text(self) -> str:
        """The decoded text. Raises DataError if it is not UTF-8."""
        return decode_text(self.read(), self.name)

    def with_bytes(self, data: bytes, name: str | None = None) -> "Part":
        return dataclasses.replace(self, content=data, name=name or self.name)


@dataclass(frozen=True)
class Item:
    """One example. parts: {modality: Part}; an absent modality has no entry. columns: {name: value}, its labels, group, source
    and other metadata as strings; an absent value is ""."""

    id: str
    parts: Mapping[str, Part]
    columns: Mapping[str, str] = field(default_factory=dict)

    def with_parts(self, parts: Mapping[str, Part]) -> "Item":
        return dataclasses.replace(self, parts=parts)


def column(items: Sequence[Item], name: str) -> list[str]:
    """The values of a column, "" where an item has none. Raises DataError if no item has this column."""
    known = sorted({key for item in items for key in item.columns})
    if name not in known:
        raise DataError(f"there is no column {name!r}; the columns are {', '.join(known) or 'none'}")
    return [item.columns.get(name, "") for item in items]


def modalities(items: Sequence[Item]) -> dict[str, str]:
    """{modality: kind}, sorted by name. Raises DataError if one modality has two kinds."""
    kinds: dict[str, str] = {}
    for item in items:
        for name, part in item.parts.items():
            if kinds.setdefault(name, part.kind) != part.kind:
                raise DataError(f"{part.name}: {name!r} is {part.kind} here and {kinds[name]} elsewhere; use two columns")
    return dict(sorted(kinds.items()))


def parts_of(items: Sequence[Item], modality: str) -> tuple[list[int], list[Part]]:
    """(numbers of the items that have this modality, their parts)."""
    rows = [i for i, item in enumerate(items) if modality in item.parts]
    return rows, [items[i].parts[modality] for i in rows]


def check_unicode(text: str, where: str) -> None:
    """Raises DataError, naming where, for a text that UTF-8 cannot encode: half of a surrogate pair, or a file name whose bytes
    are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        bad = f"character {error.start + 1} is {text[error.start]!r}, which is not Unicode"
        raise DataError(f"{where}: {bad}; it must be text, or the name of a file, in UTF-8") from None


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
