"""Runs the cells of an ablation into a run folder: data, training of all seeds, predictions, results, report.

    RUN/results.json, report.html     what came out; versions and times are those under which each cell was trained
    RUN/test.npz, examples/           the test rows' truth, and a dozen of them to look at and to hear
    RUN/cells/CELL/                   curves.jsonl, predictions.npz, cell.json (written last: the cell is done), checkpoints/
"""

import json
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from mmjax.data import feed
from mmjax.data.dataset import Dataset, Rows
from mmjax.evaluate.results import Predicted, Truth, floor_predictions, tabulate
from mmjax.evaluate.subsets import logits_by_subset, predict, subset_name, subsets_of
from mmjax.experiment import Experiment, ExperimentError, parameter_count, resolved, summary
from mmjax.progress import Progress
from mmjax.train import parallel
from mmjax.train.ablate import init_seeds, orders
from mmjax.train.checkpoint import CheckpointError, Checkpoints
from mmjax.train.loop import Fit, Schedule, Stopped, StopRequest, Watch, differences, fit
from mmjax.train.step import make_step
from mmjax.types import Batch

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "numpy", "mmjax")
EXAMPLES = 12


def run_cells(
    name: str, description: str, command: str, cells: Mapping[str, Experiment], options: Any, out: Path
) -> dict[str, Any]:
    """Trains and evaluates every cell that the folder does not hold yet, then writes and returns the results."""
    console = Console()
    if out.exists() and any(out.iterdir()) and not options.resume:
        raise ExperimentError(f"the folder {out} is not empty; go on there with --resume, or choose another with --out")
    _check_options(cells, options)
    with StopRequest() as stop, Progress(console) as progress:
        datasets: dict[Any, Dataset] = {}
        with progress.waiting("reading the data set"):
            for cell, experiment in cells.items():
                if experiment.data not in datasets:
                    datasets[experiment.data] = experiment.data.load()
                try:
                    experiment.check(datasets[experiment.data])
                except ExperimentError as error:
                    raise ExperimentError(f"cell {cell}: {error}") from error
        filled: dict[Any, Any] = {}
        for cell, experiment in cells.items():
            dataset, target = datasets[experiment.data], experiment.target
            _write_test(out, cell, dataset, target)
            about = {"experiment": resolved(experiment), "seeds": options.seeds, "data": dataset.fingerprint}
            if _is_done(out / "cells" / cell, about):
                continue
            if stop.asked:
                raise Stopped(f"stopped before cell {cell}")
            if experiment.data not in filled:
                filled.clear()  # one data set at a time is on the device
                filled[experiment.data] = _fill(dataset, options, progress)
            _run_cell(cell, experiment, dataset, filled[experiment.data], options, about, out / "cells" / cell, stop, progress)
        with progress.waiting("scoring"):
            first = next(iter(cells.values()))
            results = _results(name, description, command, list(cells), out, datasets[first.data], first.target)
    _write_json(out / "results.json", results)
    _report(out, results, console)
    return results


def _check_options(cells: Mapping[str, Experiment], options: Any) -> None:
    """What can be told before anything is read."""
    devices = jax.local_device_count()
    for cell, experiment in cells.items():
        if options.plan == "pmap" and experiment.batch % devices:
            raise ExperimentError(f"cell {cell}: batch is {experiment.batch}, which does not split over {devices} devices")
    if len({experiment.target for experiment in cells.values() if experiment.heads}) > 1:
        raise ExperimentError("the cells have heads of different names; one table compares cells of one target")
    if options.tensorboard:
        _summary_writer()


