"""build_stamps.py on a small synthetic package: every case of cleaning once, reproducible bytes, clear errors."""

import gzip
import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmjax.data.decode import decode_audio, decode_image
from mmjax.data.stamps.pack import StampsPack
from tests.data.stamps.packs import read_index

for needed in ("soundfile", "soxr", "resvg_py", "cairosvg"):
    pytest.importorskip(needed, exc_type=(ImportError, OSError))  # OSError: cairosvg without the system's libcairo

CHECKOUT = Path(__file__).resolve().parents[2]
RATE = 22_050
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10" viewBox="0 0 20 10">{}</svg>'
UNSIZED = '<svg xmlns="http://www.w3.org/2000/svg" width="20pt" height="20pt"><rect width="9" height="9"/></svg>'


def save_wav(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(np.round(samples * 32767).astype("<i2").tobytes())


def tone(hz: float, peak: float = 0.5, seconds: float = 0.4) -> np.ndarray:
    return peak * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)


def save_png(path: Path, size: tuple[int, int], seed: int) -> None:
    """Noise in an opaque block with a transparent frame of 2 px."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    pixels[..., 3] = 0
    pixels[2:-2, 2:-2, 3] = 255
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    source = tmp_path_factory.mktemp("package")
    root = source / "usr" / "share" / "tuxpaint" / "stamps"
    birds, symbols = root / "animals" / "birds", root / "symbols"
    birds.mkdir(parents=True)
    symbols.mkdir()
    # crow: valid, with a clipped recording, a mirrored image and a language code that no text uses
    save_png(birds / "crow.png", (256, 200), 1)
    save_png(birds / "crow_mirror.png", (256, 200), 2)
    (birds / "crow.txt").write_text("A crow.\nfr.utf8=Un corbeau. \nzh_TW.utf8=烏鴉\n", encoding="utf-8")
    (birds / "crow.dat").write_text("nomirror\n")
    save_wav(birds / "crow_desc_fr.wav", tone(300))
    save_wav(birds / "crow_desc.wav", np.clip(tone(300, peak=3.0), -1, 1))
    save_wav(birds / "crow_desc_xx.wav", tone(350))
    save_wav(birds / "crow.wav", tone(500))
    # raven: shares its French recording with crow; its sound effect is silent
    save_png(birds / "raven.png", (40, 30), 3)
    (birds / "raven.txt").write_text("A raven.\n")
    save_wav(birds / "raven_desc_fr.wav", tone(300))
    save_wav(birds / "raven.wav", np.zeros(2000))
    # jay: SVG beside PNG; its caption is raven's in another case; one recording damaged, one without samples
    (birds / "jay.svg").write_text(SVG.format('<rect width="10" height="10" fill="red"/>'))
    save_png(birds / "jay.png", (100, 100), 4)
    (birds / "jay.txt").write_text("a  RAVEN.\n")
    (birds / "jay_desc_fr.ogg").write_bytes(b"OggS no more")
    save_wav(birds / "jay_desc.wav", np.zeros(0))
    # tit: an image slightly lighter than crow's, and a text that is not UTF-8
    shade = np.array(Image.open(birds / "crow.png"))
    shade[..., :3] = np.minimum(shade[..., :3].astype(int) + 2, 255)
    Image.fromarray(shade).save(birds / "tit.png")
    (birds / "tit.txt").write_bytes(b"Une m\xe9sange.\n")
    # damaged drawings; their text and recording are dropped too
    (birds / "owl.svg").write_text("<svg this is no XML")
    (birds / "owl.txt").write_text("An owl.\n")
    save_wav(birds / "owl_desc_fr.wav", tone(700))
    (birds / "wren.png").write_bytes((birds / "crow.png").read_bytes()[:5000])
    # symbols: spoken names, one with a language code in another case; recordings without a stamp; an unknown file
    save_png(symbols / "3.png", (150, 90), 5)
    (symbols / "square.svg").write_text(UNSIZED)  # no viewBox: resvg cannot scale it
    (symbols / "3.txt").write_text("Three\nfr.utf8=\nthis line says nothing\n")
    save_wav(symbols / "3_fr.wav", tone(800))
    save_wav(symbols / "3_zh_tw.wav", tone(900))
    save_wav(symbols / "4_desc_fr.wav", tone(950))
    (symbols / "Thumbs.db").write_bytes(b"\0")
    return source


def build(source: Path, out: Path) -> subprocess.CompletedProcess:
    license_text = out.parent / "license.txt"
    license_text.write_text("GPL\n")
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONWARNINGS": "error"}
    command = [sys.executable, CHECKOUT / "scripts" / "build_stamps.py", "--source", source, "--out", out,
               "--license", license_text, "--jobs", "1"]
    return subprocess.run(command, env=environment, cwd=out.parent, capture_output=True, text=True)


@pytest.fixture(scope="module")
def built(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "stamps"
    done = build(source, out)
    assert done.returncode == 0, done.stderr
    pack = StampsPack(out)
    yield pack
    pack.close()


def test_builds_are_reproducible(source, built, tmp_path):
    out = tmp_path / "again"
    assert build(source, out).returncode == 0
    first = {path.name: path.read_bytes() for path in built.root.iterdir()}
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first
    built.verify()


def test_packed_records(built):
    assert [record["id"] for record in built.index] == [
        "animals/birds/crow", "animals/birds/jay", "animals/birds/raven", "animals/birds/tit", "symbols/3",
        "symbols/square"]
    assert [sorted(record["speech"]) for record in built.index] == [["en", "fr"], [], ["fr"], [], [], []]
    assert [record["sound"] is not None for record in built.index] == [True, False, False, False, False, False]
    assert sorted(built.index[4]["spoken"]) == ["fr", "zh_TW"]
    assert built.index[0]["texts"] == {"en": "A crow.", "fr": "Un corbeau. ", "zh_TW": "烏鴉"}  # the trailing space is kept
    assert built.index[4]["folder"] == built.index[4]["subfolder"] == "symbols"
    assert built.index[0]["subfolder"] == "animals/birds"


def test_groups_by_recording_caption_and_image(built):
    """crow-raven by recording, raven-jay by caption, crow-tit by image: one group. The digit and the square have their own."""
    assert [record["group"] for record in built.index] == [0, 0, 0, 0, 1, 2]


def test_each_case_of_cleaning_is_reported(built):
    report = json.loads(gzip.decompress((built.root / "cleaning.json.gz").read_bytes()))
    bird = "animals/birds/"
    names = {action: {reason: sorted(item.split(":")[0].removeprefix(bird) for item in items)
                      for reason, items in report[action].items()} for action in ("dropped", "repaired", "noted")}
    assert names["dropped"] == {
        "mirrored variant": ["crow_mirror.png"], "PNG beside an SVG": ["jay.png"],
        "unreadable image": ["owl.svg", "wren.png"],
        "image missing": ["owl.txt", "owl_desc_fr.wav", "symbols/4_desc_fr.wav"],
        "silent audio": ["raven.wav"], "audio has no samples": ["jay_desc.wav"],
        "audio cannot be decoded": ["jay_desc_fr.ogg"], "undecodable text": ["tit.txt"],
        "malformed text line": ["symbols/3.txt"], "empty text": ["symbols/3.txt"],
        "unknown language": ["crow_desc_xx.wav"], "settings of the drawing program": ["crow.dat"],
        "unknown file type": ["symbols/Thumbs.db"],
    }
    assert names["repaired"]["case of a language code"] == ["symbols/3_zh_tw.wav"]
    assert names["repaired"]["SVG drawn by the fallback renderer"] == ["symbols/square.svg"]
    assert names["noted"] == {
        "clipped audio": ["crow_desc.wav"], "byte-equal audio": ["raven_desc_fr.wav"], "small raster": ["raven.png"],
        "near-duplicate images": ["crow.png"], "text with surrounding spaces": ["crow.txt"],
    }
    card = (built.root / "README.md").read_text()
    for action, table in names.items():
        for reason, items in table.items():
            assert f"| {action} | {reason} | {len(items)} |" in card


def test_equal_recordings_are_stored_once(built):
    assert built.index[0]["speech"]["fr"] == built.index[2]["speech"]["fr"]
    assert built.speech_bytes(0, "fr") == built.speech_bytes(2, "fr")


def test_speech_is_preserved(built):
    """A 300 Hz tone of 0.4 s at half of full scale keeps its timing, pitch and level."""
    decoded = decode_audio(built.speech_bytes(0, "fr"), "crow")
    assert len(decoded) == 6400
    expected = 0.5 * np.sin(2 * np.pi * 300 * np.arange(6400) / 16_000)
    assert np.sqrt(np.mean((decoded - expected)[800:-800] ** 2)) < 0.02


def test_drawing_fills_the_canvas(built):
    """A 20 x 10 drawing with a red left half becomes 128 x 64, centred: red in rows 32 to 95, columns 0 to 63."""
    jay = decode_image(built.image_bytes(1), "jay")
    expected = np.zeros((128, 128, 4), np.uint8)
    expected[32:96, :64] = (255, 0, 0, 255)
    np.testing.assert_array_equal(jay, expected)


def test_small_raster_is_not_enlarged(built, source):
    raven = decode_image(built.image_bytes(2), "raven")
    original = np.array(Image.open(source / "usr/share/tuxpaint/stamps/animals/birds/raven.png"))
    original[original[..., 3] == 0] = 0  # 40 x 30, centred: (128 - 40) / 2 = 44, (128 - 30) / 2 = 49
    np.testing.assert_array_equal(raven[49:79, 44:84], original)
    assert raven[..., 3].sum() == original[..., 3].sum()


def test_no_local_path_is_written(built, source):
    cleaning = gzip.decompress((built.root / "cleaning.json.gz").read_bytes()).decode()
    for text in (read_index(built.root), (built.root / "README.md").read_text(), cleaning):
        assert str(source) not in text and str(CHECKOUT) not in text
    assert "not the released package" in (built.root / "README.md").read_text()


def test_a_folder_without_the_package(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    done = build(empty, tmp_path / "out")
    assert done.returncode == 1 and "dpkg-deb -x" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
