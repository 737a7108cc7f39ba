"""The whole build: read, clean, de-identify, group, split, check, measure, write."""

import dataclasses
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from mmjax.data.build.agreement import krippendorff_alpha, pairwise_kappas
from mmjax.data.build.card import card
from mmjax.data.build.clean import clean, counts
from mmjax.data.build.croissant import mlcroissant, read_croissant, write_croissant
from mmjax.data.build.deidentify import LIMITS, deidentify
from mmjax.data.build.duplicates import Duplicates, Matcher, find_duplicates, leak_free_groups, recall_warnings
from mmjax.data.build.feature_match import Features, feature_matcher
from mmjax.data.build.items import Item, check_unicode, column, modalities
from mmjax.data.build.label_errors import label_errors
from mmjax.data.build.options import Options
from mmjax.data.build.read import check_columns, read_items
from mmjax.data.build.shortcuts import Probe, combined, shortcuts, warnings
from mmjax.data.build.split import LEFT_OUT, SPLITS, are_numbers, check_leaks, hold_out, split_by_group, strata
from mmjax.data.build.write import ITEMS, rows_of, write_json, write_json_lines, write_media, write_sums
from mmjax.data.build.write_tfds import tensorflow_datasets, write_tfds
from mmjax.data.decode import DataError

__all__ = ["CARD", "FOLDS", "NO_FEATURES", "REPORT", "Track", "build", "import_writers", "one_thread", "untracked"]

Track = Callable[[Sequence, str], Iterable]
NO_FEATURES: Mapping[str, Features] = MappingProxyType({})
REPORT, CARD, FOLDS = "report.json", "README.md", "folds.jsonl"


def untracked(items: Sequence, label: str) -> Iterable:
    """No progress bar."""
    del label
    return items


def build(
    path: Path, out: Path, options: Options, track: Track = untracked, features: Mapping[str, Features] = NO_FEATURES
) -> dict[str, Any]:
    """Builds an evaluation set from a manifest or folder, and returns its report.

    out: a folder that does not exist or is empty; it appears only when it is complete. track: (items, label) -> the items, with
    a progress bar. features: {kind: `Features`}, for a second search of near-duplicates. The result depends on the files,
    options and features alone: it has no times and no paths of the machine.
    Raises DataError for bad input; ImportError, naming the extra, for a missing library.
    """
    check_unicode(str(out), "the folder of the set")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} exists and is not an empty folder; give another folder, or remove it first")
    import_writers()  # before any work
    matchers = {kind: feature_matcher(kind, own) for kind, own in features.items()}
    with one_thread():
        return _build(path, out, options, track, [(kind, features[kind].name, own) for kind, own in matchers.items()])


def import_writers() -> None:
    """Imports the libraries of the output. Raises ImportError, naming the extra, for a missing one.

    They replace Python's import function while they are imported (etils), which breaks imports in other threads, such as that
    of a progress bar; so they are imported before one is started.
    """
    mlcroissant()
    tensorflow_datasets()


