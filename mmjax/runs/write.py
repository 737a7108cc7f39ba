"""What a run leaves behind, written whole or not at all, and read back into results.

    RUN/results.json, report.html     what came out; versions and times are those under which each cell was trained
    RUN/test.npz, examples/           the test units' truth, and a dozen of them to look at and to hear
    RUN/cells/CELL/                   curves.jsonl, predictions.npz, cell.json (written last: the cell is done), checkpoints/
"""

import json
import platform
import resource
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmjax.data.dataset import Dataset
from mmjax.evaluate.results import Predicted, Truth, floor_predictions, tabulate
from mmjax.evaluate.subsets import subset_name
from mmjax.evaluate.units import Units, units
from mmjax.experiment import Experiment, ExperimentError, parameter_count, summary
from mmjax.train.checkpoint import CheckpointError
from mmjax.train.loop import Fit, differences
from mmjax.train.stages import parts, split

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "numpy", "mmjax")
EXAMPLES = 12


def write_cell(
    folder: Path,
    experiment: Experiment,
    fitted: Fit,
    logits: np.ndarray,
    subsets: Sequence[tuple[str, ...]],
    seconds: float,
    plan: str,
    about: Mapping[str, Any],
) -> None:
    """A finished cell: logits Float[s k u c] of seeds, subsets and test units, and how they came about."""
    np.savez(folder / "predictions.npz", logits=logits, subsets=np.array([subset_name(s) for s in subsets]))
    (folder / "curves.jsonl").write_text("".join(json.dumps(record) + "\n" for record in fitted.curves))
    best_step = np.asarray(fitted.best.step).tolist()
    accuracy = {record["step"]: record["validation_accuracy"] for record in fitted.curves}
    record = {
        "about": about,
        "modalities": sorted(experiment.encoders),
        "fusion": summary(experiment.outputs[experiment.output] if "." in experiment.output else experiment.fusion),
        "parameters": parameter_count(fitted.best.variables["params"]) // logits.shape[0],
        "seeds": list(range(logits.shape[0])),
        "steps": experiment.steps,
        "stages": _stages(experiment, fitted),
        "best_step": best_step,
        "validation": float(np.mean([accuracy[step][seed] for seed, step in enumerate(best_step)])),
        "seconds": seconds,
        "peak_memory_bytes": _peak_memory(),
        "plan": plan,
        "device": f"{jax.devices()[0].device_kind} x {jax.device_count()}",
        "versions": _versions(),
    }
    write_json(folder / "cell.json", record)


def _stages(experiment: Experiment, fitted: Fit) -> list[dict[str, Any]]:
    """Of each stage: its steps, what learnt and how many numbers that is in one seed, and the mean validation accuracy over the
    seeds at its last evaluation, None where it had none."""
    params = fitted.best.variables["params"]
    seeds = len(fitted.best.step)
    found = []
    for part in parts(experiment.stages, experiment.steps) if experiment.stages else ():
        inside = [record for record in fitted.curves if part.first < record["step"] <= part.end]
        found.append(
            {
                "first": part.first + 1,
                "last": part.end,
                "learns": list(part.learns),
                "parameters": parameter_count(split(params, part.learns)[0]) // seeds,
                "validation": float(np.mean(inside[-1]["validation_accuracy"])) if inside else None,
            }
        )
    return found


def is_done(folder: Path, about: Mapping[str, Any]) -> bool:
    file = folder / "cell.json"
    if not file.is_file():
        return False
    differing = differences(json.loads(file.read_text())["about"], json.loads(json.dumps(about)))
    if differing:
        raise CheckpointError(
            f"{folder} was run as another experiment: {'; '.join(differing[:5])}. Give the same values, or another --out"
        )
    return True


def write_test(out: Path, cell: str, dataset: Dataset, target: str, test: Units) -> None:
    """The test split's truth and examples; cells of one table must share it, since they are compared row by row."""
    arrays = {"label": test.label, "weight": test.weight, **test.about}
    file = out / "test.npz"
    if file.is_file():
        with np.load(file) as before:
            differing = [
                name for name, array in arrays.items() if name not in before or before[name].tolist() != array.tolist()
            ]
        if differing:
            raise ExperimentError(
                f"cell {cell}: its test rows differ in {', '.join(differing)} from those in {file}; cells of one table share "
                "data.fold, data.text_language and the like. Run it alone, with another --out"
            )
        return
    folder = out / "examples"
    folder.mkdir(parents=True, exist_ok=True)
    index = []
    for number, unit in enumerate(_examples(test.label, test.about)):
        nothing = dict.fromkeys(("caption", "language", "image", "sound"))
        media = {**nothing, "id": str(test.about["id"][unit]), **dataset.media(int(test.at[unit]))}
        for kind, ending in (("image", "png"), ("sound", "mp3")):
            if media[kind]:
                (folder / f"{number}.{ending}").write_bytes(media[kind])
                media[kind] = f"{number}.{ending}"
        index.append({"row": unit, "label": dataset.classes[target][test.label[unit]]} | media)
    write_json(folder / "index.json", index)
    partial_file = out / "test.partial.npz"
    np.savez(partial_file, **arrays)
    partial_file.replace(file)  # last, and whole: that it is there says that the examples are


