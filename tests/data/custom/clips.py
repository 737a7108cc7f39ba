"""Tiny audio-visual clips of six speakers: a light or dark square, and a low or high tone."""

import csv

import numpy as np
import soundfile
from PIL import Image

RATE, SAMPLES = 16_000, 4_800  # 0.3 s
SPEAKERS = ("anna", "ben", "cleo", "dan", "eva", "finn")
CLASSES = ("high", "low")


def clip(number: int) -> tuple[np.ndarray, np.ndarray, str, str]:
    """(image uint8 [12 12 3], wave int16 [4800], label, speaker): both modalities tell the label, with noise."""
    rng = np.random.default_rng(number)
    label = CLASSES[(number // len(SPEAKERS)) % 2]
    light, hertz = (200, 2000) if label == "high" else (50, 300)
    image = (light + rng.integers(-40, 40, (12, 12, 3))).astype(np.uint8)
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(SAMPLES) / RATE) + 0.02 * rng.normal(size=SAMPLES)
    return image, (wave * 32767).clip(-32767, 32767).astype(np.int16), label, SPEAKERS[number % len(SPEAKERS)]


def write_folder(folder, count=36, missing=()):
    """clips/data.csv with its files, and a new clip. missing: rows without a sound."""
    clips = folder / "clips"
    clips.mkdir(parents=True)
    with (clips / "data.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "audio", "label", "speaker"])
        for number in range(count):
            image, wave, label, speaker = clip(number)
            Image.fromarray(image).save(clips / f"{number}.png")
            soundfile.write(clips / f"{number}.wav", wave, RATE)
            table.writerow([f"{number}.png", "" if number in missing else f"{number}.wav", label, speaker])
    image, wave, _, _ = clip(count)
    Image.fromarray(image).save(clips / "new.png")
    soundfile.write(clips / "new.wav", wave, RATE)
    return clips / "data.csv"


def arrays(count=36):
    """(images uint8 [n 12 12 3], waves int16 [n 4800], labels, speakers)."""
    images, waves, labels, speakers = zip(*(clip(number) for number in range(count)))
    return np.array(images), np.array(waves), np.array(labels), np.array(speakers)
