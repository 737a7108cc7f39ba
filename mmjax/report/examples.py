"""Test examples as the page shows them: the media embedded, and what the best cell said with each modality."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.runs.read import Run
from mmjax.runs.schema import RunError, full_subset

MEDIA = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif",
    ".mp3": "audio/mpeg", ".wav": "audio/wav", ".ogg": "audio/ogg", ".opus": "audio/ogg", ".flac": "audio/flac",
}  # fmt: skip
SHOWN_AS = {"image": "image", "audio": "sound", "text": "caption"}  # modality -> the key of an example that holds it


@dataclass(frozen=True)
class Opinion:
    """What the cell said of one example with one subset of the modalities."""

    subset: str
    said: str | None  # None: the example lacks the modality
    probability: float
    of_true: float
    right: bool


@dataclass(frozen=True)
class Card:
    """One example: what went in, the truth, and what was said, all modalities together first."""

    id: str
    label: str
    caption: str | None
    language: str | None
    image: str | None  # data URIs
    sound: str | None
    opinions: tuple[Opinion, ...]


def cards(run: Run, cell: str) -> list[Card]:
    """A card for each example of the run; the probabilities are the cell's, averaged over its seeds."""
    probabilities = run.probabilities(cell)
    spec, classes, rows = run.results["cells"][cell], run.results["task"]["classes"], len(run.test()["label"])
    said = probabilities[full_subset(spec)]
    if len(said) != rows:
        file = run.folder / "cells" / cell / "predictions.npz"
        raise RunError(f"{file}: key 'logits' has {len(said)} rows, but test.npz has {rows}")
    subsets = list(dict.fromkeys([full_subset(spec), *sorted(spec["modalities"])]))
    return [
        Card(
            example["id"], example["label"], example["caption"], example["language"],
            _data_uri(example["image"]), _data_uri(example["sound"]),
            tuple(_opinion(example, subset, probabilities[subset][example["row"]], classes) for subset in subsets),
        )
        for example in run.examples()
    ]  # fmt: skip


def _opinion(example: Mapping[str, Any], subset: str, probability: np.ndarray, classes: list[str]) -> Opinion:
    # a model that sees nothing still says something (its prior); to print that as an opinion would mislead
    if not any(example.get(SHOWN_AS.get(modality), "shown nowhere") for modality in subset.split("+")):
        return Opinion(subset, None, 0.0, 0.0, False)
    k, true = int(probability.argmax()), classes.index(example["label"])
    return Opinion(subset, classes[k], float(probability[k]), float(probability[true]), k == true)


def _data_uri(file: Path | None) -> str | None:
    if file is None:
        return None
    if file.suffix.lower() not in MEDIA:
        raise RunError(f"{file}: a page cannot show {file.suffix!r}; known are {', '.join(MEDIA)}")
    return f"data:{MEDIA[file.suffix.lower()]};base64,{base64.b64encode(file.read_bytes()).decode()}"
