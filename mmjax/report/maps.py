"""Draws panels of maps (`mmjax.tasks.panels.maps`): attributions over pictures and words, with the sounds to play."""

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from mmjax.report.examples import Medium
from mmjax.runs.schema import NUMBER, Each, Optional, RunError, check

__all__ = ["MAPS", "Media", "draw_maps"]

Media = Callable[[str], Medium | None]
"""The name of a file of an audit -> the medium at this place of the page; None if there is no such file."""

MAPS = {
    "title": str,
    "failed": Optional(Each(str)),  # {modality: a sentence: why its maps did not pass the sanity check}
    "examples": [
        {
            "id": str,
            "target": str,
            "maps": [
                {
                    "modality": str,
                    "picture": Optional(str),
                    "words": Optional([str]),
                    "weights": Optional([NUMBER]),
                    "sound": Optional(str),
                    "failed": Optional(bool),
                }
            ],
        }
    ],
}


def draw_maps(panel: Mapping[str, Any], key: str, media: Media) -> str:
    """The HTML of a panel of maps, with a mark on those that did not pass a sanity check.

    RunError, naming `key`, for a missing field or file.
    """
    check(panel, MAPS, "audit", key)
    reasons = "".join(f'<p class="failed">✗ {escape(text)}</p>' for text in panel.get("failed", {}).values())
    cards = "".join(_card(example, f"{key}.examples[{i}]", media) for i, example in enumerate(panel["examples"]))
    title = escape(panel["title"])
    return f'<div class="attributions"><h4>{title}</h4>{reasons}<div class="maps">{cards}</div></div>'


def _card(example: Mapping[str, Any], key: str, media: Media) -> str:
    name, target = escape(example["id"]), escape(example["target"] or example["id"])
    head = f'<p class="target"><b>{target}</b> <span class="id">{name}</span></p>'
    body = "".join(_map(one, f"{key}.maps[{i}]", media) for i, one in enumerate(example["maps"]))
    return f'<div class="attribution">{head}{body}</div>'


def _map(one: Mapping[str, Any], key: str, media: Media) -> str:
    parts, name = [], escape(one["modality"])
    if "words" in one:
        words, weights = one["words"], one.get("weights", [])
        if len(words) != len(weights):
            raise RunError(f"audit: key '{key}.weights' has {len(weights)} entries for {len(words)} words")
        parts.append(f'<span class="tokens">{" ".join(map(_word, words, weights))}</span>')
    if "picture" in one:
        parts.append(_element("img", one["picture"], f"attribution of {name}", f"{key}.picture", media))
    if "sound" in one:
        parts.append(_element("audio", one["sound"], "", f"{key}.sound", media))
    mark = '<span class="failed">✗ sanity check not passed</span> ' if one.get("failed") else ""
    return f'<div class="modality"><span class="name">{name}</span> {mark}{"".join(parts)}</div>'


def _word(word: str, weight: float) -> str:
    """A word on a blue ground if it speaks for the prediction, on an orange one if against; no plot relies on colour alone."""
    tone = "for" if weight >= 0 else "against"
    return f'<span class="{tone}" style="--part: {abs(weight):.2f}" title="{weight:+.2f}">{escape(word)}</span>'


def _element(tag: str, file: str, label: str, key: str, media: Media) -> str:
    medium = media(file)
    if medium is None:
        raise RunError(f"audit: key '{key}' is {file!r}, which is no file of the audit")
    if not medium.embedded:
        return f"<small>{escape(medium.name)}, {medium.kilobytes} kB, in the run folder</small>"
    source = f'id="{medium.id}" src="{medium.uri}"' if medium.uri else f'data-copy="{medium.id}"'
    if tag == "audio":
        return f'<audio controls preload="none" {source}></audio>'
    return f'<img {source} alt="{label}" loading="lazy" decoding="async">'
