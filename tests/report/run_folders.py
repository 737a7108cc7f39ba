"""A small but complete run folder of random numbers, by the schema: a classification and a retrieval task.

Tests of other packages may use `write_run` too: `from tests.report.run_folders import write_run`."""

import io
import json
import wave
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmjax.describe import as_json
from mmjax.runs.answers import ANSWERS
from mmjax.runs.folder import sha256, write_arrays, write_record
from mmjax.runs.schema import SCHEMA
from mmjax.tasks import Classify, panels

CLASSES = ["animals", "food", "<b>vehicles</b> & $x$"]  # a hostile name: markup for HTML, mathematics for matplotlib
CELLS = {"concat": "audio image text", "gated": "audio image text", "text": "text", "image": "image", "audio": "audio"}
SINGLES = ("text", "image", "audio")
SEEDS, SCRIPT = 3, "<script>alert('caption')</script>"
METRICS = {
    "label": {"accuracy": (True, [0.0, 1.0]), "f1_macro": (True, [0.0, 1.0]), "ece": (False, [0.0, 1.0])},
    "matching": {"recall@1": (True, [0.0, 1.0]), "mrr": (True, [0.0, 1.0]), "median_rank": (False, [1.0, None])},
}
LABEL_BASELINES, MATCHING_BASELINES = ("majority", "tfidf_svm"), ("chance",)
SAME = {"mean": 0.25, "low": 0.125, "high": 0.5, "per_seed": [0.25] * 3}
STAGES = [
    {"first": 1, "last": 80, "learns": ["fusion", "heads"], "parameters": 4321, "validation": 0.415},
    {"first": 81, "last": 200, "learns": [""], "parameters": 98765, "validation": None},
]


def _estimate(rng: np.random.Generator, bounds: list[float | None], seeds: int = SEEDS) -> dict[str, Any]:
    span = (0.3, 0.9) if bounds[1] is not None else (2.0, 90.0)
    low, mean, high = sorted(rng.uniform(*span, 3).tolist())
    return {"mean": mean, "low": low, "high": high, "per_seed": rng.uniform(low, high, seeds).tolist()}


def _scores(rng: np.random.Generator, task: str, seeds: int = SEEDS) -> dict[str, Any]:
    return {metric: _estimate(rng, bounds, seeds) for metric, (_, bounds) in METRICS[task].items()}


def _difference(rng: np.random.Generator, verdict: str) -> dict[str, Any]:
    mean, half = {"better": (0.2, 0.05), "worse": (-0.1, 0.05), "inconclusive": (0.01, 0.03)}[verdict]
    mean += float(rng.uniform(-0.004, 0.004))
    unclear = verdict == "inconclusive"
    return {
        "mean": mean, "low": mean - half, "high": mean + half, "p": 0.4 if unclear else 0.001, "detectable": 1.4 * half,
        "examples_needed": 4321 if unclear else None, "seeds_needed": 17 if unclear else None, "verdict": verdict,
    }  # fmt: skip


def _verdicts(rng: np.random.Generator, name: str, task: str) -> list[dict[str, Any]]:
    rivals = [("baseline", rival) for rival in (LABEL_BASELINES if task == "label" else MATCHING_BASELINES)]
    rivals += [("single", rival) for rival in SINGLES if task == "label" and name not in SINGLES]
    return [
        {
            "against": rival,
            "kind": kind,
            "metric": metric,
            "difference": _difference(rng, "inconclusive" if rival in ("text", "tfidf_svm") else "better"),
        }
        for metric in METRICS[task]
        for kind, rival in rivals
    ]


def _groups(rng: np.random.Generator, task: str, complete: str) -> dict[str, Any]:
    shown = [complete, *complete.split("+")] if task == "label" else [complete]
    of = lambda units: {"units": units, "weight": float(units), "subsets": {name: _scores(rng, task) for name in shown}}
    return {"language": {"fr": of(12), "el": of(30), "": of(5)}}


