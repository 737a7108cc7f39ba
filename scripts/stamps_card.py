"""The data set card: its numbers and its text."""

import gzip
import re
import textwrap
from collections import Counter
from pathlib import Path

import numpy as np
from stamps_media import CLIPPED_RUN, MP3_LEVEL, SIDE, Clip
from stamps_scan import CleaningReport

from mmjax.data.groups import NEAR_DUPLICATE, SAME_DRAWING

VERSION = "2022.06.04-1"
DEB_SHA256 = "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"
TREE_SHA256 = "1395e7d1c3a88aba5a09148c21b68a7842196db01ca06ada59415605927dacc5"
PROBE = ("A separate probe classified the nine folders from speech (means and deviations of the log-mel, logistic "
         "regression, grouped 5-fold cross-validation). With the bands below 7.2 kHz, the accuracy in French is .474 "
         "when trained and tested on the uncompressed clips, .463 on the clips of the pack, and .472 when trained on "
         "the former and tested on the latter; in Russian .393, .394 and .388. With all bands it is .475, .472 and "
         ".409 in French: above 7.2 kHz, do not mix these clips with other recordings.")
REASONS = {
    "mirrored variant": "the mirrored drawing, which only the drawing program needs",
    "PNG beside an SVG": "two files of one stamp; the SVG is sharper",
    "unreadable image": "no renderer can draw it; its texts and recordings are dropped too",
    "image missing": "text or recording of a stamp without an image in the package (renamed or misspelt)",
    "silent audio": "peak below -60 dB of full scale; the modality is absent",
    "audio has no samples": "zero length; the modality is absent",
    "audio cannot be decoded": "damaged, or non-finite samples; the modality is absent",
    "undecodable text": "not UTF-8; the stamp has no text",
    "malformed text line": "neither the first line nor `language.utf8=text`, or a second text in one language",
    "empty text": "only spaces after the language code",
    "unknown language": "a recording with a language code that no text uses",
    "duplicate recording": "two files for one stamp and language; the first by name is packed",
    "settings of the drawing program": "whether it may tint or flip the stamp",
    "unknown file type": "not an image, recording, text or settings file",
    "SVG drawn by the fallback renderer": "resvg finds no size, or draws nothing (letters need a font); drawn by cairosvg",
    "peak above full scale": "scaled to a peak of 0.99, so that it is not clipped",
    "length changed by MP3": "the decoded clip and the original differ in length",
    "case of a language code": "changed to that of the texts",
    "small raster": "longer side below 96 px in the source; not enlarged on the full canvas",
    "clipped audio": f"at least {CLIPPED_RUN} consecutive samples at full scale in the source; cannot be repaired",
    "recorded below 16 kHz": "upsampled; the high bands are empty",
    "text with surrounding spaces": "unchanged; strip texts before counting words",
    "byte-equal audio": "the same file under two names; stored once; the stamps share a group",
    "byte-equal image": "the same file under two names; both are packed and share a group",
    "near-duplicate images": "pairs of similar images, mirrored or not; both are packed and share a group",
}


def count(records: list[dict], clips: dict[str, Clip], archives: dict[str, dict[str, bytes]], report: CleaningReport) -> dict:
    """All numbers of the card."""
    sizes = Counter(record["group"] for record in records)
    speech = Counter(lang for record in records for lang in record["speech"])
    error = sum(clip.mel_error for clip in clips.values()) if clips else None
    return {
        "stamps": len(records), "folders": Counter(record["folder"] for record in records),
        "subfolders": len({record["subfolder"] for record in records}),
        "texts": Counter(lang for record in records for lang in record["texts"]),
        "speech": speech, "speech_clips": sum(speech.values()), "with_speech": sum(bool(r["speech"]) for r in records),
        "with_text": sum(bool(r["texts"]) for r in records),
        "sounds": sum(r["sound"] is not None for r in records),
        "spoken": Counter(lang for record in records for lang in record["spoken"]),
        "groups": len(sizes), "largest_group": max(sizes.values()), "audio_hours": round(
            sum(clip.seconds for clip in clips.values()) / 3600, 3),
        "source_rates_hz": Counter(str(clip.rate) for clip in clips.values()),
        "stored_members": {name: len(members) for name, members in sorted(archives.items())},
        "mel_error_db": mel_summary(error),
        "cleaning": {action: {reason: len(items) for reason, items in table.items()} for action, table in
                     (("dropped", report.dropped), ("repaired", report.repaired), ("noted", report.noted))},
    }


def mel_summary(histograms: np.ndarray | None) -> dict:
    if histograms is None:
        return {}
    middles = (np.arange(histograms.shape[1]) + 0.5) * 0.1
    return {part: {"mean": round(float((row * middles).sum() / row.sum()), 2),
                   "p95": round(float(middles[np.searchsorted(row.cumsum(), 0.95 * row.sum())]), 2)}
            for part, row in zip(("below_7200_hz", "all_bands"), histograms, strict=True)}


def credits(changelog: Path) -> tuple[str, list[str]]:
    """(the upstream changelog without e-mail addresses, the names that precede an address in it)."""
    if not changelog.exists():
        return "", []
    lines = []
    for line in gzip.decompress(changelog.read_bytes()).split(b"\n"):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError:  # the oldest entries
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
    return "Built from a source tree that is not the released package; its version is unknown."


def fill(text: str) -> str:
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False)


