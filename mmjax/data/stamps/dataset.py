"""The Stamps task: which of nine folders a stamp belongs to, from its image, its name and a spoken description.

A stamp is one drawing or photo of the pack. An example (row) is a stamp with one of its speech clips, or without audio if it
has no clip. All rows of a stamp, and all stamps of a leak-free group, are in one split.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.data.dataset import Column, Dataset, Rows
from mmjax.data.decode import DataError
from mmjax.data.groups import connected_groups, pairs_sharing_a_key
from mmjax.data.scale import MAX_ITEMS, standardized
from mmjax.data.splits import grouped_folds, train_validation_test
from mmjax.data.stamps.pack import StampsPack
from mmjax.data.stamps.rows import clip_seconds, clips_of, stamp_rows, tag_names
from mmjax.data.stamps.table import StampsTable
from mmjax.data.text import BPE, TokenizerTrainer
from mmjax.nn.mel import LogMel

__all__ = ["LIMITS", "Stamps", "open_source"]

LIMITS = {"image_size": 1024, "seconds": 60.0, "max_tokens": 1024}  # the pack's largest are 128 px, 20 s and 54 words


def open_source(root: Path | None) -> tuple[Any, str]:
    """(the pack, the name of its reader for reports): through TFDS if it is installed, else from its archives.

    The items are the same. The archives are verified before they are read. Raises DataError for a missing or damaged file.
    """
    try:
        from mmjax.data.stamps.tfds import tfds_source
    except ImportError:
        pack = StampsPack(root)
        pack.verify()
        return pack, "StampsPack (tensorflow-datasets is not installed)"
    return tfds_source(root), "TFDS"


@dataclasses.dataclass(frozen=True)
class Stamps:
    """The Stamps task: modalities "image", "text" and "audio".

    Targets: "label", the folder, Int[n]; "language" of the clip, Int[n], -1 without one; "tags", Int[n l], whether each of the
    folders on the stamp's path that at least 20 stamps share, such as "cartoon" or "mammals", applies (multi-label);
    "duration" of the whole clip, Float[n], seconds, NaN without one (regression; from the audio it is trivial if clips are not
    truncated).

    Metadata: "transcript" is the name in the language of the clip, which the clip reads, "" without a clip or a name.

    image_size: pixels per side. mel: the audio front end. seconds: longer clips are truncated. text_language: the language of
    the names; test_text_language: the language of the names in the test split, None for `text_language`. speech_languages: the
    languages of the clips. tokenizer: trained on the names of the training split. max_tokens: longer names are truncated.
    folds, fold, split_seed: grouped, stratified k-fold; fold `fold` is the test split, the next one validation, the rest
    training. validation_parts: divides the validation fold into this number of parts; the first remains the validation split,
    and the others are added to the training split.
    root: the folder of the pack; None: search for it as `find_pack` does.
    Raises DataError, naming the field, for an invalid value; `load` does so for languages that the pack does not have.
    """

    image_size: int = 40
    mel: LogMel = LogMel()
    seconds: float = 2.0
    text_language: str = "en"
    test_text_language: str | None = None
    speech_languages: tuple[str, ...] = ("be", "bg", "ca", "da", "el", "es", "fr", "ro", "ru")
    tokenizer: TokenizerTrainer = BPE()
    max_tokens: int = 12
    folds: int = 5
    fold: int = 0
    split_seed: int = 0
    validation_parts: int = 1
    root: Path | None = None

    def __post_init__(self):
        for name, limit in LIMITS.items():
            if not 0 < getattr(self, name) <= limit:
                raise DataError(f"Stamps.{name} is {getattr(self, name)}; it must be above 0 and at most {limit:g}")
        if self.validation_parts < 1:
            raise DataError(f"Stamps.validation_parts is {self.validation_parts}; it must be at least 1")
        if self.folds < 3 or not 0 <= self.fold < self.folds:
            raise DataError(
                f"Stamps.fold is {self.fold} of {self.folds} folds; folds must be at least 3 (training, validation and test), "
                "and fold at least 0 and below folds"
            )
        repeated = [code for code, count in Counter(self.speech_languages).items() if count > 1]
        if repeated:
            raise DataError(f"Stamps.speech_languages has {repeated[0]!r} twice; each language may occur once")

    def at_fold(self, fold: int) -> "Stamps":
        """The same data with this test fold. Ids and groups do not depend on it."""
        return dataclasses.replace(self, fold=fold)

    @property
    def languages(self) -> tuple[str, ...]:
        """The classes of the target "language"."""
        return tuple(sorted(self.speech_languages))

    def load(self) -> Dataset:
        """Reads the index, makes the splits, and fits tokenizer and z-scores on the training split; reads most media later."""
        table = self.table()
        clips = clips_of(table, self.speech_languages)
        seconds = clip_seconds(table, clips)
        splits, metadata = {}, {}
        for split, items in table.splits.items():
            one_each = split == "validation"
            splits[split], metadata[split] = stamp_rows(table, clips, seconds, items, self.languages, one_each)
        samples = round(self.seconds * self.mel.rate)
        columns = self.columns(table, splits["train"])
        if clips:
            sounds = table.sounds(clips, self.mel, samples)
            columns["audio"] = standardized(sounds, splits["train"].pointer["audio"], MAX_ITEMS)
        splits = {split: rows.replace(pointer={name: rows.pointer[name] for name in columns}) for split, rows in splits.items()}
        rows = [" ".join(row) for columns_ in metadata.values() for row in zip(columns_["id"], columns_["language"])]
        return Dataset(
            columns=columns,
            splits=splits,
            metadata=metadata,
            fingerprint=table.digest(dataclasses.replace(self, root=None), rows),
            sizes=self.sizes(table) | {"audio": {"bands": self.mel.bands, "frames": self.mel.frames(samples)}},
            classes={"label": table.labels, "language": self.languages, "tags": tag_names(table.records)},
            dropped={
                **table.dropped,
                "clips in other languages": sum(len(record["speech"]) for record in table.records) - len(clips),
                f"clips truncated to {self.seconds:g} s": int((seconds > self.seconds).sum()),
            },
            media=partial(_media, table, metadata["test"]),
            source=table.reader,
        )

    def table(self) -> StampsTable:
        """The stamps with their groups, labels, names and splits, also for other tasks on the pack."""
        source, reader = open_source(self.root)
        index, labels = source.index, source.labels()
        self._check_languages(index)
        kept = [i for i, record in enumerate(index) if record["folder"] in labels]
        label = np.array([labels.index(index[i]["folder"]) for i in kept], np.int32)
        group = self._groups(index, kept)  # before the splits: a group has the same number in every fold
        splits = self._splits(group, label)
        languages = np.full(len(kept), self.text_language, object)
        languages[splits["test"]] = self.test_text_language or self.text_language
        names = [index[i]["texts"].get(language, "") for i, language in zip(kept, languages)]
        tokenizer = self.tokenizer.train(names[item] for item in splits["train"])
        lengths = np.array([len(tokenizer.ids(name)) for name in names])
        return StampsTable(
            source=source,
            reader=reader,
            kept=kept,
            records=[index[i] for i in kept],
            labels=labels,
            label=label,
            group=group,
            names=names,
            lengths=lengths,
            splits=splits,
            tokenizer=tokenizer,
            dropped={
                "stamps in folders with fewer than 40": len(index) - len(kept),
                f"names truncated to {self.max_tokens} tokens": int((lengths > self.max_tokens).sum()),
                f"stamps without a name in {' or '.join(sorted(set(languages)))}": int((lengths == 0).sum()),
            },
        )

    def columns(self, table: StampsTable, train: Rows) -> dict[str, Column]:
        """Images, z-scored over these training rows, and names."""
        image = standardized(table.images(self.image_size), train.pointer["image"], MAX_ITEMS)
        return {"image": image, "text": table.texts(self.max_tokens)}

    def sizes(self, table: StampsTable) -> dict[str, dict[str, int]]:
        """`Dataset.sizes` of images and names."""
        return {
            "image": {"size": self.image_size, "channels": 4},
            "text": {"vocabulary": table.tokenizer.vocabulary, "length": self.max_tokens},
        }

    def _splits(self, group: np.ndarray, label: np.ndarray) -> Mapping[str, np.ndarray]:
        splits = train_validation_test(grouped_folds(group, label, self.folds, self.split_seed), self.fold)
        if self.validation_parts == 1:
            return splits
        validation = splits["validation"]
        try:
            part = grouped_folds(group[validation], label[validation], self.validation_parts, self.split_seed)
        except DataError as error:
            raise DataError(f"Stamps.validation_parts is {self.validation_parts}, too many: {error}") from error
        train = np.sort(np.concatenate([splits["train"], validation[part > 0]]))
        return {**splits, "train": train, "validation": validation[part == 0]}

    def _groups(self, index: Sequence[dict], kept: list[int]) -> np.ndarray:
        """Int32[kept]: the pack's leak-free groups, joined if stamps have equal names in `text_language`."""
        names = [" ".join(index[i]["texts"].get(self.text_language, "").casefold().split()) for i in kept]
        keys = [[("group", index[i]["group"])] + [("name", name)] * bool(name) for i, name in zip(kept, names)]
        return connected_groups(len(kept), pairs_sharing_a_key(keys)).astype(np.int32)

    def _check_languages(self, index: Sequence[dict]) -> None:
        for field, codes, medium in (
            ("text_language", (self.text_language,), "texts"),
            ("test_text_language", (self.test_text_language or self.text_language,), "texts"),
            ("speech_languages", self.speech_languages, "speech"),
        ):
            known = sorted({language for record in index for language in record[medium]})
            for code in codes:
                if code not in known:
                    raise DataError(f"Stamps.{field}: unknown language {code!r}; the pack has {', '.join(known)}")


def _media(table: StampsTable, metadata: Mapping[str, np.ndarray], row: int) -> dict[str, Any]:
    """{id, caption, language, image: PNG, sound: MP3 or None} of a test row."""
    item, language = table.item(metadata["id"][row]), str(metadata["language"][row])
    stamp = table.source[table.kept[item]]
    sound = stamp["speech"][language] if language else None
    return {
        "id": stamp["id"], "caption": table.names[item], "language": language, "image": stamp["image"], "sound": sound
    }  # fmt: skip
