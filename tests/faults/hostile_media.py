"""Hostile images, recordings and texts: {name: (bytes, pattern of the error)}."""

import io
import struct
import wave
import zlib

import numpy as np
from PIL import Image


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    """A PNG with any declared size; without chunks, its pixels are one compressed byte."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))
    body = b"".join(chunks) or chunk(b"IDAT", zlib.compress(b"\0"))
    return b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")


def encoded(form: str, **options) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def jpeg(width: int, height: int) -> bytes:
    """A JPEG of 32 x 32 pixels whose header declares another size."""
    data = bytearray(encoded("JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def webp(kind: bytes, header: bytes) -> bytes:
    body = b"WEBP" + kind + struct.pack("<I", len(header)) + header
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif(canvas: tuple[int, int], frame: tuple[int, int]) -> bytes:
    palette = b"\xf0\0\0" + bytes(6)
    head = b"GIF89a" + struct.pack("<HH", *canvas) + palette
    return head + b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02D\x01\0;"


BOMB = zlib.compress(bytes(4_000_000), 9)  # 4 kB
MANY, DAMAGED, UNKNOWN = "pixels; it should have at most 40,000,000", "truncated or damaged", "the format is not known"
IMAGES = {
    "empty": (b"", "is empty"),
    "noise": (np.random.default_rng(0).bytes(500), UNKNOWN),
    "text": (b"this is no image", UNKNOWN),
    "a program": (b"\x7fELF" + bytes(60), UNKNOWN),
    "a zip archive": (b"PK\x03\x04" + bytes(60), UNKNOWN),
    "EPS, which runs Ghostscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", UNKNOWN),
    "TIFF": (encoded("TIFF"), UNKNOWN),
    "ICO": (encoded("ICO"), UNKNOWN),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60), UNKNOWN),
    "AVIF": (b"\0\0\0\x20ftypavif" + bytes(60), UNKNOWN),
    "PSD": (b"8BPS\0\1" + bytes(60), UNKNOWN),
    "PDF": (b"%PDF-1.7\n", UNKNOWN),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", UNKNOWN),
    "XPM": (b"/* XPM */", UNKNOWN),
    "PPM of any size": (b"P6 99999 99999 255\n", UNKNOWN),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(60), UNKNOWN),
    "RIFF without WebP": (b"RIFF\x24\0\0\0WAVEfmt ", UNKNOWN),
    "PNG signature alone": (b"\x89PNG\r\n\x1a\n", DAMAGED),
    "PNG of 1.6 billion pixels": (png(40_000, 40_000), MANY),
    "PNG of 100 million pixels": (png(100_000, 1_000), MANY),
    "PNG of 49 million pixels": (png(7_000, 7_000, chunk(b"IDAT", BOMB)), MANY),
    "PNG of one endless row": (png(2**31 - 1, 1), MANY),
    "PNG of 2^62 pixels": (png(2**31 - 1, 2**31 - 1), MANY),
    "PNG of no pixels": (png(0, 10), DAMAGED),
    "PNG with a bomb as text": (png(8, 8, chunk(b"zTXt", b"a\0\0" + BOMB), chunk(b"IDAT", zlib.compress(bytes(200)))), DAMAGED),
    "PNG with a bomb as profile": (png(8, 8, chunk(b"iCCP", b"a\0\0" + BOMB)), DAMAGED),
    "PNG without pixels": (png(8, 8, chunk(b"tEXt", b"a\0b")), DAMAGED),
    "PNG without a palette": (png(8, 8, depth=4, colour=3), DAMAGED),
    "PNG of an unknown type": (png(8, 8, depth=5), DAMAGED),
    "PNG with a chunk beyond the end": (png(8, 8)[:33] + b"\x7f\xff\xff\xffIDAT", DAMAGED),
    "PNG with pixels that are no zlib": (png(8, 8, chunk(b"IDAT", b"junk" * 9)), DAMAGED),
    "PNG interlaced and short": (png(64, 64, interlace=1), DAMAGED),
    "PNG cut": (encoded("PNG")[:-200], DAMAGED),
    "JPEG start alone": (b"\xff\xd8\xff", DAMAGED),
    "JPEG of noise": (b"\xff\xd8\xff" + bytes(range(256)), DAMAGED),
    "JPEG of 4.3 billion pixels": (jpeg(65_500, 65_500), MANY),
    "JPEG of 64 million pixels": (jpeg(8_000, 8_000), MANY),
    "JPEG of no pixels": (jpeg(0, 32), DAMAGED),
    "JPEG cut": (encoded("JPEG")[:-300], DAMAGED),
    "WebP with a canvas of 268 million pixels": (webp(b"VP8X", bytes(4) + b"\xff\x3f\0\xff\x3f\0"), MANY),
    "WebP of 268 million lossless pixels": (webp(b"VP8L", b"\x2f\xff\xff\xff\x0f" + bytes(9)), MANY),
    "WebP of 268 million lossy pixels": (webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a\xff\x3f\xff\x3f" + bytes(9)), MANY),
    "WebP header alone": (b"RIFF\x04\0\0\0WEBP", DAMAGED),
    "WebP cut": (encoded("WEBP")[:200], DAMAGED),
    "GIF with a canvas of 4.3 billion pixels": (gif((65_535, 65_535), (1, 1)), MANY),
    "GIF with a frame of 4.3 billion pixels": (gif((1, 1), (65_535, 65_535)), f"{MANY}|{DAMAGED}"),
    "GIF cut": (encoded("GIF")[:200], DAMAGED),
    "BMP of 4 billion pixels": (encoded("BMP")[:18] + struct.pack("<ii", 64_000, 64_000) + encoded("BMP")[26:], MANY),
    "BMP of negative size": (encoded("BMP")[:18] + struct.pack("<ii", -5, 32) + encoded("BMP")[26:], MANY),
    "BMP cut": (encoded("BMP")[:300], DAMAGED),
}


def wav(data: bytes, channels=1, rate=16_000, bits=16, form=1, size=None, align=None) -> bytes:
    """A WAV with any header. size: the declared bytes of the data."""
    align = channels * bits // 8 & 0xFFFF if align is None else align
    fmt = struct.pack("<HHIIHH", form, channels, rate, rate * align & 0xFFFFFFFF, align, bits)
    head = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(data) if size is None else size)
    return b"RIFF" + struct.pack("<I", len(head + data)) + head + data


def sound(form: str) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(4_000, np.int16), 16_000, format=form)
    return buffer.getvalue()


def flac(samples: int) -> bytes:
    """A FLAC of 4,000 samples whose header declares another number, of 36 bits."""
    data = bytearray(sound("FLAC"))
    data[21] = data[21] & 0xF0 | samples >> 32
    data[22:26] = struct.pack(">I", samples & 0xFFFFFFFF)
    return bytes(data)


def valid_wav(seconds: float, rate: int) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(bytes(2 * round(seconds * rate)))
    return buffer.getvalue()


LONG, UNREADABLE, OTHER = "it should have at most 60,000,000", "cannot be decoded", "should be MP3, Ogg, FLAC or WAV"
AUDIO = {
    "empty": (b"", "is empty"),
    "noise": (b"noise" + np.random.default_rng(1).bytes(500), OTHER),
    "text": (b"this is no sound", OTHER),
    "a WAV of a slow rate, long when resampled": (valid_wav(60_000, 1), LONG),
    "a FLAC that declares 2^36 samples": (flac(2**36 - 1), LONG),
    "a FLAC that declares 4 billion samples": (flac(2**32), LONG),
    "a WAV without samples": (wav(b""), "no samples"),
    "a WAV without channels": (wav(bytes(64), channels=0), f"{UNREADABLE}|no samples"),
    "a WAV of 65,535 channels": (wav(bytes(64), channels=65_535), UNREADABLE),
    "a WAV at 0 Hz": (wav(bytes(64), rate=0), UNREADABLE),
    "a WAV at 4 billion Hz": (wav(bytes(64), rate=2**32 - 1), OTHER),
    "a WAV of unknown coding": (wav(bytes(64), form=0x7777), UNREADABLE),
    "a WAV of 64 bits": (wav(bytes(64), bits=64), OTHER),
    "a WAV header alone": (wav(bytes(64))[:20], UNREADABLE),
    "a RIFF header alone": (b"RIFF\xff\xff\xff\xffWAVE", UNREADABLE),
    "a WAV with NaN": (wav(struct.pack("<2f", 0.1, float("nan")), bits=32, form=3), "not finite"),
    "a WAV with infinity": (wav(struct.pack("<2f", 0.1, float("inf")), bits=32, form=3), "not finite"),
    "an Ogg header alone": (b"OggS" + bytes(30), UNREADABLE),
    "an Ogg cut": (sound("OGG")[:60], UNREADABLE),
    "a FLAC header alone": (b"fLaC" + bytes(34), UNREADABLE),
    "an MP3 tag alone": (b"ID3\x04\0\0\x7f\x7f\x7f\x7f", OTHER),
    "AIFF": (sound("AIFF"), OTHER),
    "AU": (sound("AU"), OTHER),
    "CAF": (sound("CAF"), OTHER),
    "W64": (sound("W64"), OTHER),
    "MATLAB": (sound("MAT5"), OTHER),
    "a MIDI file": (b"MThd\0\0\0\x06\0\1\0\1\0\x60", OTHER),
}
TEXTS = {
    "Latin-1": ("Žába".encode()[:2] + b"\xe1ba", "byte 2 is 0xe1, which is not UTF-8"),
    "UTF-16": ("frog".encode("utf-16"), "byte 0 is 0xf"),
    "a surrogate": (b"\xed\xa0\x80", "not UTF-8"),
    "an overlong slash": (b"..\xc0\xaf", "byte 2 is 0xc0"),
}
