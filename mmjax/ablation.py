"""Runs the cells of an ablation into a run folder: data, training of all seeds, predictions, results, report.

    RUN/results.json, report.html     RUN/test.npz, examples/, tokenizer and data choices as JSON in results.json
    RUN/cells/CELL/                   curves.jsonl, predictions.npz, cell.json (written last: the cell is done), checkpoints/
"""

import json
import platform
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from mmjax.data import feed
from mmjax.data.dataset import Dataset
from mmjax.evaluate.results import Predicted, Truth, floor_predictions, tabulate
from mmjax.evaluate.subsets import logits_by_subset, predict, subset_name, subsets_of
from mmjax.experiment import Experiment, ExperimentError, parameter_count, resolved, summary
from mmjax.losses import cross_entropy
from mmjax.progress import Progress
from mmjax.train import parallel
from mmjax.train.ablate import init_seeds, orders
from mmjax.train.checkpoint import CheckpointError, Checkpoints
from mmjax.train.loop import Fit, Schedule, StopRequest, Watch, differences, fit
from mmjax.train.step import make_step

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "numpy", "mmjax")
TARGET = "label"
EXAMPLES = 12


def run_cells(
    name: str, description: str, command: str, cells: Mapping[str, Experiment], options: Any, out: Path
) -> dict[str, Any]:
    """Trains and evaluates every cell that the folder does not hold yet, then writes and returns the results."""
    console, began = Console(), time.monotonic()
    if out.exists() and any(out.iterdir()) and not options.resume:
        raise ExperimentError(f"the folder {out} is not empty; go on there with --resume, or choose another with --out")
    out.mkdir(parents=True, exist_ok=True)
    loaded: dict[Any, tuple[Dataset, Any]] = {}
    with StopRequest() as stop, Progress(console) as progress:
        for cell, experiment in cells.items():
            if experiment.data not in loaded:
                loaded.clear()  # one data set at a time is in memory
                loaded[experiment.data] = _load(experiment, options, progress)
            dataset, columns = loaded[experiment.data]
            experiment.check(dataset)
            _write_test(out, dataset)
            about = {"experiment": resolved(experiment), "seeds": options.seeds, "data": dataset.fingerprint}
            if not _is_done(out / "cells" / cell, about):
                _run_cell(cell, experiment, dataset, columns, options, about, out / "cells" / cell, stop, progress)
        with progress.waiting("scoring"):
            results = _results(name, description, command, cells, options, out, dataset)
    results["seconds"] = sum(cell["seconds"] for cell in results["cells"].values())
    results["wall_seconds"] = time.monotonic() - began
    _write_json(out / "results.json", results)
    _report(out, results, console)
    return results


def _load(experiment: Experiment, options: Any, progress: Progress) -> tuple[Dataset, Any]:
    """The data set, and its columns on the device if they fit there, else None: then they are streamed."""
    with progress.waiting("reading the data set"):
        dataset = experiment.data.load()
    size = feed.column_bytes(dataset) / 1e9
    if size > options.device_memory:
        progress.print(f"data: {size:.2f} GB prepared, over --device-memory {options.device_memory:g}: streamed by Grain")
        return dataset, None
    items = sum(column.count for column in dataset.columns.values())
    with progress.counting("preparing pictures, words and sounds", items) as advance:
        columns = feed.fill(dataset, advance)
    rows = ", ".join(f"{len(rows):,} {split}" for split, rows in dataset.splits.items())
    progress.print(f"data: {rows} rows through {dataset.source}, {size * 1e3:.0f} MB on the device")
    progress.print("      left out: " + "; ".join(f"{count} {why}" for why, count in dataset.dropped.items()))
    return dataset, columns


def _feeds(dataset: Dataset, columns: Any, split: str) -> Any:
    """Row numbers -> batch, for evaluation."""
    rows = dataset.splits[split]
    if columns is not None:
        return feed.from_device(columns, rows)
    return lambda index: next(feed.stream(dataset, rows, lambda step: index, 0, 1))


