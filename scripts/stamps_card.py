"""The data set card: numbers come from the build's report, prose from here."""

import gzip
import re
import textwrap
from pathlib import Path

from stamps_media import CLIPPED_RUN, MP3_LEVEL, SIDE

from mmjax.data.groups import NEAR_DUPLICATE, SAME_DRAWING

VERSION = "2022.06.04-1"
DEB_SHA256 = "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"
TREE_SHA256 = "1395e7d1c3a88aba5a09148c21b68a7842196db01ca06ada59415605927dacc5"
PROBE = ("A probe apart from the build told the nine folders from speech (means and deviations of the log-mel, "
         "logistic regression, grouped 5-fold). Below 7.2 kHz the accuracy in French is .474 when trained and tested "
         "on the uncompressed clips, .463 on the pack's, and .472 when trained on the former and tested on the "
         "latter; in Russian .393, .394 and .388. Over all bands it is .475, .472 and .409 in French: do not mix "
         "these clips with other recordings above 7.2 kHz.")
REASONS = {
    "mirrored variant": "the same drawing turned over, kept for the drawing program only",
    "PNG beside an SVG": "two files of one stamp; the SVG is the sharper",
    "unreadable image": "no reader can draw it; its texts and recordings go with it",
    "image missing": "text or recording of a stamp that the package does not hold (renamed or misspelt there)",
    "silent audio": "decodes, but never rises above -60 dB of full scale; the modality counts as absent",
    "audio has no samples": "zero length; the modality counts as absent",
    "audio cannot be decoded": "damaged, or samples that are not finite; the modality counts as absent",
    "undecodable text": "not UTF-8; the stamp stays without text",
    "text line not understood": "neither the first line nor `language.utf8=text`, or a second text of one language",
    "empty text": "a language without words",
    "unknown language": "a recording in a language code that no text of the package uses",
    "second recording of the same": "two files of one stamp and language; the first by name stays",
    "settings of the drawing program": "what may be tinted or flipped there",
    "unknown kind of file": "neither image, recording, text nor settings",
    "SVG drawn by the second renderer": "resvg finds no size, or draws nothing (letters need a font); cairosvg drew it",
    "peak above full scale": "scaled to a peak of 0.99, so that no reader clips it",
    "length changed by MP3": "the decoded clip is longer or shorter than the original",
    "language code in other case": "written as the texts write it",
    "small raster": "longer side under 96 px in the source; not enlarged, the canvas is still full size",
    "clipped audio": f"at least {CLIPPED_RUN} samples in a row at full scale in the source; nothing can undo that",
    "recorded below 16 kHz": "resampled upwards; the high bands are empty",
    "text with space at an end": "texts stay as they are; strip them before counting words",
    "byte-equal audio": "the same file under two names; stored once, both stamps keep it and share a group",
    "byte-equal image": "the same file under two names; both stay and share a group",
    "nearly equal images": "pairs that look alike, mirrored or not; both stay and share a group",
}


def credits(changelog: Path) -> tuple[str, list[str]]:
    """The upstream changelog without e-mail addresses, and the names that stand before an address in it."""
    if not changelog.exists():
        return "", []
    lines = []
    for line in gzip.decompress(changelog.read_bytes()).split(b"\n"):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError:  # entries of the first years
            lines.append(line.decode("latin-1"))
    text = "\n".join(lines)
    before = re.findall(r"^[^\S\n]*([^\n<>():]{3,60}?)\s*<[^<>\s]+@[^<>\s]+>", text, re.MULTILINE)
    names = {re.sub(r"^.*\b([Bb]y|[Ff]rom|[Vv]ia)\s+", "", name).strip(" ,-+*").removesuffix("'s") for name in before}
    return re.sub(r"\s*<[^<>\s]+@[^<>\s]+>", "", text), sorted((n for n in names if n), key=str.casefold)


def table(head: tuple[str, ...], rows: list[tuple]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def source_text(source: dict) -> str:
    if source["tree_sha256"] == TREE_SHA256:
        return (f"Debian package `tuxpaint-stamps-default`, version {VERSION}, GPL-2+.\n"
                f"sha256 of the .deb: `{DEB_SHA256}`.")
    return "Built from another tree than the released package; its version is not known."


def fill(text: str) -> str:
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False)