def one_thread() -> AbstractContextManager:
    """Products of matrices run on one thread, so that their rounding does not depend on the machine. No effect without
    threadpoolctl, which scikit-learn installs."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    return threadpool_limits(1)


def _build(
    path: Path, out: Path, options: Options, track: Track, more: Sequence[tuple[str, str, Matcher]]
) -> dict[str, Any]:
    items = read_items(path, options.kinds)
    check_columns(items, options.columns)
    cleaned = clean(items, options.label, lambda x: track(x, "cleaning"))
    kept, findings, personal = cleaned.items, cleaned.findings, {}
    if options.personal:
        changed = deidentify(kept, options.region, options.names, lambda x: track(x, "de-identification"))
        kept, personal = changed.items, changed.counts
        findings = findings + changed.findings
    together = options.together or [name for name in ("group",) if name in kept[0].columns]
    known = leak_free_groups(kept, [], together)
    found = [
        find_duplicates(
            kept, name, options.seed, options.copies, known, partial(track, label=f"near-duplicates: {name}"), matcher, features
        )
        for name, kind in modalities(kept).items()
        for of, features, matcher in [(kind, "", None), *more]
        if of == kind
    ]
    groups = leak_free_groups(kept, found, together)
    splits, folds = _splits(kept, groups, options)
    near = np.concatenate([one.near for one in found])
    check_leaks(kept, splits, groups, near)
    probes = _probes(kept, groups, options, track)
    leaks = recall_warnings(found)
    report = {
        "name": options.name,
        "options": dataclasses.asdict(options) | {"names": len(options.names)},
        "items": {"read": len(items), "kept": len(kept), "left out": splits.count(LEFT_OUT)},
        "splits": {name: splits.count(name) for name in SPLITS},
        "labels": _label_counts(kept, splits, options.label),
        "modalities": _modality_counts(kept, splits),
        "cleaning": counts(findings),
        "findings": [finding._asdict() for finding in findings],
        "duplicates": {one.name: _duplicates(one, kept, splits) for one in found},
        "groups": _group_sizes(groups),
        "agreement": _agreement(kept, options),
        "shortcuts": {one.name: _probe(one) for one in probes},
        "warnings": warnings(probes) + leaks,
        "leak warnings": leaks,
        "label errors": _label_errors(kept, probes, options.label),
        "personal data": {"removed": personal, "searched": options.personal, "limits": list(LIMITS)},
    }
    _write(out, kept, splits, groups, folds, report, options)
    return report


def _splits(items: list[Item], groups: np.ndarray, options: Options) -> tuple[list[str], np.ndarray | None]:
    labels = column(items, options.label) if options.label else [""] * len(items)
    if options.hold_out is None:
        return split_by_group(groups, labels, options.folds, options.fold, options.seed)
    name, held = options.hold_out
    return hold_out(column(items, name), held, groups, labels, options.folds, options.seed), None


def _probes(items: list[Item], groups: np.ndarray, options: Options, track: Track) -> list[Probe]:
    if options.label is None or are_numbers(column(items, options.label)) or len(set(column(items, options.label))) < 2:
        return []
    ignored = (*options.together, *options.raters)
    return shortcuts(items, options.label, groups, ignored, options.seed, lambda x: track(x, "shortcuts"))


def _label_counts(items: list[Item], splits: list[str], label: str | None) -> dict[str, dict[str, int]]:
    if label is None or are_numbers(column(items, label)):
        return {}
    pairs = Counter(zip(column(items, label), splits, strict=True))
    return {value: {name: pairs[value, name] for name in SPLITS} for value in sorted(set(column(items, label)))}


def _modality_counts(items: list[Item], splits: list[str]) -> dict[str, dict[str, Any]]:
    return {
        name: {"kind": kind} | {s: sum(name in i.parts for i, own in zip(items, splits) if own == s) for s in SPLITS}
        for name, kind in modalities(items).items()
    }


def _duplicates(one: Duplicates, items: list[Item], splits: list[str]) -> dict[str, Any]:
    across = sum(splits[i] != splits[j] and LEFT_OUT not in (splits[i], splits[j]) for i, j in one.near.tolist())
    tuned = {key: _rounded(value) for key, value in one.tuned._asdict().items()}
    return {
        "kind": one.kind, "pairs": len(one.near), "equal": one.equal, "pairs across splits": across, "planted": tuned,
        "ids": [[items[i].id, items[j].id] for i, j in one.near.tolist()],
    }  # fmt: skip


def _group_sizes(groups: np.ndarray) -> dict[str, int]:
    sizes = np.bincount(groups)
    return {"groups": len(sizes), "largest": int(sizes.max()), "items in groups of several": int(sizes[sizes > 1].sum())}


def _agreement(items: list[Item], options: Options) -> dict[str, Any]:
    if not options.raters:
        return {}
    ratings = [column(items, name) for name in options.raters]
    weights = "none" if options.scale == "nominal" else "quadratic"
    kappas = pairwise_kappas(ratings, weights)
    return {
        "krippendorff_alpha": _rounded(krippendorff_alpha(ratings, options.scale)),
        "scale": options.scale,
        "cohen_kappa": {f"{options.raters[i]}, {options.raters[j]}": _rounded(value) for (i, j), value in kappas.items()},
        "weights": weights,
    }


def _probe(one: Probe) -> dict[str, Any]:
    numbers = {"accuracy": one.accuracy, "majority": one.majority, "standard error of the difference": one.error}
    return {key: _rounded(value) for key, value in numbers.items()} | {"items": one.n, "content": one.content}


def _label_errors(items: list[Item], probes: list[Probe], label: str | None) -> list[dict[str, str]]:
    if label is None or not any(one.content for one in probes):
        return []
    values = sorted(set(column(items, label)))
    probabilities = combined(probes)
    rows = np.flatnonzero(~np.isnan(probabilities[:, 0]))
    found = label_errors(strata(column(items, label))[rows], probabilities[rows])
    return [
        {"id": items[rows[row]].id, "label": items[rows[row]].columns[label], "suggested": values[suggested]}
        for row, suggested in zip(found.rows.tolist(), found.suggested.tolist())
    ]


def _rounded(value: Any) -> Any:
    """Floats with four decimals, None for NaN, which JSON does not have; equal on machines that differ in the last bits."""
    if isinstance(value, dict):
        return {key: _rounded(own) for key, own in value.items()}
    if isinstance(value, float):
        return None if value != value else round(value, 4)
    return value


def _write(
    out: Path,
    items: list[Item],
    splits: list[str],
    groups: np.ndarray,
    folds: np.ndarray | None,
    report: dict[str, Any],
    options: Options,
) -> None:
    """Writes into a temporary folder beside `out`, which is renamed at the end."""
    rows = rows_of(items, splits, groups)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
    try:
        write_media(partial, items, splits)
        write_json_lines(partial / ITEMS, rows)
        if folds is not None:
            pairs = sorted(zip((item.id for item in items), folds.tolist(), strict=True))
            write_json_lines(partial / FOLDS, [{"id": name, "fold": fold} for name, fold in pairs])
        write_tfds(partial, options.name, rows, modalities(items), options.licence)
        write_croissant(partial, options.name, rows, {
            "description": options.description, "license": options.licence, "url": options.url,
            "biases": " ".join([options.biases, *report["warnings"]]), "personal": " ".join(LIMITS),
        })  # fmt: skip
        if read_croissant(partial) != rows:
            raise DataError(f"{ITEMS} does not read back through its Croissant file; please report this")
        write_json(partial / REPORT, report)
        (partial / CARD).write_text(card(report, partial, rows), encoding="utf-8")
        write_sums(partial)
        partial.chmod(0o755)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