def _run_cell(
    cell: str,
    experiment: Experiment,
    dataset: Dataset,
    columns: Any,
    options: Any,
    about: Mapping[str, Any],
    folder: Path,
    stop: StopRequest,
    progress: Progress,
) -> None:
    model, tx, seeds = experiment.model, experiment.optim(experiment.steps), range(options.seeds)
    train = dataset.splits["train"]
    order = orders(seeds, len(train), experiment.batch)
    train_feed = _feeds(dataset, columns, "train")

    def batches_from(first: int) -> Iterator[Any]:
        if columns is None:
            return feed.stream(dataset, train, order, first, experiment.steps)
        return (train_feed(order(step)) for step in range(first, experiment.steps))

    progress.cell(cell, experiment.steps)
    state = init_seeds(model, tx, seeds, train_feed(order(0)[0]))
    plan = {"single": parallel.single, "pmap": parallel.pmapped}[options.plan](
        make_step(model, experiment.loss, tx, experiment.augment)
    )
    validate = partial(_validate, logits_by_subset(model, [tuple(model.encoders)], TARGET), dataset, columns)
    checkpoints = Checkpoints(folder / "checkpoints")
    schedule = Schedule(experiment.steps, experiment.evaluate_every, experiment.checkpoint_every)
    logger = _tensorboard(folder) if options.tensorboard else lambda record: None
    watch = Watch(progress.step, lambda record: (progress.evaluated(record), logger(record)))
    fitted = fit(plan, state, batches_from, validate, schedule, checkpoints, about, stop, watch)
    checkpoints.close()
    _write_cell(experiment, fitted, model, dataset, columns, about, folder)


def _validate(run: Any, dataset: Dataset, columns: Any, params: Any) -> dict[str, np.ndarray]:
    """Loss (nats) and accuracy of each seed on the validation split, Float[s], all modalities present."""
    rows = dataset.splits["validation"]
    logits = predict(run, params, _feeds(dataset, columns, "validation"), len(rows))[:, 0]
    batch = feed.Batch({}, {}, {TARGET: rows.targets[TARGET]}, rows.weight)
    loss = np.stack([np.asarray(cross_entropy({TARGET: jnp.asarray(of_seed)}, batch)) for of_seed in logits])
    right = logits.argmax(-1) == rows.targets[TARGET]
    share = rows.weight / rows.weight.sum()
    return {"loss": loss @ share, "accuracy": right.astype(np.float32) @ share}


def _write_cell(
    experiment: Experiment, fitted: Fit, model: Any, dataset: Dataset, columns: Any, about: Mapping[str, Any], folder: Path
) -> None:
    began, subsets = time.monotonic(), subsets_of(tuple(model.encoders))
    rows = len(dataset.splits["test"])
    run = logits_by_subset(model, subsets, TARGET)
    logits = predict(run, fitted.best.params, _feeds(dataset, columns, "test"), rows)
    np.savez(folder / "predictions.npz", logits=logits, subsets=np.array([subset_name(s) for s in subsets]))
    (folder / "curves.jsonl").write_text("".join(json.dumps(record) + "\n" for record in fitted.curves))
    seeds = logits.shape[0]
    record = {
        "about": about,
        "modalities": sorted(model.encoders),
        "fusion": summary(experiment.fusion),
        "parameters": parameter_count(fitted.best.params) // seeds,
        "seeds": list(range(seeds)),
        "steps": experiment.steps,
        "best_step": np.asarray(fitted.best.step).tolist(),
        "validation": float(np.mean(fitted.best.score)),
        "seconds": fitted.seconds + time.monotonic() - began,
        "peak_memory_bytes": _peak_memory(),
    }
    _write_json(folder / "cell.json", record)


def _is_done(folder: Path, about: Mapping[str, Any]) -> bool:
    file = folder / "cell.json"
    if not file.is_file():
        return False
    differing = differences(json.loads(file.read_text())["about"], json.loads(json.dumps(about)))
    if differing:
        raise CheckpointError(
            f"{folder} was run as another experiment: {'; '.join(differing[:5])}. Give the same values, or another --out"
        )
    return True


def _write_test(out: Path, dataset: Dataset) -> None:
    """The test split's truth; cells of one table must share it, since they are compared example by example."""
    rows, about = dataset.splits["test"], dataset.about["test"]
    arrays = {"label": rows.targets[TARGET], "weight": rows.weight} | {k: about[k] for k in ("group", "language", "id")}
    file = out / "test.npz"
    if file.is_file():
        with np.load(file) as before:
            if before["id"].tolist() != arrays["id"].tolist() or before["language"].tolist() != arrays["language"].tolist():
                raise ExperimentError(f"{file} holds other test rows; cells of one table must share data.fold and the like")
        return
    np.savez(file, **arrays)
    folder = out / "examples"
    folder.mkdir(exist_ok=True)
    index = []
    for number, row in enumerate(_examples(rows.targets[TARGET], about)):
        media = dataset.media(row)
        for kind, ending in (("image", "png"), ("sound", "mp3")):
            if media[kind]:
                (folder / f"{number}.{ending}").write_bytes(media[kind])
                media[kind] = f"{number}.{ending}"
        index.append({"row": row, "label": dataset.classes[TARGET][rows.targets[TARGET][row]]} | media)
    _write_json(folder / "index.json", index)


