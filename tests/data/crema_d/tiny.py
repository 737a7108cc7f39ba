"""A tiny CREMA-D in the folder format that OGM-GE prepares."""

import wave
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from mmjax.data.crema_d.dataset import EMOTIONS, FRAMES

ACTORS, SENTENCE = [str(1001 + number) for number in range(10)], "IEO"


def clips() -> list[str]:
    """Six clips of each of ten actors."""
    return [f"{actor}_{SENTENCE}_{emotion}_XX" for actor, emotion in product(ACTORS, EMOTIONS)]


def write_clips(folder: Path) -> Path:
    """The files in a folder; every seventh clip is in test.csv. The pitch of a sound depends on the emotion. A clip has three
    pictures in a grey of its own, of which the middle one is the brightest. Returns the folder."""
    (folder / "AudioWAV").mkdir(parents=True, exist_ok=True)
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for number, clip in enumerate(clips()):
        emotion = clip.split("_")[2]
        kind = list(EMOTIONS).index(emotion)
        lines["test" if number % 7 == 3 else "train"].append(f"{clip},{emotion}")
        samples = 8000 * np.sin(np.arange(3200) * (0.05 + 0.05 * kind)) + number
        with wave.open(str(folder / "AudioWAV" / f"{clip}.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(samples.astype("<i2").tobytes())
        (folder / FRAMES / clip).mkdir(parents=True, exist_ok=True)
        for second, extra in enumerate((0, 40, 20)):
            grey = np.full((12, 16, 3), 3 * number + extra, np.uint8)
            Image.fromarray(grey).save(folder / FRAMES / clip / f"{30 * second:05d}.jpg")
    for name, listed in lines.items():
        (folder / f"{name}.csv").write_text("\r\n".join(listed) + "\r\n", encoding="utf-8-sig", newline="")
    return folder
