"""Draws stamps and encodes recordings for build_stamps.py."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import oxipng
from PIL import Image

SIDE = 128  # pixels of the square canvas
RATE = 16_000  # Hz
MP3_LEVEL = 0.6  # libsndfile's scale of the variable bit rate, from 0 (best) to 1 (smallest); the card states its error
SILENT_PEAK = 1e-3  # -60 dB of full scale
CLIPPED_RUN = 3  # consecutive samples at full scale that count as clipping
KEEP_RGBA = dict.fromkeys(("bit_depth_reduction", "color_type_reduction", "palette_reduction", "grayscale_reduction"), False)


@dataclass(frozen=True)
class Drawing:
    """The image of one stamp. png: the encoded canvas. pixels: uint8 [128 128 4]. notes: reasons for the report."""

    png: bytes
    pixels: np.ndarray
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Clip:
    """One recording. mp3: empty if it is dropped. seconds: decoded length. notes: reasons for the report. rate: of the source,
    Hz. mel_error: see the function `mel_error`; None if it is dropped.
    """

    mp3: bytes
    seconds: float
    notes: tuple[str, ...]
    rate: int = 0
    mel_error: np.ndarray | None = None


def draw(path: Path) -> Drawing:
    """Draws an SVG or PNG file centred on a 128x128 RGBA canvas; a raster is never enlarged.

    Raises ValueError if no renderer can draw the file.
    """
    if path.suffix == ".svg":
        image, notes = _draw_svg(path)
    else:
        image, notes = _read_png(path)
    canvas = Image.new("RGBA", (SIDE, SIDE))
    canvas.paste(image, ((SIDE - image.width) // 2, (SIDE - image.height) // 2))
    pixels = np.array(canvas)
    pixels[pixels[..., 3] == 0] = 0  # invisible colours cost bytes
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return Drawing(smallest(buffer.getvalue()), pixels, notes)


def smallest(png: bytes) -> bytes:
    """The same pixels in about a tenth fewer bytes than Pillow's."""
    return oxipng.optimize_from_memory(png, level=6, **KEEP_RGBA)


def _read_png(path: Path) -> tuple[Image.Image, tuple[str, ...]]:
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGBA")
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"PNG cannot be read: {error}") from error
    if np.asarray(image)[..., 3].max() == 0:
        raise ValueError("PNG draws nothing")
    notes = ("small raster",) if max(image.size) < 96 else ()
    return _fit(image), notes


def _fit(image: Image.Image) -> Image.Image:
    """Shrinks to at most 128 px per side. Pillow premultiplies colours by alpha for the Lanczos filter."""
    scale = SIDE / max(image.size)
    if scale >= 1:
        return image
    size = tuple(max(1, round(length * scale)) for length in image.size)
    return image.resize(size, Image.Resampling.LANCZOS)


def _draw_svg(path: Path) -> tuple[Image.Image, tuple[str, ...]]:
    try:
        return _resvg(path), ()
    except ValueError as first:
        try:
            return _cairosvg(path), ("SVG drawn by the fallback renderer",)
        except Exception as second:  # cairosvg raises many types of XML, CSS and cairo errors
            raise ValueError(f"SVG cannot be drawn: resvg: {first}; cairosvg: {second}") from second


def _resvg(path: Path) -> Image.Image:
    import resvg_py

    # Without system fonts, which differ between machines. A drawing that consists of letters is then empty and refused
    # below.
    image = _decode(resvg_py.svg_to_bytes(svg_path=str(path), width=SIDE, skip_system_fonts=True))
    if image.height > SIDE:
        image = _decode(resvg_py.svg_to_bytes(svg_path=str(path), height=SIDE, skip_system_fonts=True))
    return _fit(image)


def _cairosvg(path: Path) -> Image.Image:
    import cairosvg

    image = _decode(cairosvg.svg2png(url=str(path), output_width=SIDE))
    if image.height > SIDE:
        image = _decode(cairosvg.svg2png(url=str(path), output_height=SIDE))
    return _fit(image)


def _decode(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png)).convert("RGBA")
    if np.asarray(image)[..., 3].max() == 0:
        raise ValueError("nothing is drawn")
    return image


def convert(path: Path) -> Clip:
    """Encodes one recording as mono 16 kHz MP3. An unusable recording has no mp3; its only note is the reason."""
    import soundfile
    import soxr

    try:
        wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, TypeError):
        return Clip(b"", 0.0, ("audio cannot be decoded",))
    if len(wave) == 0:
        return Clip(b"", 0.0, ("audio has no samples",), rate)
    if not np.isfinite(wave).all():
        return Clip(b"", 0.0, ("audio cannot be decoded",), rate)
    if np.abs(wave).max() < SILENT_PEAK:
        return Clip(b"", len(wave) / rate, ("silent audio",), rate)
    notes = []
    if _longest_run(np.abs(wave).max(axis=1) >= 0.999) >= CLIPPED_RUN:
        notes.append("clipped audio")
    if rate < RATE:
        notes.append("recorded below 16 kHz")
    mono = wave.mean(axis=1)
    mono = soxr.resample(mono, rate, RATE, quality="VHQ") if rate != RATE else mono
    if np.abs(mono).max() > 1:
        mono = mono * np.float32(0.99 / np.abs(mono).max())
        notes.append("peak above full scale")
    buffer = io.BytesIO()
    soundfile.write(buffer, mono, RATE, format="MP3", bitrate_mode="VARIABLE", compression_level=MP3_LEVEL)
    buffer.seek(0)
    decoded, _ = soundfile.read(buffer, dtype="float32")
    if len(decoded) != len(mono):
        notes.append("length changed by MP3")
    return Clip(buffer.getvalue(), len(decoded) / RATE, tuple(notes), rate, mel_error(mono, decoded))


def _longest_run(flags: np.ndarray) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))


MEL_BANDS = 80
LOW_BANDS = 77  # of the 80 bands: those below 7.2 kHz, where the encoder's low-pass filter begins
ERROR_BINS = np.arange(0, 80.2, 0.1)  # dB


def mel_error(clean: np.ndarray, coded: np.ndarray) -> np.ndarray:
    """Histograms of |log-mel difference| in ERROR_BINS: int64 [2 bins], for the bands below 7.2 kHz and for all bands.

    Both waves are float32 [t] at 16 kHz. As in Whisper, 80 dB below the clip's peak counts as silence.
    """
    length = min(len(clean), len(coded))
    a, b = _log_mel(clean[:length]), _log_mel(coded[:length])
    floor = a.max() - 80
    difference = np.minimum(np.abs(np.maximum(a, floor) - np.maximum(b, floor)), 80)
    return np.stack([np.histogram(part, ERROR_BINS)[0] for part in (difference[:, :LOW_BANDS], difference)])


def _log_mel(wave: np.ndarray) -> np.ndarray:
    """80-band log-mel in dB with 25 ms Hann windows every 10 ms: float64 [frames 80]."""
    mel = np.linspace(*(2595 * np.log10(1 + np.array([20.0, RATE / 2]) / 700)), MEL_BANDS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    hz = np.linspace(0, RATE / 2, 257)[:, None]
    bank = np.clip(np.minimum((hz - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - hz) / np.diff(edges)[1:]), 0, None)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave, 200), 400)[::160] * np.hanning(401)[:400]
    return 10 * np.log10(np.maximum(np.abs(np.fft.rfft(frames, 512)) ** 2 @ bank, 1e-10))