def _panels(rng: np.random.Generator, task: str) -> list[dict[str, Any]]:
    if task == "label":
        values = rng.uniform(0, 20, (3, 3))
        values[1, 0] = np.nan
        return [panels.matrix("Confusion matrix", CLASSES, CLASSES, values, "true", "predicted")]
    x = rng.uniform(0, 1, 30)
    return [
        panels.histogram("Ranks of the first positive", [1, 2, 5, 10, 50], [20, 11, 6, 3], "rank"),
        panels.points("Predicted against true", x, x + rng.normal(0, 0.1, 30), (), "true", "predicted", diagonal=True),
        panels.points("Cells", [1, 2], [0.4, 0.5], ["a<b>", "c"], "parameters", "recall@1"),
        panels.intervals("Recall by query", ["image", "text"], [0.4, 0.3], [0.3, 0.2], [0.5, np.nan], "recall@1"),
        panels.intervals("Recall by gallery", ["image", "text"], [0.4, 0.3]),
        panels.lines("Recall by severity", ["image", "text"], [0, 1, 2], [[0.4, 0.3, 0.2], [0.4, 0.4, np.nan]]),
        panels.lines("Recall by share", ["audio"], [0, 1], [[0.4, 0.3]], [[0.3, 0.2]], [[0.5, 0.4]], "share", "recall@1"),
    ]


def _cell_task(rng: np.random.Generator, name: str, task: str) -> dict[str, Any]:
    modalities = sorted(CELLS[name].split())
    subsets = ["+".join(c) for k in range(1, len(modalities) + 1) for c in combinations(modalities, k)]
    subsets = subsets if task == "label" else subsets[-1:]
    details = {f"{score}/{c}": _estimate(rng, [0.0, 1.0]) for score in ("precision", "recall", "f1") for c in CLASSES}
    return {
        "subsets": {subset: _scores(rng, task) for subset in subsets},
        "complete": subsets[-1],
        "groups": _groups(rng, task, subsets[-1]) if name == "gated" else {},
        "details": details if task == "label" else {"median_rank/image -> text": _estimate(rng, [1.0, None])},
        "panels": _panels(rng, task) if name == "gated" else [],
        "verdicts": _verdicts(rng, name, task),
        **({"same": {"image": {"removed": SAME, "replaced": SAME}}} if (name, task) == ("gated", "label") else {}),
    }


def _cell(rng: np.random.Generator, name: str, folds: list[int] | None) -> dict[str, Any]:
    tasks = ("label",) if name in SINGLES else ("label", "matching")
    return {
        "modalities": sorted(CELLS[name].split()),
        "fusion": f"{name.title()}(width=64)",
        "parameters": int(rng.integers(1e4, 1e6)),
        "seeds": list(range(SEEDS)),
        "folds": folds,
        "steps": 200,
        "stages": STAGES if name == "gated" else [],
        "best_step": [[100, 150, 200]] * len(folds or [0]),
        "validation": {"select": "label.accuracy", "mean": 0.7, "per_seed": [0.7] * SEEDS},
        "seconds": 41.2,
        "experiment": {"fusion": {"type": name, "width": 64}, "optim": {"lr": 0.001}, "note": "<i>kept as text</i>"},
        "tasks": {task: _cell_task(rng, name, task) for task in tasks},
    }


def _task(rng: np.random.Generator, name: str) -> dict[str, Any]:
    baselines = LABEL_BASELINES if name == "label" else MATCHING_BASELINES
    return {
        "kind": "Classify" if name == "label" else "Retrieve",
        "task": as_json(Classify("label")) if name == "label" else {"output": name},  # no task of ours has these fields
        "headline": next(iter(METRICS[name])),
        "metrics": {m: {"higher_is_better": up, "bounds": bounds} for m, (up, bounds) in METRICS[name].items()},
        "units": 47,
        "groups": 21,
        "best_cell": "gated" if name == "label" else None,
        "baselines": {baseline: _scores(rng, name, 1) for baseline in baselines},
        "interval": "95 %, over groups of examples and seeds",
        "warnings": ["text alone (0.700 accuracy) beats gated (0.650)"] if name == "label" else [],
    }


