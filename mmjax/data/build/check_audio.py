"""Checks of one recording."""

import io
import re

import numpy as np

from mmjax.data.build.finding import DROPPED, NOTED, Checked, with_extension
from mmjax.data.decode import DataError, audio_seconds, decode_audio

__all__ = [
    "CLIPPED_RUN", "EXTENSIONS", "FULL_SCALE", "SILENT_PEAK", "TINY_SECONDS", "check_audio", "is_truncated", "longest_run",
    "sample_rate",
]  # fmt: skip

SILENT_PEAK = 1e-3  # -60 dB of full scale
CLIPPED_RUN = 3  # consecutive samples at full scale
FULL_SCALE = 0.999
TINY_SECONDS = 0.05

EXTENSIONS = {
    b"RIFF": ("wav", "wave"), b"RF64": ("wav", "wave"), b"fLaC": ("flac",), b"OggS": ("ogg", "oga", "opus"),
}  # fmt: skip


def check_audio(data: bytes, name: str) -> Checked:
    """Drops unreadable, truncated, silent and very short recordings; repairs extensions; notes clipping.

    A truncated MP3 cannot be told from a short one, since the format has no end mark.
    """
    try:
        rate = sample_rate(data, name)
        wave = decode_audio(data, name, rate)
    except DataError as error:
        reason = "truncated recording" if is_truncated(data) else "unreadable recording"
        detail = re.sub(r"<_io\.BytesIO object at \w+>", "the file", str(error).removeprefix(f"{name}: "))  # an address differs
        return Checked(None, [(DROPPED, reason, detail)], name)
    if is_truncated(data):
        return Checked(None, [(DROPPED, "truncated recording", "the file ends before its declared end")], name)
    if len(wave) < TINY_SECONDS * rate:
        return Checked(None, [(DROPPED, "very short recording", f"{len(wave) / rate:.3f} s")], name)
    if np.abs(wave - wave.mean()).max() < SILENT_PEAK:
        return Checked(None, [(DROPPED, "silent recording", "the peak is below -60 dB of full scale")], name)
    name, findings = with_extension(name, next((e for start, e in EXTENSIONS.items() if data.startswith(start)), ("mp3",)))
    longest = longest_run(np.abs(wave) >= FULL_SCALE)
    if longest >= CLIPPED_RUN:
        findings.append((NOTED, "clipped recording", f"{longest} consecutive samples at full scale"))
    return Checked(data, findings, name, rate)


def sample_rate(data: bytes, name: str) -> int:
    """The sample rate of the file in Hz. Raises DataError if it cannot be decoded."""
    audio_seconds(data, name)  # only formats that decode_audio reads
    import soundfile

    return soundfile.info(io.BytesIO(data)).samplerate


def longest_run(flags: np.ndarray) -> int:
    """The length of the longest run of True in Bool[t]."""
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return int((ends - starts).max(initial=0))


def is_truncated(data: bytes) -> bool:
    """Whether a WAV is shorter than its header says, or the last page of an Ogg stream is incomplete or not marked as last.

    FLAC files fail when they are decoded.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if data[:4] == b"OggS":
        page = data.rfind(b"OggS")
        header = data[page : page + 27]
        lacing = data[page + 27 : page + 27 + header[26]] if len(header) == 27 else b""
        return len(header) < 27 or not header[5] & 4 or len(data) < page + 27 + header[26] + sum(lacing)
    return data[:4] == b"fLaC" and len(data) < 42
