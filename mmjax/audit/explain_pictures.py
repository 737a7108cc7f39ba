"""Attributions as pictures: heat maps over images and spectrograms, and coloured words."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from mmjax.audit.part import AuditedPart
from mmjax.data.inputs import SoundInput, TextInput
from mmjax.runs.examples import example_row
from mmjax.tasks import panels
from mmjax.types import Padded, Units

__all__ = ["AGAINST", "FADED", "FOR", "over", "png", "shown_maps", "unit_scale"]

FOR, AGAINST = np.float32([0, 114, 178]), np.float32([213, 94, 0])  # blue and orange of the report's palette
FADED = 0.25  # what remains of the contrast of a picture under its map


def shown_maps(
    part: AuditedPart,
    units: Units,
    chosen: Sequence[int],
    maps: Mapping[str, Mapping[str, np.ndarray]],
    marked: Mapping[tuple[str, ...], str] | None = None,
) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """(a panel of maps for each method, the pictures and sounds that they name) of the chosen units.

    maps: {method: {modality: attribution [k ...] of the features of each chosen unit}}. marked: {(method, modality): a
    sentence: why it did not pass the sanity check}; its panel has this as "failed", by modality, and each of its maps "failed".
    """
    rows, files, sounds, titles, found = [int(units.row[unit]) for unit in chosen], {}, {}, [], []
    for number, unit in enumerate(chosen):
        media = part.dataset.media(example_row(units, unit, part.dataset))
        if media.get("sound"):
            sounds[number] = f"sound{number}.mp3"
            files[sounds[number]] = media["sound"]
        target = next((of[unit] for name, of in units.target.items() if name == "name"), "")
        titles.append((str(units.metadata["id"][unit]), str(target)))
    for method, of in maps.items():
        failed = {name: text for (marks, name), text in (marked or {}).items() if marks == method and name in of}
        examples = []
        for number, row in enumerate(rows):
            entries = []
            for name, values in of.items():
                pointer = int(part.dataset.splits["test"].pointer[name][row])
                if pointer < 0:
                    continue
                entry, picture = _entry(part.dataset.columns[name], pointer, values[number])
                if picture is not None:
                    file = f"{method}-{name}-{number}.png".replace(" ", "_")
                    files[file] = picture
                    entry["picture"] = file
                if isinstance(part.dataset.columns[name].parse, SoundInput) and number in sounds:
                    entry["sound"] = sounds[number]
                if name in failed:
                    entry["failed"] = True
                entries.append({"modality": name, **entry})
            examples.append({"id": titles[number][0], "target": titles[number][1], "maps": entries})
        if any(example["maps"] for example in examples):
            found.append(panels.maps(method, examples) | ({"failed": failed} if failed else {}))
    return found, files


def over(picture: np.ndarray, attribution: np.ndarray) -> np.ndarray:
    """uint8 [h w 3]: the grey picture, faded, under blue where the attribution is positive and orange where it is negative.

    picture: Float[h w], 0 black to 1 white. attribution: Float[h w]; its largest absolute value has the full colour.
    """
    share = np.abs(unit_scale(attribution))[..., None]
    ground = 255 * (1 - FADED * (1 - picture[..., None]))
    colour = np.where(attribution[..., None] >= 0, FOR, AGAINST)
    return np.round((1 - share) * ground + share * colour).astype(np.uint8)


def unit_scale(attribution: np.ndarray) -> np.ndarray:
    """The attribution divided by its largest absolute value; zeros if all are 0 or undefined."""
    attribution = np.nan_to_num(np.float32(attribution))
    return attribution / max(np.abs(attribution).max(initial=0), 1e-30)


def png(pixels: np.ndarray) -> bytes:
    """uint8 [h w 3] as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _entry(column: Any, number: int, values: np.ndarray) -> tuple[dict[str, Any], bytes | None]:
    """(the JSON of one map, its picture). values: of the features of one example."""
    if isinstance(column.parse, TextInput):
        item, tokenizer = column.read(number), column.parse.tokenizer
        ids = np.asarray(item.x)[: int(item.length)].tolist()
        weights = unit_scale(values[: len(ids)])
        words = [tokenizer.text([token]) or "?" for token in ids]
        return {"words": words, "weights": [float(f"{weight:.3g}") for weight in weights.tolist()]}, None
    if values.ndim == 1:
        weights = unit_scale(values)
        first = np.flatnonzero(np.diff(weights, prepend=np.nan) != 0)  # neighbours that were hidden together are shown as one
        last = np.append(first[1:], len(weights)) - 1
        strongest = np.argsort(-np.abs(weights[first]), kind="stable")[:12]
        words = [f"feature {a}" if a == b else f"features {a} to {b}" for a, b in zip(first[strongest], last[strongest])]
        return {"words": words, "weights": [float(f"{weight:.3g}") for weight in weights[first][strongest]]}, None
    item = column.read(number)
    array = np.asarray(item.x if isinstance(item, Padded) else item)
    if values.ndim == 2 and array.ndim == 3:
        grey = array[..., :3].astype(np.float32).mean(axis=-1)
        return {}, png(over(_stretched(grey), values))
    # a spectrogram or a series: time to the right, the first band or channel at the bottom
    inputs = column.preprocess(_batch_of_one(item))
    length = int(np.asarray(inputs.length)[0]) if isinstance(inputs, Padded) else values.shape[0]
    ground = np.asarray(inputs.x if isinstance(inputs, Padded) else inputs)[0, :length]
    turned = lambda x: np.flipud(x[:length].T)
    return {}, png(over(_stretched(turned(ground)), turned(values)))


def _batch_of_one(item: Any) -> Any:
    if isinstance(item, Padded):
        return Padded(np.asarray(item.x)[None], np.asarray(item.length)[None])
    return np.asarray(item)[None]


def _stretched(picture: np.ndarray) -> np.ndarray:
    """The picture from 0, its smallest value, to 1."""
    low, high = picture.min(), picture.max()
    return (picture - low) / max(high - low, 1e-12)
