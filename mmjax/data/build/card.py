"""The data card of a set, in Markdown."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmjax.data.build.items import sha256
from mmjax.data.build.split import SPLITS
from mmjax.data.build.write import ITEMS, SUMS
from mmjax.data.build.write_tfds import tfds_name

__all__ = ["CANDIDATES", "KEYS", "WIDTH", "card", "table"]

WIDTH = 118
CANDIDATES = 20  # label errors that the card lists


def card(report: dict[str, Any], folder: Path, rows: Sequence[dict[str, Any]]) -> str:
    """The card of a finished set. report: as `build` returns it. folder: with the files of the set. rows: of items.jsonl."""
    options = report["options"]
    sections = [
        f"# {options['name']}",
        _fill(options["description"]),
        *(f"> **Warning.** {sentence}" for sentence in report["warnings"]),
        "## Source and licence",
        _fill(f"Source: {options['source']}. Licence: {options['licence']}."),
        "## Contents",
        _contents(folder, rows, options),
        "## Counts",
        _counts(report),
        "## Duplicates and groups",
        _groups(report),
        "## Shortcuts",
        _shortcuts(report),
        "## Labels",
        _labels(report),
        "## Cleaning",
        _cleaning(report),
        "## Personal data",
        _personal(report),
        "## Biases",
        _biases(report),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _fill(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def _contents(folder: Path, rows: Sequence[dict[str, Any]], options: dict[str, Any]) -> str:
    name = tfds_name(options["name"])
    digest = sha256((folder / ITEMS).read_bytes())
    return "\n".join([
        f"- `{ITEMS}`: one JSON object per item with {', '.join(f'`{key}`' for key in rows[0])}; sha256 `{digest}`.",
        "- `media/`: images and recordings, named by their sha256.",
        f"- `tfds/{name}`: the same as array_record, for `tfds.builder_from_directory(...).as_data_source('test')`.",
        "- `croissant.json`: machine-readable metadata (mlcommons.org/croissant) of `items.parquet`, the same table.",
        "- `folds.jsonl`: the fold of each item for cross-validation, unless values were held out.",
        f"- `report.json`: every number of this card, and every item of the cleaning. `{SUMS}`: the sha256 of every file.",
        "",
        f"Load it with `mmjax.data.custom.from_manifest('{ITEMS}')`.",
    ])  # fmt: skip


def _counts(report: dict[str, Any]) -> str:
    items = report["items"]
    rows = [("items", *(report["splits"][name] for name in SPLITS))]
    rows += [(f"with {name} ({own['kind']})", *(own[s] for s in SPLITS)) for name, own in report["modalities"].items()]
    rows += [(f"label {value}", *(own[s] for s in SPLITS)) for value, own in report["labels"].items()]
    left = f" {items['left out']} items share a group with held-out ones and are left out." if items["left out"] else ""
    return table(("", *SPLITS), rows) + "\n\n" + _fill(f"{items['read']} items were read and {items['kept']} kept.{left}")


def _groups(report: dict[str, Any]) -> str:
    sizes, lines = report["groups"], []
    for name, own in report["duplicates"].items():
        planted = own["planted"]
        recall = ", ".join(f"{kind} {value:.3f}" for kind, value in planted["recall"].items())
        precision = f"{planted['precision']:.3f} to {planted['precision_at_most']:.3f}"
        row = (name, own["equal"], own["pairs"], f"{planted['threshold']:.3f}", precision, recall)
        lines.append((*row, own["pairs across splits"]))
    head = ("modality", "equal parts", "pairs", "threshold", "precision", "recall by kind of copy", "pairs across splits")
    text = (
        f"Items that are near-duplicates in any modality share a group, and a group is in one split. There are "
        f"{sizes['groups']} groups; the largest has {sizes['largest']} items. Thresholds were tuned on planted copies of the "
        f"items. Precision is the share of found copies that match nothing but their original, from a lower bound, at which "
        f"duplicates that the set had before count as errors, to the value without the errors that such duplicates explain. "
        f"Copies that were made in other ways, and paraphrases, translations and new photos of one scene, are not found."
    )
    return _fill(text) + "\n\n" + table(head, lines)


def _shortcuts(report: dict[str, Any]) -> str:
    if not report["shortcuts"]:
        return "Not measured: there is no label, or its values are numbers."
    rows = [
        (name, "content" if own["content"] else "shortcut", own["items"], *(f"{own[key]:.3f}" for key in KEYS))
        for name, own in report["shortcuts"].items()
    ]
    found = " ".join(own for own in report["warnings"] if own not in report["leak warnings"])
    found = found or "No shortcut beats the majority by more than 0.02 and three standard errors."
    return table(("a simple model of", "kind", "items", "accuracy", "majority", "error"), rows) + "\n\n" + _fill(
        "Cross-validated by group; the error is the standard error of the difference, clustered by group. " + found
    )


KEYS = ("accuracy", "majority", "standard error of the difference")


def _labels(report: dict[str, Any]) -> str:
    parts, agreement, errors = [], report["agreement"], report["label errors"]
    if agreement:
        kappas = "; ".join(f"{pair} {_number(value)}" for pair, value in agreement["cohen_kappa"].items())
        parts.append(_fill(
            f"Krippendorff's alpha ({agreement['scale']}) is {_number(agreement['krippendorff_alpha'])}. Cohen's kappa "
            f"(weights: {agreement['weights']}): {kappas}."
        ))  # fmt: skip
    else:
        parts.append("Agreement of raters is unknown: no columns of raters were given.")
    if errors:
        parts.append(_fill(
            f"{len(errors)} labels may be wrong (confident learning on out-of-fold predictions of simple models, which are "
            f"often wrong themselves); the most suspicious are below, all of them in `report.json`."
        ))  # fmt: skip
        rows = [(own["id"], own["label"], own["suggested"]) for own in errors[:CANDIDATES]]
        parts.append(table(("id", "label", "suggested"), rows))
    return "\n\n".join(parts)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _cleaning(report: dict[str, Any]) -> str:
    rows = [(action, reason, count) for action, own in report["cleaning"].items() for reason, count in own.items()]
    return table(("action", "reason", "number"), rows) if rows else "Nothing was dropped, repaired or noted."


def _personal(report: dict[str, Any]) -> str:
    own = report["personal data"]
    found = ", ".join(f"{count} x {kind}" for kind, count in own["removed"].items()) or "nothing was found"
    first = f"Searched and removed or replaced: {found}." if own["searched"] else "Personal data was not searched for."
    return first + " What cannot be detected:\n\n" + "\n".join(f"- {limit}" for limit in own["limits"])


def _biases(report: dict[str, Any]) -> str:
    sentences = [f"Stated by the builder: {report['options']['biases']}."]
    totals = {value: sum(own.values()) for value, own in report["labels"].items()}
    if totals:
        most, least = max(totals, key=lambda v: totals[v]), min(totals, key=lambda v: totals[v])
        share = totals[most] / max(1, sum(totals.values()))
        sentences.append(
            f"The most frequent label, {most}, has {totals[most]} items ({share:.0%}); the rarest, {least}, {totals[least]}."
        )
    for name, own in report["modalities"].items():
        missing = 1 - sum(own[s] for s in SPLITS) / max(1, sum(report["splits"].values()))
        if missing > 0:
            sentences.append(f"{name} is absent in {missing:.1%} of the items.")
    return _fill(" ".join([*sentences, *report["warnings"]]))
