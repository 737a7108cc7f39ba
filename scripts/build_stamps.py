"""Builds the committed Stamps pack from Debian's unpacked package tuxpaint-stamps-default.

Run: python scripts/build_stamps.py --source DIR [--out data/stamps]      Time: about 3 min on 2 cores
DIR is the result of `dpkg-deb -x tuxpaint-stamps-default_*.deb DIR`. Equal sources give equal bytes. Every file of the
source is either packed or listed in the cleaning report, which the script checks.
Needs: pip install 'mmjax[audio,stamps]'
"""

import argparse
import gzip
import hashlib
import json
import multiprocessing
import os
import sys
import zipfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported: each process of the pool uses one thread

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # for the modules beside this file

from stamps_card import card, count, credits
from stamps_media import Clip, Drawing, convert, draw
from stamps_scan import CleaningReport, Stamp, scan

from mmjax.data.groups import NEAR_DUPLICATE, connected_groups, near_duplicates, pairs_sharing_a_key, same_drawings
from mmjax.data.stamps.pack import INDEX

CHECKOUT = Path(__file__).resolve().parents[1]
FIXED_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest date of a ZIP file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="the unpacked package")
    parser.add_argument("--out", type=Path, default=CHECKOUT / "data" / "stamps", help="folder of the pack")
    parser.add_argument("--license", type=Path, default=CHECKOUT / "data" / "stamps" / "LICENSE",
                        help="file with the text of the GPL, version 2 (on Debian in common-licenses)")
    parser.add_argument("--jobs", type=int, default=2, help="processes for drawing and encoding")
    options = parser.parse_args()
    try:
        counts = build(options.source, options.out, options.license.read_bytes(), options.jobs)
    except (OSError, ValueError) as error:
        parser.exit(1, f"build_stamps: {error}\n")
    print(json.dumps(counts, indent=1))


def build(source: Path, out: Path, license_text: bytes, jobs: int = 2) -> dict:
    """Writes the pack into `out`. Returns its counts, which are also in cleaning.json.gz and in the card."""
    root = find_stamps(source)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    report = CleaningReport(tuple(path.relative_to(root).as_posix() for path in files))
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        stamps, drawings = draw_all(scan(root, files, report), root, pool, report)
        clips = convert_all(stamps, root, pool, report)
    records, archives, english_sizes = pack(stamps, drawings, clips, root, report)
    report.check(used_files(stamps))
    counts = count(records, clips, archives, report) | {
        "groups_english_only": len(english_sizes), "largest_group_english_only": int(english_sizes.max())}
    content = {"counts": counts, "source": source_facts(root, files), "dropped": report.dropped,
              "repaired": report.repaired, "noted": report.noted}
    credits_text, names = credits(root.parents[1] / "doc" / "tuxpaint-stamps-default" / "changelog.gz")
    cleaning = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    write(out, records, archives, {
        "LICENSE": license_text,
        "CREDITS.txt": credits_text.encode(),
        "README.md": card(content, names).encode(),
        "cleaning.json.gz": gzip.compress(cleaning.encode(), mtime=0),
    })
    return counts


def find_stamps(source: Path) -> Path:
    for root in (source / "usr" / "share" / "tuxpaint" / "stamps", source):
        if root.is_dir() and any(root.rglob("*.png")):
            return root.resolve()
    raise ValueError(f"{source} has no usr/share/tuxpaint/stamps with PNG files; unpack the package with dpkg-deb -x")


