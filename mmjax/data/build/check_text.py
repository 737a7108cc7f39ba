"""Checks of one text."""

import unicodedata

from mmjax.data.build.finding import DROPPED, NOTED, REPAIRED, Checked
from mmjax.data.decode import DataError, decode_text

__all__ = ["LEGACY", "check_text", "decoded_once"]

LEGACY = "cp1252"  # Windows-1252, which contains Latin-1's letters


def check_text(data: bytes, name: str) -> Checked:
    """Drops empty and undecodable texts; repairs legacy encodings, twice-encoded UTF-8, control characters, composition and
    surrounding spaces; notes replacement characters. Returns UTF-8 in Unicode's form NFC."""
    findings = []
    try:
        text = decode_text(data, name)
    except DataError as error:
        try:
            text = data.decode(LEGACY)
        except UnicodeDecodeError:
            return Checked(None, [(DROPPED, "undecodable text", str(error).removeprefix(f"{name}: "))], name)
        findings.append((REPAIRED, "text not in UTF-8", "read as Windows-1252"))
    once = decoded_once(text)
    if once != text:
        findings.append((REPAIRED, "text encoded twice", f"{len(text)} characters became {len(once)}"))
    visible = "".join(c for c in once if c in "\n\t" or unicodedata.category(c) != "Cc")
    if visible != once:
        findings.append((REPAIRED, "control characters", f"{len(once) - len(visible)} removed"))
    normal = unicodedata.normalize("NFC", visible)
    if normal != visible:
        findings.append((REPAIRED, "Unicode composition", "changed to NFC"))
    stripped = normal.strip()
    if not stripped:
        return Checked(None, [*findings, (DROPPED, "empty text", "")], name)
    if stripped != normal:
        findings.append((REPAIRED, "surrounding spaces", ""))
    if "\ufffd" in stripped:
        findings.append((NOTED, "replacement character", f"{stripped.count(chr(0xFFFD))} characters were lost before"))
    return Checked(stripped.encode(), findings, name)


def decoded_once(text: str) -> str:
    """UTF-8 that was read as Windows-1252 and encoded again, such as 'cafÃ©' -> 'café'; other texts are unchanged."""
    try:
        return text.encode(LEGACY).decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return text
