"""`python -m mmjax.data stamps`, or a table or folder of your own: describes a data set."""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

SETS = ("stamps", "pairs", "mosi", "emoji", "exercises", "openclipart", "fillets", "easy_vqa", "wesnoth")
NAMES = (*SETS, "aeon:NAME", "the path of a table or folder")


def main(arguments: list[str] | None = None) -> None:
    """Reads the command line and prints the description. Exits with one line for an error."""
    description = "Describe a data set: splits, modalities, classes, and what is dropped."
    parser = argparse.ArgumentParser(prog="python -m mmjax.data", description=description)
    parser.add_argument("name", help=f"one of {', '.join(NAMES)}, such as aeon:JapaneseVowels")
    parser.add_argument("--root", type=Path, help="its folder, if it is not where the data set looks for it")
    given = parser.parse_args(arguments)
    from mmjax.data.decode import DataError

    try:
        describe(_data(given.name, given.root).load())
    except (DataError, ImportError) as error:
        sys.exit(f"error: {error}")


def _data(name: str, root: Path | None) -> Any:
    """The value with `load()`. Raises DataError for an unknown name."""
    from mmjax.data.decode import DataError
    from mmjax.data.easy_vqa.dataset import EasyVQA
    from mmjax.data.emoji.dataset import EmojiSentiment
    from mmjax.data.exercises.dataset import Exercises
    from mmjax.data.fillets.dataset import Fillets
    from mmjax.data.mosi.dataset import Mosi
    from mmjax.data.openclipart.dataset import Openclipart
    from mmjax.data.series import AeonSeries
    from mmjax.data.stamps.dataset import Stamps
    from mmjax.data.stamps.pairs import StampsPairs
    from mmjax.data.wesnoth.dataset import Wesnoth

    match name.split(":"):
        case ["stamps"]:
            return Stamps(root=root)
        case ["pairs"]:
            return StampsPairs(Stamps(root=root))
        case ["mosi"]:
            return Mosi(root=root)
        case ["emoji"]:
            return EmojiSentiment(root=root)
        case ["exercises"]:
            return Exercises(root=root)
        case ["openclipart"]:
            return Openclipart(root=root)
        case ["fillets"]:
            return Fillets(root=root)
        case ["easy_vqa"]:
            return EasyVQA(root=root)
        case ["wesnoth"]:
            return Wesnoth(root=root)
        case ["aeon", series]:
            return AeonSeries(series, root=root)
    if Path(name).exists():
        from mmjax.data.custom.manifest import from_manifest

        return from_manifest(name, root=root)
    raise DataError(f"there is no data set {name!r}; there are {', '.join(NAMES)}")


def describe(dataset: Any) -> None:
    """Prints the splits, modalities, targets and dropped examples of a `Dataset`."""
    print(f"source: {dataset.source}; fingerprint {dataset.fingerprint[:16]}")
    for split, rows in dataset.splits.items():
        metadata = dataset.metadata[split]
        examples, groups = (len(set(np.asarray(metadata[name]).tolist())) for name in ("id", "group"))
        present = ", ".join(f"{name} {np.mean(np.asarray(p) >= 0):.0%}" for name, p in rows.pointer.items())
        print(f"{split}: {len(rows):,} rows, {examples:,} examples in {groups:,} groups; present: {present}")
    for name, column in dataset.columns.items():
        sizes = ", ".join(f"{key} {value}" for key, value in dataset.sizes.get(name, {}).items())
        print(f"modality {name}: {column.count:,} items{f'; {sizes}' if sizes else ''}")
    for name, target in dataset.splits["train"].targets.items():
        classes = dataset.classes.get(name)
        print(f"target {name}: {np.asarray(target).dtype}" + (f", {len(classes)}: {', '.join(classes)}" if classes else ""))
    print("metadata: " + ", ".join(dataset.metadata["test"]))
    print("dropped: " + ("; ".join(f"{count} {why}" for why, count in dataset.dropped.items()) or "nothing"))


if __name__ == "__main__":
    main()
