"""Checks of one image file."""

import numpy as np

from mmjax.data.build.finding import DROPPED, NOTED, Checked, with_extension
from mmjax.data.decode import DataError, decode_image
from mmjax.data.image import on_white

__all__ = ["BLANK", "EXTENSIONS", "SMALL_SIDE", "TINY_SIDE", "check_image", "is_blank"]

TINY_SIDE = 8  # pixels of the longer side; fewer show nothing
SMALL_SIDE = 32
BLANK = 2  # levels of 255; the noise of JPEG on one colour stays within

EXTENSIONS = {
    b"\x89PNG": ("png",), b"\xff\xd8\xff": ("jpg", "jpeg", "jfif"), b"RIFF": ("webp",), b"GIF8": ("gif",), b"BM": ("bmp",),
}  # fmt: skip


def check_image(data: bytes, name: str) -> Checked:
    """Drops unreadable, truncated, tiny and blank images; repairs extensions; notes small images."""
    try:
        pixels = decode_image(data, name)
    except DataError as error:
        reason = "truncated image" if _truncated(data) else "unreadable image"
        return Checked(None, [(DROPPED, reason, str(error).removeprefix(f"{name}: "))], name)
    height, width = pixels.shape[:2]
    if max(height, width) < TINY_SIDE:
        return Checked(None, [(DROPPED, "tiny image", f"{width} x {height} pixels")], name)
    if is_blank(pixels):
        return Checked(None, [(DROPPED, "blank image", "all pixels have one colour")], name)
    extensions = next(names for start, names in EXTENSIONS.items() if data.startswith(start))
    name, findings = with_extension(name, extensions)
    if max(height, width) < SMALL_SIDE:
        findings.append((NOTED, "small image", f"{width} x {height} pixels"))
    return Checked(data, findings, name)


def is_blank(pixels: np.ndarray) -> bool:
    """Whether all pixels of uint8 [h w 3] or [h w 4] have one colour and opacity, up to the noise of JPEG."""
    over_white = on_white(pixels)
    return bool((np.ptp(over_white.reshape(-1, 4).astype(np.int32), axis=0) <= BLANK).all())


def _truncated(data: bytes) -> bool:
    """Whether a file that cannot be decoded starts as an image but lacks the end of its format."""
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-12:]
    if data.startswith(b"\xff\xd8\xff"):
        return b"\xff\xd9" not in data[-64:]
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if data.startswith(b"BM"):
        return len(data) < int.from_bytes(data[2:6], "little")
    return data.startswith(b"GIF8") and not data.endswith(b";")