def source_facts(root: Path, files: list[Path]) -> dict:
    digest = hashlib.sha256()
    for path in files:
        name = path.relative_to(root).as_posix()
        digest.update(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n".encode())
    return {"files": len(files), "tree_sha256": digest.hexdigest()}


def draw_all(stamps: dict[str, Stamp], root: Path, pool: ProcessPoolExecutor,
             report: CleaningReport) -> tuple[dict[str, Stamp], dict[str, Drawing]]:
    """Draws every stamp. A stamp that cannot be drawn is dropped with all its files."""
    drawings = {}
    images = [root / stamp.image for stamp in stamps.values()]
    for (name, stamp), drawing in zip(stamps.items(), pool.map(try_draw, images, chunksize=8), strict=True):
        if isinstance(drawing, str):
            report.drop("unreadable image", stamp.image, drawing)
            for path in stamp.files() - {stamp.image}:
                report.drop("image missing", path)
            continue
        drawings[name] = drawing
        for note in drawing.notes:
            report.repair_or_note(note, stamp.image)
    return {name: stamps[name] for name in drawings}, drawings


def try_draw(path: Path) -> Drawing | str:
    try:
        return draw(path)
    except ValueError as error:
        return str(error).replace(str(path), path.name)  # the report must not contain paths of this machine


def convert_all(stamps: dict[str, Stamp], root: Path, pool: ProcessPoolExecutor, report: CleaningReport) -> dict[str, Clip]:
    """{source file: Clip} of every usable recording; the others are removed from their stamps."""
    files = sorted({path for stamp in stamps.values() for path in stamp.audio()})
    clips = dict(zip(files, pool.map(convert, [root / path for path in files], chunksize=32), strict=True))
    for path, clip in clips.items():
        for note in clip.notes:
            (report.repair_or_note if clip.mp3 else report.drop)(note, path)
    usable = {path: clip for path, clip in clips.items() if clip.mp3}
    for stamp in stamps.values():
        stamp.keep_audio(usable)
    return usable


def used_files(stamps: dict[str, Stamp]) -> set[str]:
    return {path for stamp in stamps.values() for path in stamp.files()}


def pack(stamps: dict[str, Stamp], drawings: dict[str, Drawing], clips: dict[str, Clip], root: Path,
         report: CleaningReport) -> tuple[list[dict], dict[str, dict[str, bytes]], np.ndarray]:
    """(records sorted by id, {archive: {member: bytes}}, sizes Int64[groups] of the groups by English captions only).

    Byte-equal recordings of a language share one member.
    """
    hashes = {path: hashlib.sha256((root / path).read_bytes()).hexdigest() for path in used_files(stamps)}
    groups, english_groups = leak_free_groups(stamps, drawings, hashes, report)
    archives: dict[str, dict[str, bytes]] = {"images.zip": {}}
    first: dict[tuple[str, str], str] = {}

    def store(archive: str, path: str | None) -> str | None:
        if path is None:
            return None
        member = first.setdefault((archive, hashes[path]), str(Path(path).with_suffix(".mp3").as_posix()))
        archives.setdefault(archive, {})[member] = clips[path].mp3
        return member

    records = []
    for group, (name, stamp) in zip(groups, stamps.items(), strict=True):
        archives["images.zip"][f"{name}.png"] = drawings[name].png
        parts = name.split("/")
        records.append({
            "id": name, "folder": parts[0], "subfolder": "/".join(parts[:2]) if len(parts) > 2 else parts[0],
            "group": int(group), "image": f"{name}.png", "texts": stamp.texts,
            "speech": {lang: store(f"speech-{lang}.zip", path) for lang, path in sorted(stamp.speech.items())},
            "sound": store("sounds.zip", stamp.sound),
            "spoken": {lang: store("sounds.zip", path) for lang, path in sorted(stamp.spoken.items())},
        })
    return records, archives, np.bincount(english_groups)


def leak_free_groups(stamps: dict[str, Stamp], drawings: dict[str, Drawing], hashes: dict[str, str],
                     report: CleaningReport) -> tuple[np.ndarray, np.ndarray]:
    """The group of each stamp, Int64[stamps]: stamps that share a recording, a caption or a near-duplicate image.

    Captions are compared in English and in every spoken language, where equal captions are the same words in the voice of one
    reader. Other languages use one caption for several English ones; experiments on them merge these groups. Also returns
    the groups by English captions only, for comparison.
    """
    names = list(stamps)
    counted = {"en"} | {language for stamp in stamps.values() for language in stamp.speech}
    audio = pairs_sharing_a_key([[hashes[path] for path in stamp.audio()] for stamp in stamps.values()])
    captions = [{(lang, " ".join(text.casefold().split())) for lang, text in stamp.texts.items() if lang in counted}
                for stamp in stamps.values()]
    english = [{key for key in keys if key[0] == "en"} for keys in captions]
    equal_images = pairs_sharing_a_key([[hashes[stamp.image]] for stamp in stamps.values()])
    pixels = [drawings[name].pixels for name in names]
    near = np.unique(np.concatenate([near_duplicates(pixels, NEAR_DUPLICATE)[0], same_drawings(pixels)]), axis=0)
    for i, j in equal_images:
        report.repair_or_note("byte-equal image", stamps[names[j]].image, f"equals {stamps[names[i]].image}")
    for i, j in near.tolist():
        report.repair_or_note("near-duplicate images", stamps[names[i]].image, f"resembles {stamps[names[j]].image}")
    holders: dict[str, str] = {}
    for path in sorted(path for stamp in stamps.values() for path in stamp.audio()):
        if (original := holders.setdefault(hashes[path], path)) != path:
            report.repair_or_note("byte-equal audio", path, f"equals {original}")
    media = [*audio, *equal_images, *near.tolist()]
    return (connected_groups(len(names), [*media, *pairs_sharing_a_key(captions)]),
            connected_groups(len(names), [*media, *pairs_sharing_a_key(english)]))


def write(out: Path, records: list[dict], archives: dict[str, dict[str, bytes]], texts: dict[str, bytes]) -> None:
    """Writes all files of the pack and their sha256, and deletes the archives of an older pack."""
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.zip"):
        old.unlink()
    for name, members in archives.items():
        write_zip(out / name, members.items())
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    for name, data in {**texts, INDEX: gzip.compress(lines.encode(), mtime=0)}.items():
        (out / name).write_bytes(data)
    names = sorted([*archives, *texts, INDEX])
    sums = "".join(f"{hashlib.sha256((out / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    (out / "sha256sums.txt").write_text(sums)


def write_zip(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Writes members without compression: PNG and MP3 are compressed, and stored bytes do not depend on the zlib version."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(members):
            info = zipfile.ZipInfo(name, FIXED_DATE)
            info.create_system, info.external_attr = 3, 0o644 << 16  # the values of Unix on every platform
            archive.writestr(info, data)


if __name__ == "__main__":
    main()