def _examples(label: np.ndarray, about: Mapping[str, np.ndarray]) -> list[int]:
    """A dozen test units of different examples, classes and languages in turn; chosen before any model has seen them."""
    order = np.random.default_rng(0).permutation(len(label))
    chosen: list[int] = []
    while len(chosen) < min(EXAMPLES, len(set(about["id"].tolist()))):
        seen = {key: [about[key][row] for row in chosen] for key in ("id", "language")}
        classes = [label[row] for row in chosen]
        fresh = [row for row in order if about["id"][row] not in seen["id"]]
        rarity = lambda row: (classes.count(label[row]), seen["language"].count(about["language"][row]))
        chosen.append(int(min(fresh, key=rarity)))
    return chosen


def results_of(
    name: str, description: str, command: str, asked: list[str], out: Path, dataset: Dataset, target: str
) -> dict[str, Any]:
    """results.json, of all cells that the folder holds: those of this command first."""
    classes = dataset.classes[target]
    with np.load(out / "test.npz") as test:
        truth = Truth(*(test[key] for key in ("label", "weight", "group", "language")), classes)
        text = test["text"].tolist()
    done = sorted(file.parent.name for file in out.glob("cells/*/cell.json"))
    records, predicted = {}, {}
    for cell in asked + [cell for cell in done if cell not in asked]:
        records[cell] = json.loads((out / "cells" / cell / "cell.json").read_text())
        with np.load(out / "cells" / cell / "predictions.npz") as arrays:
            subsets = tuple(tuple(str(subset).split("+")) for subset in arrays["subsets"])
            predicted[cell] = Predicted(arrays["logits"], subsets, records[cell]["validation"])
    known = {split: units(rows, dataset.about[split], target) for split, rows in dataset.splits.items()}
    parts = {split: _one_each(known[split]) for split in ("train", "validation")}
    scored = tabulate(predicted, floor_predictions(parts["train"], parts["validation"], text, len(classes)), truth)
    for cell, record in records.items():
        scored["cells"][cell] |= {"experiment": record["about"]["experiment"], "data": record["about"]["data"]}
        scored["cells"][cell] |= {k: v for k, v in record.items() if k not in ("about", "validation")}
    splits = {split: {"examples": len(set(of.about["id"].tolist())), "rows": len(of)} for split, of in known.items()}
    first = records[asked[0]]
    return scored | {
        "name": name,
        "command": command,
        "description": description.split("\n\n")[0],
        "task": {
            "target": target,
            "classes": list(classes),
            "modalities": sorted({modality for record in records.values() for modality in record["modalities"]}),
            "splits": splits,
            "dropped": dict(dataset.dropped),
            "source": dataset.source,
        },
        "fingerprint": dataset.fingerprint,
        "plan": first["plan"],
        "versions": first["versions"],
        "device": first["device"],
        "seconds": sum(record["seconds"] for record in records.values()),
        "peak_memory_bytes": max(record["peak_memory_bytes"] for record in records.values()),
    }


def _one_each(known: Units) -> dict[str, np.ndarray]:
    """Text, label and weight, one row for all units of an example with the same text and label: a text classifier's data."""
    keys = np.stack([known.about["id"], known.about["text"], known.label.astype(str)])
    _, first, place = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    weight = np.bincount(place, known.weight).astype(np.float32)
    return {"text": known.about["text"][first], "label": known.label[first], "weight": weight}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _peak_memory() -> int:
    """Bytes: the most that this process has held, as the system counts it (macOS counts in bytes, Linux in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def write_json(file: Path, value: Any) -> None:
    """Whole or not at all."""
    partial_file = file.with_suffix(".partial")
    partial_file.write_text(json.dumps(value, indent=1, allow_nan=False))
    partial_file.replace(file)
