"""Simple features of items for the tests of shortcuts: contents of each modality, sizes, and metadata."""

import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from PIL import Image

from mmjax.data.build.audio_match import FILTERS, HOP, RATE, WINDOW
from mmjax.data.build.check_audio import sample_rate
from mmjax.data.build.items import Item, Part
from mmjax.data.decode import audio_seconds, decode_audio, decode_image
from mmjax.data.image import on_white

__all__ = ["CONTENTS", "FREQUENT", "LARGEST", "SIDE", "audio_content", "image_content", "metadata_table", "size_table", "sizes"]

SIDE = 12  # pixels of the thumbnails
FREQUENT = 5  # items that share a value of a metadata column, for the value to be a feature
LARGEST = float(np.finfo(np.float32).max)  # number of a feature; scikit-learn's trees are of float32


def image_content(part: Part) -> np.ndarray:
    """float32 [432]: a thumbnail of 12 x 12 pixels over white, in [0, 1]."""
    white = on_white(decode_image(part.read(), part.name))[..., :3]
    small = Image.fromarray(np.ascontiguousarray(white)).resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float32).ravel() / 255


def audio_content(part: Part) -> np.ndarray:
    """float32 [120]: means and deviations over time of the levels of 60 semitone bands, in dB."""
    wave = decode_audio(part.read(), part.name, RATE)
    wave = np.pad(wave, (0, max(0, WINDOW - len(wave))))
    frames = wave[np.arange(WINDOW) + HOP * np.arange(1 + (len(wave) - WINDOW) // HOP)[:, None]]
    db = 10 * np.log10(np.abs(np.fft.rfft(frames * np.hanning(WINDOW))) ** 2 @ FILTERS + 1e-8)
    return np.concatenate([db.mean(axis=0), db.std(axis=0)]).astype(np.float32)


CONTENTS: dict[str, Callable[[Part], np.ndarray]] = {"image": image_content, "audio": audio_content}


def sizes(part: Part) -> list[float]:
    """What can be told without the content: [bytes], for an image also its width and height, for a recording its seconds and
    sample rate; for a text [characters, words]."""
    data = part.read()
    if part.kind == "text":
        text = part.text()
        return [float(len(text)), float(len(text.split()))]
    if part.kind == "audio":
        return [float(len(data)), audio_seconds(data, part.name), float(sample_rate(data, part.name))]
    with Image.open(io.BytesIO(data)) as image:
        return [float(len(data)), *map(float, image.size)]


def size_table(items: Sequence[Item], kinds: Iterable[str], progress: Callable[[Sequence], Iterable] = iter) -> np.ndarray:
    """Float[n f]: sizes of all modalities of these kinds; -1 where a modality is absent."""
    wanted = set(kinds)
    names = sorted({(name, part.kind) for item in items for name, part in item.parts.items() if part.kind in wanted})
    width = {"text": 2, "image": 3, "audio": 3}
    rows = [
        [value for name, kind in names for value in (sizes(item.parts[name]) if name in item.parts else [-1.0] * width[kind])]
        for item in progress(items)
    ]
    return np.array(rows, np.float64).reshape(len(items), -1)


def metadata_table(items: Sequence[Item], ignored: Iterable[str]) -> tuple[np.ndarray, list[str]]:
    """(Float[n f], names): which modalities are present, extensions of files, and values of the columns that at least five
    items share, as 0 or 1; columns of numbers as they are, -1 where they are empty, unless one is infinite or too
    large. ignored: columns that are labels or ids."""
    names = sorted({key for item in items for key in item.columns} - set(ignored))
    table: dict[str, list[float]] = {}
    for modality in sorted({name for item in items for name in item.parts}):
        table[f"{modality} is present"] = [float(modality in item.parts) for item in items]
        suffixes = [part.name.rpartition(".")[2].lower() if (part := item.parts.get(modality)) and part.kind != "text" else ""
                    for item in items]  # fmt: skip
        table |= _indicators(f"extension of {modality}", suffixes)
    for name in names:
        values = [item.columns.get(name, "") for item in items]
        numbers = _numbers(values)
        table |= {name: numbers} if numbers else _indicators(name, values)
    varied = {name: column for name, column in table.items() if len(set(column)) > 1}
    return np.array(list(varied.values()), np.float64).reshape(len(varied), len(items)).T, list(varied)


def _indicators(name: str, values: Sequence[str]) -> dict[str, list[float]]:
    frequent = sorted(value for value, count in Counter(values).items() if value and count >= FREQUENT)
    return {f"{name} = {value}": [float(own == value) for own in values] for value in frequent}


def _numbers(values: Sequence[str]) -> list[float] | None:
    """None if a value is no number, infinite or too large."""
    try:
        numbers = [float(value) if value else -1.0 for value in values]
    except ValueError:
        return None
    return None if any(abs(number) > LARGEST for number in numbers) else numbers
