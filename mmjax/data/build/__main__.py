"""`python -m mmjax.data.build MANIFEST|FOLDER --out DIR`: files -> an evaluation set with groups, splits, checks and a card."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["main"]

EXAMPLE = """example:
  python -m mmjax.data.build clips/data.csv --out clips-set --label emotion --together speaker \\
      --hold-out speaker=anna,ben --raters r1,r2,r3 --licence CC-BY-4.0 --source "our recordings of 2026"

MANIFEST is a .csv, .tsv, .jsonl or .parquet whose cells name files or hold texts; FOLDER has a folder per class, or a
metadata.csv.
"""


def main(arguments: list[str] | None = None, encoder: Callable[[str], Callable[[Any], Any]] | None = None) -> None:
    """Reads the command line and builds the set. Exits with one line for an error.

    encoder: the name of weights -> a function from an item to its features; None: there is no option --features. Raises
    DataError for unknown weights.
    """
    parser = _parser()
    if encoder is not None:
        parser.prog = "python -m mmjax.build"
        text = "search for near-duplicates by features too; kinds are image, text, such as text=minilm#sentence"
        parser.add_argument("--features", type=_pairs, default={}, metavar="KIND=WEIGHTS,...", help=text)
    given = vars(parser.parse_args(arguments))
    path, out, names, sources = given.pop("path"), given.pop("out"), given.pop("names"), given.pop("features", {})
    from mmjax.data.build.build import build, import_writers
    from mmjax.data.build.feature_match import Features
    from mmjax.data.build.options import Options, default_name
    from mmjax.data.decode import DataError

    try:
        import_writers()
        given["names"] = tuple(line.strip() for line in names.read_text("utf-8").splitlines()) if names else ()
        given["name"] = given["name"] or default_name(path)
        features = {kind: Features(source, encoder(source)) for kind, source in sources.items()} if encoder else {}
        report = _with_progress(lambda track: build(path, out, Options(**given), track, features))
    except (DataError, ImportError, OSError, UnicodeDecodeError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    _print(report, out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mmjax.data.build", description=__doc__, epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("path", type=Path, metavar="MANIFEST|FOLDER", help="a table, or a tree of folders")
    add("--out", type=Path, required=True, metavar="DIR", help="new folder of the set")
    add("--label", metavar="COLUMN", help="the column of classes; items without a label are dropped")
    add("--kinds", type=_pairs, default={}, metavar="COLUMN=KIND,...", help="kinds are image, audio, text (default: inferred)")
    add("--together", type=_names, default=(), metavar="COLUMN,...", help="equal values share a split (default: group, if any)")
    add("--hold-out", type=_held, metavar="COLUMN=VALUE,...", help="values that are the test split, such as speakers")
    add("--folds", type=int, default=5, help="number of folds (default: 5)")
    add("--fold", type=int, default=0, help="the fold that is the test split (default: 0)")
    add("--seed", type=int, default=0, help="of splits and planted duplicates (default: 0)")
    add("--raters", type=_names, default=(), metavar="COLUMN,...", help="columns of ratings, one for each annotator")
    add("--scale", default="nominal", help="of the ratings: nominal, ordinal or interval (default: nominal)")
    add("--region", metavar="CC", help="country of phone numbers without a country code, such as FR")
    add("--names", type=Path, metavar="FILE", help="names of people to replace in texts, one per line")
    add("--keep-personal", dest="personal", action="store_false", help="do not search for personal data")
    add("--copies", type=int, default=200, help="planted duplicates of each kind for the thresholds (default: 200)")
    add("--name", help="name of the set (default: of the manifest or folder)")
    for name in ("description", "source", "licence", "url", "biases"):
        add(f"--{name}", default=argparse.SUPPRESS, metavar="TEXT", help=f"{name} of the set, for its card")
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def _pairs(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in _names(text)]
    if not all(sign for _, sign, _ in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=VALUE, such as photo=image,words=text")
    return {name: kind for name, _, kind in pairs}


def _held(text: str) -> tuple[str, tuple[str, ...]]:
    name, sign, values = text.partition("=")
    if not sign or not _names(values):
        raise argparse.ArgumentTypeError(f"{text!r} must be COLUMN=VALUE, such as speaker=anna,ben")
    return name, _names(values)


def _with_progress(work: Any) -> Any:
    """Runs work(track) with a progress bar per step on stderr."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        def track(items: Sequence, label: str) -> Iterable:
            return bars.track(items, description=label)

        return work(track)


def _print(report: dict[str, Any], out: Path) -> None:
    items, splits = report["items"], report["splits"]
    print(f"{items['kept']:,} of {items['read']:,} items kept; " + ", ".join(f"{name} {n:,}" for name, n in splits.items()))
    for action, reasons in report["cleaning"].items():
        print(f"{action}: " + "; ".join(f"{count:,} {reason}" for reason, count in reasons.items()))
    for name, own in report["duplicates"].items():
        planted = own["planted"]
        recall = ", ".join(f"{kind} {value:.3f}" for kind, value in planted["recall"].items())
        print(f"near-duplicates, {name}: {own['pairs']:,} pairs; planted copies: precision {planted['precision']:.3f} to "
              f"{planted['precision_at_most']:.3f}, recall {recall}")  # fmt: skip
    print(f"{report['groups']['groups']:,} groups, the largest of {report['groups']['largest']:,}; no group is in two splits")
    for name, own in report["shortcuts"].items():
        print(f"{name} alone: accuracy {own['accuracy']:.3f}, majority {own['majority']:.3f}")
    if report["agreement"]:
        print(f"Krippendorff's alpha: {report['agreement']['krippendorff_alpha']}")
    for sentence in report["warnings"]:
        print(f"warning: {sentence}")
    print(f"the set and its card are in {out}")


if __name__ == "__main__":
    main()
