"""The rows of the Stamps task: one row per speech clip of a stamp, with its targets."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mmjax.data.dataset import Rows
from mmjax.data.decode import audio_seconds
from mmjax.data.stamps.table import Clip, StampsTable, speech_name

__all__ = ["MIN_TAGGED", "clip_seconds", "clips_of", "stamp_rows", "tag_names", "tags_of"]

MIN_TAGGED = 20  # a folder name is a tag if at least this number of stamps have it on their path


def clips_of(table: StampsTable, languages: Iterable[str]) -> list[Clip]:
    """The clips of all items in these languages, sorted by item and then in the order of the languages."""
    spoken = [record["speech"] for record in table.records]
    return [(item, language) for item, speech in enumerate(spoken) for language in languages if language in speech]


def clip_seconds(table: StampsTable, clips: Sequence[Clip]) -> np.ndarray:
    """Float64[clips]: the duration of each clip in seconds, before truncation. Raises DataError for a damaged clip."""
    seconds = [
        audio_seconds(table.source.speech_bytes(table.kept[item], language), speech_name(table.records[item], language))
        for item, language in clips
    ]
    return np.array(seconds, np.float64)


def tag_names(records: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The labels of "tags", sorted: folder names on the paths of at least 20 stamps, at any depth."""
    counts = Counter(tag for record in records for tag in _folders(record))
    return tuple(sorted(tag for tag, count in counts.items() if count >= MIN_TAGGED))


def tags_of(records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> np.ndarray:
    """Int32[records names]: 1 if the record has the tag, else 0."""
    return np.array([[name in folders for name in names] for folders in map(_folders, records)], np.int32)


def _folders(record: Mapping[str, Any]) -> set[str]:
    return set(record["id"].split("/")[:-1])


def stamp_rows(
    table: StampsTable,
    clips: Sequence[Clip],
    seconds: np.ndarray,
    items: np.ndarray,
    languages: tuple[str, ...],
    one_each: bool,
) -> tuple[Rows, dict[str, np.ndarray]]:
    """The rows of these items with their targets, and their metadata. The rows of one stamp have the total weight 1.

    seconds: Float64[clips]. items: Int[m]. languages: the classes of "language". one_each: one row per stamp, with clips in
    alternating languages; for the validation split, which is evaluated often.
    """
    by_item: dict[int, list[int]] = {}
    for number, (item, _) in enumerate(clips):
        by_item.setdefault(item, []).append(number)
    image, audio = [], []
    for item in items:
        numbers = by_item.get(int(item), [-1])
        numbers = [numbers[item % len(numbers)]] if one_each else numbers
        image += [item] * len(numbers)
        audio += numbers
    image, audio = np.array(image, np.int32), np.array(audio, np.int32)
    text = np.where(table.lengths[image] > 0, image, -1).astype(np.int32)
    language = [clips[number][1] if number >= 0 else "" for number in audio]
    targets = {
        "label": table.label[image],
        "language": np.array([languages.index(code) if code else -1 for code in language], np.int32),
        "tags": tags_of(table.records, tag_names(table.records))[image],
        "duration": np.append(seconds, np.nan)[audio].astype(np.float32),  # number -1 (no clip) takes the NaN
    }
    weight = (1 / np.bincount(image, minlength=len(table.kept))[image]).astype(np.float32)
    names = np.array([table.names[item] for item in image])
    transcript = np.array([table.records[item]["texts"].get(code, "") for item, code in zip(image, language)])
    metadata = table.metadata(image) | {"language": np.array(language), "text": names, "transcript": transcript}
    return Rows({"image": image, "text": text, "audio": audio}, targets, weight), metadata
