"""Tags of recordings (mutagen): titles, artists, comments, pictures; removed without changing a sample."""

import io
import struct
from typing import Any

__all__ = ["LIMITS", "WAV_AUDIO", "audio_tags", "without_tags"]

LIMITS = (
    "Voices identify people; names, addresses and numbers that are spoken are not found.",
    "Tags are removed from MP3 (ID3, APEv2), Ogg, FLAC and WAV. Tags that are foreign to a format (Lyrics3, or ID3 in Ogg), "
    "and data inside the audio stream, such as a watermark, are not found.",
)
WAV_AUDIO = (b"fmt ", b"fact", b"data")


def audio_tags(data: bytes) -> int:
    """The number of tags, pictures and blocks of metadata of a recording."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return sum(kind not in WAV_AUDIO for kind, _ in _wav_chunks(data))
    file = _opened(data)
    own = 0 if file is None else len(file.tags or ()) + len(getattr(file, "pictures", ()))
    return own + _ape_tags(data)


def without_tags(data: bytes) -> bytes:
    """The same recording without tags; unchanged if it has none."""
    if not audio_tags(data):
        return data
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        chunks = b"".join(chunk for kind, chunk in _wav_chunks(data) if kind in WAV_AUDIO)
        return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks
    data = _without_ape_tag(data)
    buffer = io.BytesIO(data)
    file = _opened(data)
    if file is None:
        return data
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


def _ape_tags(data: bytes) -> int:
    """The number of items of an APEv2 tag, which mutagen's class for MP3 does not read; 1 if they cannot be read."""
    from mutagen import MutagenError
    from mutagen.apev2 import APEv2

    if _without_ape_tag(data) == data:
        return 0
    try:
        return max(1, len(APEv2(io.BytesIO(data))))
    except MutagenError:
        return 1


def _without_ape_tag(data: bytes) -> bytes:
    """Unchanged if there is none, or if its size is wrong."""
    from mutagen import MutagenError
    from mutagen.apev2 import APEv2

    buffer = io.BytesIO(data)
    try:
        APEv2().delete(buffer)
    except (MutagenError, ValueError):
        return data
    return buffer.getvalue()


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
