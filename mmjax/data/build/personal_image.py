"""Metadata of image files: EXIF with GPS, XMP, IPTC, comments and text, removed without changing a pixel."""

import io
import struct
import zlib
from collections.abc import Iterator

from PIL import Image

__all__ = ["GPS", "JPEG_PICTURE", "LIMITS", "NOT_TEXT", "ORIENTATION", "PNG_TEXT", "image_metadata", "without_metadata"]

LIMITS = (
    "Faces, number plates, badges, screens and handwriting in images are not found.",
    "Metadata that is drawn into an image, such as a date stamp or watermark, is not found.",
    "Images other than PNG, JPEG and WebP that have metadata become PNG files of their first frame.",
)
GPS, ORIENTATION = 0x8825, 0x0112
PNG_TEXT = (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME")
JPEG_PICTURE = (0xE0, 0xE2, 0xEE)  # JFIF, colour profile, Adobe's colour transform: needed to show the pixels


def image_metadata(data: bytes) -> dict[str, int]:
    """{kind: count} of "GPS position", "EXIF field", "text or comment" and "XMP or IPTC block"."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        exif, info = image.getexif(), dict(image.info)
    found = {
        "GPS position": int(bool(exif.get_ifd(GPS))),
        "EXIF field": len([tag for tag in exif if tag not in (ORIENTATION, GPS)]),
        "XMP or IPTC block": sum(name in info for name in ("xmp", "XML:com.adobe.xmp", "photoshop")),
        "text or comment": sum(isinstance(value, (str, bytes)) and name not in NOT_TEXT for name, value in info.items()),
    }
    return {kind: count for kind, count in found.items() if count}


NOT_TEXT = {"exif", "xmp", "XML:com.adobe.xmp", "photoshop", "icc_profile", "transparency", "jfif", "adobe", "version",
            "background", "Raw profile type exif"}  # fmt: skip


def without_metadata(data: bytes) -> bytes:
    """The same image without metadata; an orientation other than the usual one is kept. Formats other than PNG, JPEG and WebP
    are returned unchanged if they have none, else encoded again as PNG."""
    if data.startswith(b"\x89PNG"):
        return data[:8] + b"".join(chunk for kind, chunk in _png_chunks(data) if kind not in PNG_TEXT)
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    if not image_metadata(data):
        return data
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.convert("RGBA" if image.has_transparency_data else "RGB").save(buffer, "PNG")
    return buffer.getvalue()


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, chunk = data[at + 4 : at + 8], data[at : at + 12 + length]
        if kind == b"IDAT" or (len(chunk) == 12 + length and zlib.crc32(chunk[4:-4]) == struct.unpack(">I", chunk[-4:])[0]):
            yield kind, chunk
        at += 12 + length
        if kind == b"IEND":
            return


def _jpeg(data: bytes) -> bytes:
    """Keeps the segments that decoding needs, and the orientation; what follows the end of the image is removed."""
    with Image.open(io.BytesIO(data)) as image:
        orientation = image.getexif().get(ORIENTATION, 1)
    kept, at = [data[:2]], 2
    if orientation in range(2, 9):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        block = exif.tobytes()
        kept.append(b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block)
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker == 0xDA:  # scans follow until the end of the image
            end = data.rfind(b"\xff\xd9")
            return b"".join(kept) + data[at : end + 2 if end > at else None]
        if not (0xE0 <= marker <= 0xEF or marker == 0xFE) or (marker in JPEG_PICTURE and not data.startswith(b"MPF", at + 4)):
            kept.append(data[at : at + 2 + length])
        at += 2 + length
    return data


def _webp(data: bytes) -> bytes:
    chunks, at = [], 12
    while at + 8 <= len(data):
        kind, (length,) = data[at : at + 4], struct.unpack_from("<I", data, at + 4)
        end = at + 8 + length + length % 2
        if kind == b"VP8X":
            flags = data[at + 8] & ~0b1100  # no EXIF, no XMP
            chunks.append(data[at : at + 8] + bytes([flags]) + data[at + 9 : end])
        elif kind not in (b"EXIF", b"XMP "):
            chunks.append(data[at:end])
        at = end
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body
