"""A tiny AV-MNIST in the folder format of MultiBench."""

from pathlib import Path

import numpy as np

COUNTS = {"train": 40, "test": 12}


def arrays() -> dict[str, np.ndarray]:
    """{file: array}, with the dtypes that MultiBench's reader accepts: images are floats, since it divides them in place. The
    first pixel of row r is r, and the fifth row of an image is 25 times its digit."""
    rng, files = np.random.default_rng(0), {}
    for part, count in COUNTS.items():
        digits = np.arange(count) % 10
        image, audio = rng.uniform(0, 255, (count, 784)), rng.integers(0, 256, (count, 112, 112)).astype(np.uint8)
        image[:, 140:168], image[:, 0] = 25 * digits[:, None], np.arange(count)
        audio[:, 0, 0] = np.arange(count)
        files |= {f"image/{part}_data.npy": image, f"audio/{part}_data.npy": audio, f"{part}_labels.npy": digits.astype(float)}
    return files


def write_digits(folder: Path, changed: dict[str, np.ndarray] | None = None) -> Path:
    """The files in a folder, some of them changed. Returns the folder."""
    for name, array in (arrays() | (changed or {})).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / name, array)
    return folder
