"""Decoding: exact values for lossless formats, and an error that names the file for each kind of damage."""

import io
import struct
import wave
import zlib

import numpy as np
import pytest
from PIL import Image

from mmjax.data.decode import DataError, audio_seconds, check_language, decode_audio, decode_image, decode_text


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def wav(samples: np.ndarray, rate: int) -> bytes:
    """samples: int16 (t,) or (t, channels)."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()


def float_wav(samples: list[float], rate: int = 16_000) -> bytes:
    """A 32-bit float WAV, written by hand because the wave module only supports integers."""
    data = struct.pack(f"<{len(samples)}f", *samples)
    form = struct.pack("<HHIIHH", 3, 1, rate, 4 * rate, 4, 32)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def test_image_keeps_straight_alpha():
    pixels = np.array([[[255, 0, 0, 255], [10, 20, 30, 7]]], np.uint8)
    decoded = decode_image(png(pixels), "a.png")
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, pixels)


def test_image_without_alpha_has_three_channels():
    grey = np.array([[0, 128, 255]], np.uint8)
    np.testing.assert_array_equal(decode_image(png(grey), "a.png"), np.stack([grey, grey, grey], axis=-1))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("clear", [None, 3])
def test_image_of_any_mode_keeps_its_colours(mode, clear):
    """clear: the transparent colour of a PNG, or its index in the palette, if its mode has no alpha."""
    rng = np.random.default_rng(0)
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 2**16, (5, 7), np.uint16))
    else:
        image = Image.fromarray(rng.integers(0, 256, (5, 7, 4), np.uint8))
        image = image.convert("RGBA" if "A" in mode else "RGB").convert(mode)
    options = {} if clear is None or mode in ("LA", "RGBA") else {"transparency": (clear,) * 3 if mode == "RGB" else clear}
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    decoded = decode_image(buffer.getvalue(), "a.png")
    whole = np.array(Image.open(buffer).convert("RGBA"))
    if mode == "I;16":  # Pillow clips them
        grey = np.asarray(Image.open(buffer)).astype(np.float64)
        colours = np.repeat(np.round(grey / 65535 * 255)[..., None], 3, axis=-1)
        whole = np.concatenate([colours, np.where(grey == clear, 0, 255)[..., None]], axis=-1)
    transparent = bool(options) or mode in ("LA", "RGBA")
    assert decoded.shape == (5, 7, 4 if transparent else 3)
    np.testing.assert_array_equal(decoded, whole[..., : decoded.shape[-1]])
    assert transparent or (whole[..., 3] == 255).all()


@pytest.mark.parametrize("value, expected", [(0, 0), (127, 0), (129, 1), (10_000, 39), (65_535, 255)])
def test_grey_of_16_bits_is_scaled(value, expected):
    """value / 65535 * 255, rounded: 10000 gives 38.9."""
    decoded = decode_image(png(np.full((2, 3), value, np.uint16)), "a.png")
    np.testing.assert_array_equal(decoded, np.full((2, 3, 3), expected))


@pytest.mark.parametrize("form", ["PNG", "WEBP", "GIF", "BMP", "JPEG"])
def test_formats(form):
    buffer = io.BytesIO()
    pixels = np.full((4, 6, 3), (200, 30, 90), np.uint8)
    Image.fromarray(pixels).save(buffer, form, **({"lossless": True} if form == "WEBP" else {}))
    np.testing.assert_allclose(decode_image(buffer.getvalue(), "a"), pixels, atol=3 if form == "JPEG" else 0)


def test_truncated_image_is_refused_wherever_it_ends():
    whole = png(np.random.default_rng(0).integers(0, 256, (32, 32, 4), dtype=np.uint8))
    for length in (0, 4, 20, 60, len(whole) // 2, len(whole) - 100):
        with pytest.raises(DataError, match=r"birds/crow\.png"):
            decode_image(whole[:length], "birds/crow.png")


def test_image_with_a_flipped_bit_is_refused():
    whole = bytearray(png(np.zeros((8, 8, 4), np.uint8)))
    whole[whole.index(b"IDAT") + 8] ^= 1  # inside the compressed pixels, so the CRC of the chunk differs
    with pytest.raises(DataError, match=r"crow\.png.*damaged"):
        decode_image(bytes(whole), "crow.png")


def test_a_decompression_bomb_is_refused():
    """A header with 40,000 x 40,000 pixels is refused before they are allocated."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 6, 0, 0, 0))
    body = header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    with pytest.raises(DataError, match=r"bomb\.png"):
        decode_image(b"\x89PNG\r\n\x1a\n" + body, "bomb.png")


def test_wav_scale_and_mono_mix():
    pytest.importorskip("soundfile")
    stereo = np.array([[16384, 0], [-32768, -32768], [0, 8192]])
    decoded = decode_audio(wav(stereo, 16_000), "a.wav")
    assert decoded.dtype == np.float32
    # 16384 / 32768 = 0.5, mixed with 0: 0.25; the lowest integer is exactly -1; 8192 / 32768 / 2 = 0.125
    np.testing.assert_array_equal(decoded, np.float32([0.25, -1.0, 0.125]))


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100])
def test_resampling_keeps_a_tone(rate):
    pytest.importorskip("soxr")
    seconds = np.arange(rate) / rate
    tone = np.round(0.5 * 32767 * np.sin(2 * np.pi * 1000 * seconds))
    decoded = decode_audio(wav(tone, rate), "tone.wav", rate=16_000)
    assert len(decoded) == 16_000
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(decoded[1000:-1000], expected[1000:-1000], atol=2e-3)  # the filter distorts the ends


def test_overshoot_is_clipped():
    pytest.importorskip("soundfile")
    np.testing.assert_array_equal(decode_audio(float_wav([1.5, -2.0, 0.25]), "loud.wav"), np.float32([1, -1, 0.25]))


@pytest.mark.parametrize("data, why", [
    (b"", "empty"),
    (b"OggS" + bytes(100), "cannot be decoded"),
    (b"ID3 this is no sound", "cannot be decoded"),
    (wav(np.zeros(0), 16_000), "has no samples"),
    (float_wav([0.1, float("nan")]), "not finite"),
    (float_wav([float("inf")]), "not finite"),
])
def test_bad_audio_is_named(data, why):
    pytest.importorskip("soundfile")
    with pytest.raises(DataError, match=rf"speech/crow\.mp3: .*{why}"):
        decode_audio(data, "speech/crow.mp3")


def test_rate_must_be_positive():
    with pytest.raises(ValueError, match="rate is 0"):
        decode_audio(b"", "a.wav", rate=0)


def test_text():
    assert decode_text("Žába 青蛙 ".encode(), "frog.txt") == "Žába 青蛙 "
    assert decode_text(b"\xef\xbb\xbfmark", "frog.txt") == "mark"
    with pytest.raises(DataError, match=r"frog\.txt: byte 2 is 0xe1"):
        decode_text("Žába".encode()[:2] + "á".encode("latin-1") + b"ba", "frog.txt")


def test_language():
    assert check_language("fr", {"fr", "en"}, "crow") == "fr"
    with pytest.raises(DataError, match=r"crow: unknown language 'xx'; it should be one of en, fr"):
        check_language("xx", {"fr", "en"}, "crow")


def test_audio_seconds():
    assert audio_seconds(wav(np.zeros(12_000, np.int16), 8_000), "x") == pytest.approx(1.5)
    with pytest.raises(DataError, match="a sound: the audio cannot be decoded"):
        audio_seconds(b"RIFF", "a sound")