def make_results(seed: int = 0, folds: list[int] | None = None) -> dict[str, Any]:
    """results.json of random numbers."""
    rng, split = np.random.default_rng(seed), {"examples": 30, "rows": 47}
    return {
        "schema": SCHEMA,
        "name": "stamps_fusion",
        "command": "python experiments/stamps_fusion.py --seeds 3",
        "description": "Which fusion is best when audio is often missing?",
        "tasks": {name: _task(rng, name) for name in METRICS},
        "cells": {name: _cell(rng, name, folds) for name in CELLS},
        "comparisons": {"count": 16, "holm": False},
        "data": {
            "modalities": ["audio", "image", "text"],
            "splits": {"train": split, "validation": split, "test": split},
            "dropped": {"no image": 3, "fewer than 3 of its class": 7},
            "source": "tuxpaint-stamps",
            "fingerprint": "0123456789abcdef" * 4,
            "folds": None if folds is None else len(folds),
            "leak_free": True,
        },
        "plan": "vmap",
        "versions": {"python": "3.11.7", "jax": "0.10.0"},
        "device": "cpu x 1",
        "seconds": 311.0,
        "peak_memory_bytes": 2_100_000_000,
    }  # fmt: skip


def _write_part(folder: Path, rng: np.random.Generator, seeds: int) -> None:
    folder.mkdir(parents=True)
    lines = []
    for step in range(0, 201, 50):
        loss = lambda: (2 / (1 + step / 50) + rng.uniform(0, 0.2, seeds)).tolist()
        point = {"train_loss": loss(), "validation_loss": loss(), "validation_accuracy": rng.uniform(0.3, 0.9, seeds).tolist()}
        norms = {name: rng.lognormal(-2, 1, seeds).tolist() for name in ("gradient_norm", "update_norm")}
        lines.append(json.dumps({"step": step, **point, **norms}))
    (folder / "curves.jsonl").write_text("\n".join(lines) + "\n")


ATTENTION = {  # image: 2 x 2 tokens
    "words": ["rank", "3", "of", "47"],
    "maps": {
        "audio": {"weights": [[0.05, 0.1, 0.05], [0, 0, 0], [0, 0, 0.1], [0, 0, 0]], "tokens": None},
        "image": {"weights": [[0.4, 0.1, 0.2, 0.0], [0.25] * 4, [0.1, 0, 0, 0], [0, 0, 0, 1]], "tokens": None},
        "text": {"weights": [[0.1, 0.0], [0, 0], [0.4, 0.4], [0, 0]], "tokens": ["a", "<i>crow</i>"]},
    },
}
UNITS = 47  # of both tasks, in 21 groups


def units_of() -> dict[str, np.ndarray]:
    """The arrays of the test units of one fold."""
    unit = np.arange(UNITS)
    target = {"target/label": unit % 3, "target/name": np.array(CLASSES)[unit % 3]}
    common = {"weight": np.ones(UNITS, np.float32), "group": unit % 21, "row": unit, "entry": unit}
    return {**common, **target, "metadata/id": np.array([f"animals/{i}" for i in unit])}


def _write_units(folder: Path, folds: list[int] | None) -> None:
    for task in METRICS:
        for name in ["all"] if folds is None else [f"fold{fold}" for fold in folds]:
            write_arrays(folder / task / f"{name}.npz", units_of())


def _outcomes(rng: np.random.Generator, cell: dict[str, Any], seeds: int) -> dict[str, np.ndarray]:
    """Predicted classes of random quality; the label task alone has outcomes."""
    label = np.tile(np.arange(UNITS) % 3, (seeds, 1))
    wrong = rng.random(label.shape) < rng.uniform(0.1, 0.6)
    return {
        f"label/{subset}/{name}": array
        for subset in cell["tasks"]["label"]["subsets"]
        for name, array in {"label": label, "predicted": np.where(wrong, (label + 1) % 3, label)}.items()
    }


