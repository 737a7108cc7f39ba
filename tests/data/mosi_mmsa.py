"""A tiny file in the format of MMSA's MOSI/Processed/unaligned_50.pkl."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.data.mosi.mmsa import FILE

COUNTS = {"train": 24, "valid": 8, "test": 8}


def part(split: str, count: int) -> dict[str, Any]:
    """Two clips per video. Audio and vision are zeros beyond their lengths, and the first value of the audio is -inf."""
    rng = np.random.default_rng(len(split))
    lengths = {name: rng.integers(1, steps + 1, count) for name, steps in (("text", 6), ("audio", 7), ("vision", 8))}
    within = {name: np.arange(steps) < lengths[name][:, None] for name, steps in (("text", 6), ("audio", 7), ("vision", 8))}
    audio = rng.normal(size=(count, 7, 2)) * within["audio"][..., None]
    audio[0, 0, 0] = -np.inf
    ids = rng.integers(4, 12, (count, 6)) * within["text"]
    return {
        "id": [f"{split}{row // 2}$_${row}" for row in range(count)],
        "raw_text": np.array([f"clip {row}" for row in range(count)]),
        "text": rng.normal(size=(count, 6, 4)).astype(np.float32),
        "text_bert": np.stack([ids, within["text"], np.zeros_like(ids)], axis=1).astype(np.float32),
        "audio": audio,
        "vision": rng.normal(size=(count, 8, 3)) * within["vision"][..., None],
        "audio_lengths": lengths["audio"].tolist(),
        "vision_lengths": lengths["vision"].tolist(),
        "regression_labels": np.linspace(-3, 3, count),
    }


def write_mmsa(folder: Path, **changed: Any) -> Path:
    """The file in a folder, with some fields of its training split changed. Returns the folder."""
    parts = {split: part(split, count) for split, count in COUNTS.items()}
    parts["train"] |= changed
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_bytes(pickle.dumps(parts))
    return folder
