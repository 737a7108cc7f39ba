"""A small but complete run folder of random data, by the schema that the experiments write."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

CLASSES = ["animals", "food", "<b>vehicles</b> & $x$"]  # a hostile name: markup for HTML, mathematics for matplotlib
CELLS = {"concat": "audio image text", "gated": "audio image text", "text": "text", "image": "image"}
VERDICTS = {  # of the two fusion cells, by what the fixture is asked to show
    "win": ("better", 0.05),
    "draw": ("inconclusive", 0.012),
    "loss": ("worse", -0.08),
}
SEEDS, ROWS, SCRIPT = 3, 40, "<script>alert('caption')</script>"


def _interval(rng: np.random.Generator, low: float = 0.3, high: float = 0.9) -> dict[str, float]:
    a, b, c = sorted(float(value) for value in rng.uniform(low, high, 3))
    return {"mean": b, "low": a, "high": c}


def _around(mean: float, half: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - half, "high": mean + half}


def _cell(name: str, rng: np.random.Generator, outcome: str) -> dict[str, Any]:
    modalities = CELLS[name].split()
    subsets = ["+".join(c) for k in range(1, len(modalities) + 1) for c in combinations(sorted(modalities), k)]
    metrics = [f"{m}_{a}" for a in ("macro", "micro") for m in ("precision", "recall", "f1")] + ["ece"]
    floor = {"against": "majority", "name": "majority class", "metric": "accuracy"}
    verdicts = [{**floor, "difference": _around(0.3, 0.05), "verdict": "better"}]
    if outcome == "loss":
        verdicts = [{**floor, "difference": _around(0.01, 0.05), "verdict": "inconclusive"}]
    if len(modalities) > 1:
        word, mean = VERDICTS[outcome]
        single = {"against": "best_single", "name": "text alone (concat)", "metric": "accuracy", "verdict": word}
        verdicts.append({**single, "difference": _around(mean if name == "gated" else mean - 0.002, 0.03)})
    return {
        "modalities": modalities,
        "fusion": f"{name.title()}(width=64)",
        "parameters": int(rng.integers(1e4, 1e6)),
        "seeds": list(range(SEEDS)),
        "steps": 200,
        "stages": STAGES if name == "gated" else [],
        "best_step": [100, 150, 200],
        "seconds": 41.2,
        "experiment": {"fusion": {"type": name, "width": 64}, "optim": {"lr": 0.001}, "note": "<i>kept as text</i>"},
        "subsets": {
            subset: {
                "accuracy": {**_interval(rng), "per_seed": [float(v) for v in rng.uniform(0.4, 0.8, SEEDS)]},
                **{metric: _interval(rng, 0.05) for metric in metrics},
            }
            for subset in subsets
        },
        "languages": {
            language: {
                "rows": 12,
                "accuracy": _interval(rng),
                "f1_macro": _interval(rng),
                "unimodal_heads": {"accuracy": _interval(rng), "f1_macro": _interval(rng)},
            }
            for language in (("fr", "el") if "audio" in modalities else ())
        },
        "per_class": {
            name: {**{metric: _interval(rng) for metric in ("precision", "recall", "f1")}, "weight": 12.5}
            for name in CLASSES
        },
        "confusion": rng.uniform(0, 20, (len(CLASSES), len(CLASSES))).round(2).tolist(),
        "verdicts": verdicts,
    }


STAGES = [
    {"first": 1, "last": 80, "learns": ["fusion", "heads"], "parameters": 4321, "validation": 0.415},
    {"first": 81, "last": 200, "learns": [""], "parameters": 98765, "validation": None},
]


def _results(rng: np.random.Generator, outcome: str) -> dict[str, Any]:
    cells = {name: _cell(name, rng, outcome) for name in CELLS}
    text = cells["text"]["subsets"]["text"]
    split = {"examples": 30, "rows": ROWS}
    return {
        "name": "stamps_fusion",
        "command": "python experiments/stamps_fusion.py --seeds 3",
        "description": "Which fusion is best when audio is often missing?",
        "task": {
            "target": "label",
            "classes": CLASSES,
            "modalities": ["audio", "image", "text"],
            "splits": {"train": split, "validation": split, "test": split},
            "dropped": {"no picture": 3, "fewer than 3 of its class": 7},
        },
        "best_cell": "gated",
        "interval": "95 %, bootstrap over groups and seeds",
        "cells": cells,
        "floors": {
            "majority": {"accuracy": _around(0.294, 0), "f1_macro": _around(0.152, 0)},
            "tfidf_svm": {"accuracy": _interval(rng), "f1_macro": _interval(rng)},
            "best_single": {"cell": "text", "accuracy": text["accuracy"], "f1_macro": text["f1_macro"]},
        },
        "fingerprint": "0123456789abcdef" * 4,
        "versions": {"python": "3.11.7", "jax": "0.10.0"},
        "device": "cpu x 1",
        "seconds": 311.0,
        "peak_memory_bytes": 2_100_000_000,
    }


def _write_cell(folder: Path, cell: dict[str, Any], rng: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    lines = []
    for step in range(0, 201, 50):
        train, validation = (2 / (1 + step / 50) + rng.uniform(0, 0.2, (2, SEEDS))).tolist()
        point = {"step": step, "train_loss": train, "validation_loss": validation}
        lines.append(json.dumps({**point, "validation_accuracy": rng.uniform(0.3, 0.9, SEEDS).tolist()}))
    (folder / "curves.jsonl").write_text("\n".join(lines) + "\n")
    logits = rng.normal(size=(SEEDS, len(cell["subsets"]), ROWS, len(CLASSES))).astype(np.float32)
    np.savez(folder / "predictions.npz", logits=logits, subsets=np.array(list(cell["subsets"])))


def write_run(folder: Path, seed: int = 0, outcome: str = "win") -> Path:
    """A run folder; `outcome` (win, draw or loss) is that of the fusion cells against the best single modality."""
    rng = np.random.default_rng(seed)
    results = _results(rng, outcome)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results))
    for name, cell in results["cells"].items():
        _write_cell(folder / "cells" / name, cell, rng)
    label = rng.integers(0, len(CLASSES), ROWS).astype(np.int32)
    np.savez(
        folder / "test.npz",
        label=label,
        weight=np.ones(ROWS, np.float32),
        group=np.arange(ROWS, dtype=np.int32),
        language=np.array(["fr", "el", "", "fr"] * (ROWS // 4)),
        id=np.array([f"animals/{i}" for i in range(ROWS)]),
    )
    examples = folder / "examples"
    examples.mkdir()
    index = []
    for i, row in enumerate((5, 17, 30)):
        Image.fromarray(rng.integers(0, 255, (12, 12, 4), dtype=np.uint8)).save(examples / f"{i}.png")
        sound = None if i == 2 else f"{i}.mp3"
        if sound:
            (examples / sound).write_bytes(rng.bytes(300))  # the page embeds bytes; it never decodes them
        example = {"row": row, "id": f"animals/{row}", "label": CLASSES[label[row]], "language": "fr" if sound else ""}
        index.append({**example, "caption": f"A crow. {SCRIPT}", "image": f"{i}.png", "sound": sound})
    (examples / "index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="session")
def make_run():
    """`write_run`, for tests that change the folder."""
    return write_run


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that tests read and do not change."""
    return write_run(tmp_path_factory.mktemp("runs") / "run")