def _fill(dataset: Dataset, options: Any, progress: Progress) -> Any:
    """The columns on the device if they fit there, else None: then they are streamed."""
    size = feed.column_bytes(dataset) / 1e9
    if size > options.device_memory:
        progress.print(f"data: {size:.2f} GB prepared, over --device-memory {options.device_memory:g}: streamed by Grain")
        return None
    items = sum(column.count for column in dataset.columns.values())
    with progress.counting("preparing pictures, words and sounds", items) as advance:
        columns = feed.fill(dataset, advance)
    rows = ", ".join(f"{len(rows):,} {split}" for split, rows in dataset.splits.items())
    progress.print(f"data: {rows} rows through {dataset.source}, {size * 1e3:.0f} MB on the device")
    progress.print("      left out: " + "; ".join(f"{count} {why}" for why, count in dataset.dropped.items()))
    return columns


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
    model, tx, seeds, target = experiment.model, experiment.optim(experiment.steps), range(options.seeds), experiment.target

    def feed_of(split: str) -> Callable[[np.ndarray], Batch]:
        if columns is None:
            return feed.Streamed(dataset, dataset.splits[split], experiment.encoders)
        return feed.from_device({name: columns[name] for name in experiment.encoders}, dataset.splits[split])

    order = orders(seeds, len(dataset.splits["train"]), experiment.batch)
    train_feed, validation_feed = feed_of("train"), feed_of("validation")

    def batches_from(first: int) -> Iterator[Batch]:
        if columns is None:
            return train_feed.stream(order, first, experiment.steps)
        return (train_feed(order(step)) for step in range(first, experiment.steps))

    progress.cell(cell, experiment.steps)
    state = init_seeds(model, tx, seeds, train_feed(order(0)[0]))
    plan = parallel.PLANS[options.plan](make_step(model, experiment.loss, tx, experiment.augment))
    run = logits_by_subset(model, [tuple(model.encoders)], target)
    validate = partial(_validate, run, validation_feed, dataset.splits["validation"], target)
    checkpoints = Checkpoints(folder / "checkpoints")
    schedule = Schedule(experiment.steps, experiment.evaluate_every, experiment.checkpoint_every)
    with _tensorboard(folder) if options.tensorboard else nullcontext(lambda record: None) as log:
        watch = Watch(progress.step, lambda record: (progress.evaluated(record), log(record)))
        fitted = fit(plan, state, batches_from, validate, schedule, checkpoints, about, stop, watch)
    checkpoints.close()
    _write_cell(cell, experiment, fitted, feed_of("test"), len(dataset.splits["test"]), options.plan, about, folder)


def _validate(
    run: Any, feed_of_split: Callable[[np.ndarray], Batch], rows: Rows, target: str, params: Any
) -> dict[str, np.ndarray]:
    """Loss (nats) and accuracy of each seed on the validation split, Float[s], all modalities present."""
    logits = predict(run, params, feed_of_split, len(rows))[:, 0]
    log_probability = np.asarray(jax.nn.log_softmax(logits))
    label, share = rows.targets[target], rows.weight / rows.weight.sum()
    loss = -np.take_along_axis(log_probability, label[None, :, None], axis=-1)[..., 0]
    return {"loss": loss @ share, "accuracy": (logits.argmax(-1) == label).astype(np.float32) @ share}