def card(report: dict, names: list[str]) -> str:
    """The README.md of the pack. report: the content of cleaning.json.gz. names: of contributors."""
    counts, source = report["counts"], report["source"]
    error = counts["mel_error_db"]
    quality = ("" if not error else
               f"The compression error is the absolute difference of 80-band log-mels between each clip and its "
               f"uncompressed 16 kHz waveform (25 ms windows; 80 dB below the clip's peak counts as silence). Below "
               f"7.2 kHz its mean is {error['below_7200_hz']['mean']} dB and its 95th percentile "
               f"{error['below_7200_hz']['p95']} dB; over all bands {error['all_bands']['mean']} and "
               f"{error['all_bands']['p95']} dB, because the encoder removes everything above about 7.4 kHz. The decoder "
               f"removes the encoder's delay: {counts['cleaning']['repaired'].get('length changed by MP3', 0)} of "
               f"{sum(counts['source_rates_hz'].values())} clips changed their length.")
    if source["tree_sha256"] == TREE_SHA256:
        quality += " " + PROBE
    cleaning = [(action, reason, number, REASONS[reason])
                for action, reasons in counts["cleaning"].items() for reason, number in sorted(reasons.items())]
    return f"""# Stamps: images with names in many languages, written and spoken

{source_text(source)}
The source tree has {source['files']} files (sha256 over their sorted sha256 sums:
`{source['tree_sha256']}`). Built by `scripts/build_stamps.py`; `sha256sums.txt` lists its output.

A stamp is a drawing or photo for the children's drawing program Tux Paint, with its description in many languages,
spoken descriptions, and sometimes a sound effect. The main task is to classify the top-level folder (those with at
least 40 images) from any subset of image, text and speech.

## Licence and credits
GPL, version 2 or later (`LICENSE`), as stated for the complete package. Copyright 2002-2022 Bill Kendrick and the
contributors. `CREDITS.txt` is the upstream changelog without e-mail addresses. It states who drew, photographed,
recorded and translated what, and the terms of individual works (some are public domain, GFDL or Creative Commons).
Please check it before you publish individual images. The pack is data beside the Apache-2.0 code; the Python package
does not include it.

{fill("Contributors with an address in the changelog: " + (", ".join(names) or "none found") + ".")}

## Contents
- `stamps.jsonl.gz`: one JSON object per stamp, sorted by `id`: `folder`, `subfolder` (second level), `group` (see below),
  `image`, `texts` (language to text), `speech` (language to member of `speech-<language>.zip`), `sound` (the sound
  effect) and `spoken` (language to the spoken name of a letter or digit), both members of `sounds.zip`.
- `images.zip`: PNG, RGBA, {SIDE}x{SIDE} px; the longer side of a drawing fills the canvas; a smaller raster is not
  enlarged.
- `speech-*.zip`, `sounds.zip`: MP3, mono, 16 kHz, variable bit rate (libsndfile, compression level {MP3_LEVEL}).
- `cleaning.json.gz`: the counts, and every item of the table of cleaning by name.

{fill(quality)}

## Counts
{table(("item", "number"), [
    ("stamps", counts["stamps"]), ("with text", counts["with_text"]), ("with speech", counts["with_speech"]),
    ("with a sound effect", counts["sounds"]), ("texts", sum(counts["texts"].values())),
    ("text languages", len(counts["texts"])), ("speech clips", counts["speech_clips"]),
    ("spoken letters and digits", sum(counts["spoken"].values())), ("hours of audio", counts["audio_hours"]),
    ("second-level folders", counts["subfolders"]), ("groups", counts["groups"]),
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
Every file of the source is either packed or in this table. Repaired and noted items are packed.

{table(("action", "item", "number", "explanation"), cleaning)}

## Groups
{fill(f"Two stamps share a group if they have a byte-equal recording, an equal caption in English or in any spoken language (ignoring "
      f"case and spaces), or equal or near-duplicate images; groups are the connected components. Splits must not divide "
      f"groups. Near-duplicate means a distance of at most {NEAR_DUPLICATE} in `mmjax.data.groups.near_duplicates`, mirrored or not. "
      f"The threshold was chosen by eye: the pairs (listed in `cleaning.json.gz`) are coins, recoloured eyes, faces, traffic lights "
      f"and mirrored letters; the next pair above it, an apple and a basketball, shows different things. Images are also "
      f"near-duplicates if at most {SAME_DRAWING} of the drawn pixels differ in `same_drawings` (dreidels with another letter, faces "
      f"with another mouth). In a spoken language, equal captions are the same words in the voice of one reader. This gives {counts['groups']} "
      f"groups, the largest with {counts['largest_group']} stamps; English captions only would give {counts['groups_english_only']}, "
      f"the largest with {counts['largest_group_english_only']}. Other languages use one caption for several English ones; an "
      f"experiment on them must also merge the groups of equal captions there, as `Stamps` does.")}

## Known biases
- Almost every language has one reader, so language and speaker are confounded.
- Symbols are the largest folder, and most of them are letters and digits: the majority class is easy to recognise.
- Coins, houses, food and feasts are mostly from Europe and North America.
- The folders are those of a drawing program: a toy rocket is in space, and one image of a fireman is in both military
  and people.
- Seven symbols of money are letters of a font: they look as on the machine that built the pack.
- Descriptions are short, many translations were made from English, and some languages repeat the English words.
- Coverage differs by language and folder: values are not missing at random.
- The spoken description is meant to be the written one read aloud, so speech adds little but the voice to the text.
"""
