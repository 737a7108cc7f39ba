"""De-identification of all items: detected, counted, and removed or replaced."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from mmjax.data.build import personal_audio, personal_image, personal_text
from mmjax.data.build.finding import REPAIRED, Finding, with_extension
from mmjax.data.build.items import Item, Part

__all__ = ["LIMITS", "Deidentified", "deidentified", "deidentify"]

LIMITS = personal_text.LIMITS + personal_image.LIMITS + personal_audio.LIMITS


class Deidentified(NamedTuple):
    """items: with changed parts. findings: one for each changed part. counts: {kind: number of detections}."""

    items: list[Item]
    findings: list[Finding]
    counts: dict[str, int]


def deidentify(
    items: Sequence[Item],
    region: str | None = None,
    names: Collection[str] = (),
    progress: Callable[[Sequence], Iterable] = iter,
) -> Deidentified:
    """Replaces personal data in texts, and removes metadata of images and tags of recordings.

    region, names: see `without_personal_data`. `LIMITS` states what is not found.
    """
    changed, findings, totals = [], [], Counter()
    for item in progress(items):
        parts = {}
        for modality, part in item.parts.items():
            parts[modality], counts = deidentified(part, region, names)
            totals.update(counts)
            if counts:
                detail = ", ".join(f"{count} x {kind}" for kind, count in sorted(counts.items()))
                findings.append(Finding(item.id, modality, REPAIRED, "personal data", detail))
        changed.append(item.with_parts(parts))
    return Deidentified(changed, findings, dict(sorted(totals.items())))


def deidentified(part: Part, region: str | None, names: Collection[str]) -> tuple[Part, dict[str, int]]:
    """(the part without personal data, {kind: count})."""
    if part.kind == "text":
        text, counts = personal_text.without_personal_data(part.text(), region, names)
        return (part.with_bytes(text.encode()) if counts else part), counts
    data = part.read()
    if part.kind == "image":
        counts = personal_image.image_metadata(data)
        return (_image(part, personal_image.without_metadata(data)) if counts else part), counts
    tags = personal_audio.audio_tags(data)
    return (part.with_bytes(personal_audio.without_tags(data)), {"tag of a recording": tags}) if tags else (part, {})


def _image(part: Part, data: bytes) -> Part:
    """With the extension of a PNG file if it has become one."""
    return part.with_bytes(data, with_extension(part.name, ("png",))[0] if data.startswith(b"\x89PNG") else None)
