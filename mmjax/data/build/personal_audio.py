"""Tags of recordings (mutagen): titles, artists, comments, pictures; removed without changing a sample."""

import io
import struct
from typing import Any

__all__ = ["LIMITS", "WAV_AUDIO", "audio_tags", "without_tags"]

LIMITS = (
    "Voices identify people; names, addresses and numbers that are spoken are not found.",
    "Tags are removed from MP3, Ogg, FLAC and WAV; other data inside the audio stream, such as a watermark, is not found.",
)
WAV_AUDIO = (b"fmt ", b"fact", b"data")


def audio_tags(data: bytes) -> int:
    """The number of tags, pictures and blocks of metadata of a recording."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return sum(kind not in WAV_AUDIO for kind, _ in _wav_chunks(data))
    file = _opened(data)
    if file is None:
        return 0
    return len(file.tags or ()) + len(getattr(file, "pictures", ()))


def without_tags(data: bytes) -> bytes:
    """The same recording without tags; unchanged if it has none."""
    if not audio_tags(data):
        return data
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        chunks = b"".join(chunk for kind, chunk in _wav_chunks(data) if kind in WAV_AUDIO)
        return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks
    buffer = io.BytesIO(data)
    file = _opened(data)
    if hasattr(file, "clear_pictures"):
        file.clear_pictures()
        file.save(buffer)
        buffer.seek(0)
    file.delete(buffer)
    return buffer.getvalue()


def _wav_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], 12
    while at + 8 <= len(data):
        kind, (length,) = data[at : at + 4], struct.unpack_from("<I", data, at + 4)
        end = at + 8 + length + length % 2
        chunks.append((kind, data[at:end]))
        at = end
    return chunks


def _opened(data: bytes) -> Any:
    """mutagen's file, None if it does not know the format."""
    try:
        import mutagen
    except ImportError as error:
        raise ImportError("tags of recordings need mutagen: pip install 'mmjax[build]'") from error
    try:
        return mutagen.File(io.BytesIO(data))
    except mutagen.MutagenError:
        return None