def _examples(label: np.ndarray, about: Mapping[str, np.ndarray]) -> list[int]:
    """A dozen test rows of different stamps, classes and languages in turn; chosen before any model has seen them."""
    order = np.random.default_rng(0).permutation(len(label))
    chosen: list[int] = []
    while len(chosen) < min(EXAMPLES, len(set(about["id"].tolist()))):
        seen = {key: [about[key][row] for row in chosen] for key in ("id", "language")}
        classes = [label[row] for row in chosen]
        fresh = [row for row in order if about["id"][row] not in seen["id"]]
        rarity = lambda row: (classes.count(label[row]), seen["language"].count(about["language"][row]))
        chosen.append(int(min(fresh, key=rarity)))
    return chosen


def _results(
    name: str, description: str, command: str, cells: Mapping[str, Experiment], options: Any, out: Path, dataset: Dataset
) -> dict[str, Any]:
    classes = dataset.classes[TARGET]
    with np.load(out / "test.npz") as test:
        truth = Truth(*(test[key] for key in ("label", "weight", "group", "language")), classes)
    records, predicted = {}, {}
    for cell in cells:
        records[cell] = json.loads((out / "cells" / cell / "cell.json").read_text())
        with np.load(out / "cells" / cell / "predictions.npz") as arrays:
            subsets = tuple(tuple(str(subset).split("+")) for subset in arrays["subsets"])
            predicted[cell] = Predicted(arrays["logits"], subsets, records[cell]["validation"])
    parts = {split: _by_stamp(dataset, split) for split in ("train", "validation")}
    floors = floor_predictions(parts["train"], parts["validation"], dataset.about["test"]["text"], len(classes))
    scored = tabulate(predicted, floors, truth)
    for cell, record in records.items():
        scored["cells"][cell] |= {"experiment": record["about"]["experiment"]}
        scored["cells"][cell] |= {k: v for k, v in record.items() if k not in ("about", "validation")}
    splits = {
        split: {"examples": len(set(about["id"].tolist())), "rows": len(about["id"])} for split, about in dataset.about.items()
    }
    return scored | {
        "name": name,
        "command": command,
        "description": description.split("\n\n")[0],
        "task": {
            "target": TARGET,
            "classes": list(classes),
            "modalities": sorted(dataset.columns),
            "splits": splits,
            "dropped": dict(dataset.dropped),
            "source": dataset.source,
        },
        "fingerprint": dataset.fingerprint,
        "plan": options.plan,
        "versions": _versions(),
        "device": f"{jax.devices()[0].device_kind} x {jax.device_count()}",
        "peak_memory_bytes": max([_peak_memory(), *(record["peak_memory_bytes"] for record in records.values())]),
    }


def _by_stamp(dataset: Dataset, split: str) -> dict[str, np.ndarray]:
    """Text, label and weight with one row a stamp: what a text classifier would be given."""
    about = dataset.about[split]
    _, first = np.unique(about["id"], return_index=True)
    return {
        "text": about["text"][first],
        "label": dataset.splits[split].targets[TARGET][first],
        "weight": np.ones(len(first), np.float32),
    }


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


def _write_json(file: Path, value: Any) -> None:
    """Whole or not at all."""
    partial_file = file.with_suffix(".partial")
    partial_file.write_text(json.dumps(value, indent=1, allow_nan=False))
    partial_file.replace(file)


def _tensorboard(folder: Path) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError("--tensorboard needs tensorboardX: pip install 'mmjax[log]'") from error
    writer = SummaryWriter(str(folder / "tensorboard"))

    def log(record: Mapping[str, Any]) -> None:
        for name, values in record.items():
            if name != "step":
                writer.add_scalars(name, {f"seed{seed}": value for seed, value in enumerate(values)}, record["step"])
        writer.flush()

    return log


def _report(out: Path, results: Mapping[str, Any], console: Console) -> None:
    from mmjax.report.tables import results_table, verdict_sentences

    console.print(results_table(results, console.width))
    for sentence in verdict_sentences(results):
        console.print(f"- {sentence}", highlight=False)
    try:
        from mmjax.report.page import write_report

        page = write_report([out], out / "report.html")
    except ImportError as error:
        console.print(f"report.html was not written: {error}")
    else:
        console.print(f"wrote {out / 'results.json'} and {page}")