def _write_cell(
    cell: str,
    experiment: Experiment,
    fitted: Fit,
    test_feed: Callable[[np.ndarray], Batch],
    rows: int,
    plan: str,
    about: Mapping[str, Any],
    folder: Path,
) -> None:
    diverged = np.flatnonzero(~np.isfinite(np.asarray(fitted.best.score))).tolist()
    if diverged:
        raise ExperimentError(
            f"cell {cell}: the seeds {diverged} diverged: their loss was never a finite number at an evaluation. Lower "
            f"optim.lr, delete {folder}, and run it again"
        )
    began, subsets = time.monotonic(), subsets_of(tuple(experiment.encoders))
    run = logits_by_subset(experiment.model, subsets, experiment.target)
    logits = predict(run, fitted.best.params, test_feed, rows)
    np.savez(folder / "predictions.npz", logits=logits, subsets=np.array([subset_name(s) for s in subsets]))
    (folder / "curves.jsonl").write_text("".join(json.dumps(record) + "\n" for record in fitted.curves))
    best_step = np.asarray(fitted.best.step).tolist()
    accuracy = {record["step"]: record["validation_accuracy"] for record in fitted.curves}
    record = {
        "about": about,
        "modalities": sorted(experiment.encoders),
        "fusion": summary(experiment.fusion),
        "parameters": parameter_count(fitted.best.params) // logits.shape[0],
        "seeds": list(range(logits.shape[0])),
        "steps": experiment.steps,
        "best_step": best_step,
        "validation": float(np.mean([accuracy[step][seed] for seed, step in enumerate(best_step)])),
        "seconds": fitted.seconds + time.monotonic() - began,
        "peak_memory_bytes": _peak_memory(),
        "plan": plan,
        "device": f"{jax.devices()[0].device_kind} x {jax.device_count()}",
        "versions": _versions(),
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


def _write_test(out: Path, cell: str, dataset: Dataset, target: str) -> None:
    """The test split's truth and examples; cells of one table must share it, since they are compared row by row."""
    rows, about = dataset.splits["test"], dataset.about["test"]
    arrays = {"label": rows.targets[target], "weight": rows.weight}
    arrays |= {name: about[name] for name in ("group", "language", "id", "text", "subfolder")}
    file = out / "test.npz"
    if file.is_file():
        with np.load(file) as before:
            differing = [name for name, array in arrays.items() if before[name].tolist() != array.tolist()]
        if differing:
            raise ExperimentError(
                f"cell {cell}: its test rows differ in {', '.join(differing)} from those in {file}; cells of one table share "
                "data.fold, data.text_language and the like. Run it alone, with another --out"
            )
        return
    folder = out / "examples"
    folder.mkdir(parents=True, exist_ok=True)
    index = []
    for number, row in enumerate(_examples(rows.targets[target], about)):
        media = dataset.media(row)
        for kind, ending in (("image", "png"), ("sound", "mp3")):
            if media[kind]:
                (folder / f"{number}.{ending}").write_bytes(media[kind])
                media[kind] = f"{number}.{ending}"
        index.append({"row": row, "label": dataset.classes[target][rows.targets[target][row]]} | media)
    _write_json(folder / "index.json", index)
    partial_file = out / "test.partial.npz"
    np.savez(partial_file, **arrays)
    partial_file.replace(file)  # last, and whole: that it is there says that the examples are


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
    parts = {split: _by_stamp(dataset, split, target) for split in ("train", "validation")}
    scored = tabulate(predicted, floor_predictions(parts["train"], parts["validation"], text, len(classes)), truth)
    for cell, record in records.items():
        scored["cells"][cell] |= {"experiment": record["about"]["experiment"], "data": record["about"]["data"]}
        scored["cells"][cell] |= {k: v for k, v in record.items() if k not in ("about", "validation")}
    splits = {
        split: {"examples": len(set(about["id"].tolist())), "rows": len(about["id"])} for split, about in dataset.about.items()
    }
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


def _by_stamp(dataset: Dataset, split: str, target: str) -> dict[str, np.ndarray]:
    """Text, label and weight with one row a stamp: what a text classifier would be given."""
    about = dataset.about[split]
    _, first = np.unique(about["id"], return_index=True)
    return {
        "text": about["text"][first],
        "label": dataset.splits[split].targets[target][first],
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


def _summary_writer() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ExperimentError("--tensorboard needs tensorboardX: pip install 'mmjax[log]'") from error
    return SummaryWriter


@contextmanager
def _tensorboard(folder: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """What to tell of each evaluation. Closed before Python ends, when its threads could not be started any more."""
    writer = _summary_writer()(str(folder / "tensorboard"))

    def log(record: Mapping[str, Any]) -> None:
        for name, values in record.items():
            if name != "step":
                writer.add_scalars(name, {f"seed{seed}": value for seed, value in enumerate(values)}, record["step"])
        writer.flush()

    try:
        yield log
    finally:
        writer.close()


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