def _write_cell(folder: Path, cell: dict[str, Any], examples: list[dict[str, Any]], rng: np.random.Generator) -> None:
    if cell["folds"] is None:  # the seeds of one fold, in two groups
        parts = [{"name": f"all.seeds{s[0]}-{s[-1]}", "fold": None, "seeds": s} for s in ([0, 1], [2])]
    else:
        parts = [{"name": f"fold{fold}", "fold": fold, "seeds": list(range(SEEDS))} for fold in cell["folds"]]
    for part in parts:
        _write_part(folder / part["name"], rng, len(part["seeds"]))
        write_arrays(folder / part["name"] / "outcomes.npz", _outcomes(rng, cell, len(part["seeds"])))
        if cell["fusion"].startswith("Gated"):  # the first example alone is answered without its image as with it
            ignored = np.tile(np.int8(np.arange(UNITS) <= 5), (len(part["seeds"]), 1))
            answers = {"answer/all": np.zeros(ignored.shape, np.uint32), "same/image": ignored}
            write_arrays(folder / part["name"] / ANSWERS, {f"label/{key}": of for key, of in answers.items()})
    shown: dict[str, list[Any]] = {task: [] for task in cell["tasks"]}
    for example in examples:
        if example["task"] not in shown:
            continue
        names = [cell["tasks"][example["task"]]["complete"], *(cell["modalities"] if example["task"] == "label" else [])]
        score = lambda right: 0.75 if right else 0.25
        answer = lambda right: {"predicted": example["target"] if right else "food", "correct": right, "score": score(right)}
        entry = {subset: answer(bool(rng.random() < 0.7)) for subset in names}
        if "audio" in entry and example["sound"] is None and len(entry) > 1:
            entry["audio"] = None
        if example["task"] == "matching":
            entry = {subset: {"predicted": "rank 3 of 47", "correct": None, "score": None} for subset in entry}
            if cell["fusion"].startswith("Gated"):  # as if it were a text
                entry[names[0]]["attention"] = ATTENTION
        shown[example["task"]].append(entry)
    examples = f"{parts[0]['name']}/examples.json"
    (folder / examples).write_text(json.dumps(shown))
    names = [examples, *(f"{part['name']}/{file}" for part in parts for file in ("curves.jsonl", "outcomes.npz"))]
    write_record(folder / "cell.json", {"parts": parts, "sha256": {name: sha256(folder / name) for name in names}})


def tone(seconds: float = 0.1, rate: int = 8000, hertz: float = 440.0) -> bytes:
    """A WAV file of a sine, which browsers can play."""
    wave_of = np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((8000 * wave_of).astype("<i2").tobytes())
    return buffer.getvalue()


def _write_examples(folder: Path, rng: np.random.Generator, count: int) -> list[dict[str, Any]]:
    """Every third example has no sound. Both tasks have the same images and sounds, in files of their own."""
    folder.mkdir(parents=True)
    index: list[dict[str, Any]] = []
    pixels = rng.integers(0, 255, (count, 12, 12, 4), dtype=np.uint8)
    for task in METRICS:
        for i in range(count):
            unit = 5 + 12 * i
            image, sound = f"{task}-{unit}.png", None if i % 3 == 2 else f"{task}-{unit}.wav"
            Image.fromarray(pixels[i]).save(folder / image)
            if sound:
                (folder / sound).write_bytes(tone(hertz=440.0 + i))
            text = {"caption": f"A crow. {SCRIPT}", "language": "fr" if sound else "", "target": CLASSES[i % 3]}
            index.append({"task": task, "unit": unit, "id": f"animals/{unit}", **text, "image": image, "sound": sound})
    (folder / "index.json").write_text(json.dumps(index))
    return index


def write_run(
    folder: Path,
    seed: int = 0,
    folds: list[int] | None = None,
    results: dict[str, Any] | None = None,
    examples: int = 3,
) -> Path:
    """A run folder of random numbers, or of these results. examples: of each task."""
    rng, results = np.random.default_rng(seed), results or make_results(seed, folds)
    index = _write_examples(folder / "examples", rng, examples)
    (folder / "results.json").write_text(json.dumps(results))
    _write_units(folder / "units", next(iter(results["cells"].values()))["folds"])
    for name, cell in results["cells"].items():
        _write_cell(folder / "cells" / name, cell, index, rng)
    return folder
