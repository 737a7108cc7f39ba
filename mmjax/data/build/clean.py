"""The cleaning report: which items cannot be used, which were repaired, and what users should know of the others.

Every modality has a function: encoded bytes -> (bytes to keep or None, findings). An item without any usable modality is
dropped, as is an item whose label is missing.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from mmjax.data.build.check_audio import check_audio
from mmjax.data.build.check_image import check_image
from mmjax.data.build.check_text import check_text
from mmjax.data.build.finding import DROPPED, NOTED, Checked, Finding
from mmjax.data.build.items import Item, Part, modalities, parts_of, sha256
from mmjax.data.decode import DataError

__all__ = ["CHECKS", "CheckedPart", "Cleaned", "check_part", "clean", "counts", "mixed_rates", "repeated_parts"]

CHECKS: dict[str, Callable[[bytes, str], Checked]] = {"image": check_image, "audio": check_audio, "text": check_text}


class Cleaned(NamedTuple):
    """items: those that remain, with repaired parts. findings: everything that was dropped, repaired or noted, in order."""

    items: list[Item]
    findings: list[Finding]


def clean(items: Sequence[Item], label: str | None = None, progress: Callable[[Iterable], Iterable] = iter) -> Cleaned:
    """Checks every part of every item.

    label: a column that every item needs. progress: wraps the items to display progress.
    Raises DataError if two items have one id, or if no item remains.
    """
    repeated = [name for name, count in Counter(item.id for item in items).items() if count > 1]
    if repeated:
        raise DataError(f"the id {repeated[0]!r} occurs twice; each item needs an id of its own")
    kept, findings, rates = [], [], defaultdict(dict)
    for item in progress(items):
        parts = {}
        for modality, part in item.parts.items():
            checked, found = check_part(part)
            findings += [Finding(item.id, modality, *rest) for rest in found]
            if checked is not None:
                parts[modality] = checked.part
                if checked.rate:
                    rates[modality][item.id] = checked.rate
        if not parts:
            findings.append(Finding(item.id, "", DROPPED, "no usable modality"))
        elif label is not None and not item.columns.get(label, "").strip():
            findings.append(Finding(item.id, "", DROPPED, "no label", f"column {label!r} is empty"))
        else:
            kept.append(item.with_parts(parts))
    if not kept:
        reasons = ", ".join(f"{count} x {why}" for why, count in Counter(f.reason for f in findings).most_common(3))
        raise DataError(f"no item can be used ({reasons or 'there are no items'}); the set needs readable files or texts")
    return Cleaned(kept, findings + mixed_rates(rates) + repeated_parts(kept))


class CheckedPart(NamedTuple):
    part: Part
    rate: int


def check_part(part: Part) -> tuple[CheckedPart | None, list[tuple[str, str, str]]]:
    """(the part to keep with its sample rate, 0 unless it is audio; or None, [(action, reason, detail)])."""
    try:
        data = part.read()
    except DataError as error:
        return None, [(DROPPED, "missing or unreadable file", str(error).removeprefix(f"{part.name}: "))]
    checked = CHECKS[part.kind](data, part.name)
    if checked.data is None:
        return None, checked.findings
    changed = checked.data != data or checked.name != part.name
    return CheckedPart(part.with_bytes(checked.data, checked.name) if changed else part, checked.rate), checked.findings


def mixed_rates(rates: dict[str, dict[str, int]]) -> list[Finding]:
    """A note for each recording whose sample rate is not the most frequent one of its modality.

    rates: {modality: {id: Hz}}.
    """
    findings = []
    for modality, own in sorted(rates.items()):
        usual = min(Counter(own.values()).items(), key=lambda pair: (-pair[1], pair[0]))[0]
        findings += [
            Finding(name, modality, NOTED, "other sample rate", f"{rate} Hz; most have {usual} Hz")
            for name, rate in own.items()
            if rate != usual
        ]
    return findings


def repeated_parts(items: Sequence[Item]) -> list[Finding]:
    """A note for each part whose bytes occur in an earlier item; such items share a group later."""
    findings = []
    for modality, kind in modalities(items).items():
        first: dict[str, str] = {}
        for row, part in zip(*parts_of(items, modality), strict=True):
            other = first.setdefault(sha256(part.read()), items[row].id)
            if other != items[row].id:
                reason = "repeated text" if kind == "text" else "repeated file"
                findings.append(Finding(items[row].id, modality, NOTED, reason, f"equals {other}"))
    return findings


def counts(findings: Iterable[Finding]) -> dict[str, dict[str, int]]:
    """{action: {reason: count}}, both sorted."""
    table: dict[str, Counter] = {}
    for finding in findings:
        table.setdefault(finding.action, Counter())[finding.reason] += 1
    return {action: dict(sorted(table[action].items())) for action in sorted(table)}