def card(report: dict, names: list[str]) -> str:
    """The whole README.md of the pack. report: counts, source, dropped, mended, noticed; names: contributors."""
    counts, source = report["counts"], report["source"]
    error = counts["mel_error_db"]
    quality = ("" if not error else
               f"Measured on every clip against the uncompressed 16 kHz wave, as the absolute difference of 80-band "
               f"log-mels (25 ms windows; 80 dB under the clip's peak is silence): below 7.2 kHz the mean is "
               f"{error['below_7200_hz']['mean']} dB and the 95th percentile {error['below_7200_hz']['p95']} dB; over "
               f"all bands {error['all_bands']['mean']} and {error['all_bands']['p95']} dB, because the encoder passes "
               f"nothing above about 7.4 kHz. The decoder takes the encoder's delay off again: of "
               f"{sum(counts['source_rates_hz'].values())} clips "
               f"{counts['cleaning']['mended'].get('length changed by MP3', 0)} changed their length.")
    if source["tree_sha256"] == TREE_SHA256:
        quality += " " + PROBE
    cleaning = [(action, reason, number, REASONS[reason])
                for action, reasons in counts["cleaning"].items() for reason, number in sorted(reasons.items())]
    return f"""# Stamps: pictures, names in many languages, and people saying them

{source_text(source)}
The source tree has {source['files']} files (sha256 over their sorted sha256 sums:
`{source['tree_sha256']}`). Made by `scripts/build_stamps.py`; `sha256sums.txt` lists what it wrote.

A stamp is a drawing or photo for the children's drawing program Tux Paint, with its description in many languages,
spoken descriptions, and sometimes a sound effect. The task for which the pack is made: tell the top folder (those
with at least 40 images) from any subset of image, text and speech.

## Licence and credits
GPL, version 2 or later (`LICENSE`), as the package says of the whole. Copyright 2002-2022 Bill Kendrick and the
contributors. `CREDITS.txt` is the upstream changelog, e-mail addresses left out: it tells who drew, photographed,
recorded and translated what, and names the terms under which single works came (some are public domain, GFDL or
Creative Commons). Anyone who publishes single pictures should look there. The pack is data beside the Apache-2.0 code,
and no part of the Python package.

{fill("Contributors whom the changelog names with an address: " + (", ".join(names) or "none found") + ".")}

## What is in it
- `stamps.jsonl`: one JSON object a stamp, sorted by `id`: `folder`, `subfolder` (second level), `group` (see below),
  `image`, `texts` (language to text), `speech` (language to member of `speech-<language>.zip`), `sound` (the sound
  effect) and `spoken` (language to the spoken name of a letter or digit), both members of `sounds.zip`.
- `images.zip`: PNG, RGBA, {SIDE}x{SIDE} px; the longer side of a drawing fills the canvas; a smaller raster is not
  enlarged.
- `speech-*.zip`, `sounds.zip`: MP3, mono, 16 kHz, variable rate (libsndfile, compression level {MP3_LEVEL}).
- `cleaning.json`: every item behind the table of cleaning below, by name.

{fill(quality)}

## Counts
{table(("what", "number"), [
    ("stamps", counts["stamps"]), ("with text", counts["with_text"]), ("with speech", counts["with_speech"]),
    ("with a sound effect", counts["sounds"]), ("texts", sum(counts["texts"].values())),
    ("text languages", len(counts["texts"])), ("speech clips", counts["speech_clips"]),
    ("spoken letters and digits", sum(counts["spoken"].values())), ("hours of audio", counts["audio_hours"]),
    ("second-level folders", counts["subfolders"]), ("leak-free groups", counts["groups"]),
    ("largest group", counts["largest_group"]),
    ("groups by English captions only", counts["groups_english_only"])])}

{table(("folder", "stamps"), sorted(counts["folders"].items(), key=lambda row: (-row[1], row[0])))}

{table(("speech language", "clips"), sorted(counts["speech"].items(), key=lambda row: (-row[1], row[0])))}

{table(("text language", "texts"), sorted(counts["texts"].items(), key=lambda row: (-row[1], row[0])))}

{table(("spoken letters and digits", "clips"), sorted(counts["spoken"].items(), key=lambda row: (-row[1], row[0])))}

{table(("sample rate in the source, Hz", "clips"),
       sorted(counts["source_rates_hz"].items(), key=lambda row: int(row[0])))}

{table(("archive", "members"), list(counts["stored_members"].items()))}

## Cleaning
Every file of the source is either in the pack or in this table. "Noticed" items are in the pack.

{table(("action", "what", "number", "why"), cleaning)}

## Groups
Two stamps share a group when they have a byte-equal recording, an equal caption in English or in any language that is
spoken (case and spaces aside), or equal or nearly equal images, and so on along the chain. Splits must go by group. Nearly
equal means a distance of at most {NEAR_DUPLICATE} in `mmjax.data.groups.near_duplicates`, mirrored or not, chosen by eye: the pairs
(named in `cleaning.json`) are coins, recoloured eyes, faces, traffic lights and mirrored letters; just above
comes the first pair of different things, an apple and a basketball; or a share of at most {SAME_DRAWING} of what is drawn that
differs in `same_drawings` (dreidels with another letter, faces with another mouth). Where a language is spoken, equal captions are equal
words in one reader's voice. That gives {counts["groups"]} groups, the largest with {counts["largest_group"]} stamps; English captions alone
would give {counts["groups_english_only"]}, the largest with {counts["largest_group_english_only"]}. Translators into the other languages merge more of what
English keeps apart: who trains on one of those joins the groups of equal captions in it as well (`Stamps` does).

## Known biases
- A language is about one reader, so language and speaker cannot be told apart.
- Symbols are the largest folder, and most of them are letters and digits: the majority class is easy to see.
- Coins, houses, food and feasts are mostly those of Europe and North America.
- Folders are the filing of a drawing program: a toy rocket lies in space, and one picture of a fireman lies in both
  military and people.
- Seven symbols of money have no shapes of their own but name a font: their look is that of the machine that built this.
- Descriptions are short, many translations were made from English, and some languages repeat the English words.
- Coverage differs by language and folder: what is missing is not missing at random.
- The spoken description is meant to be the written one read aloud, so that speech adds little to text but the voice.
"""
