"""Which of nine folders does a stamp belong to, from its picture, its name and a voice describing it?

A stamp is one drawing or photo of the pack; an example (row) is a stamp with one of its speech clips, or without where it has
none. All rows of a stamp, and all stamps of a leak-free group, lie in one split.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence as ListLike
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from mmjax.data.dataset import Column, Dataset, Rows
from mmjax.data.decode import DataError, audio_seconds
from mmjax.data.groups import connected_groups, pairs_sharing_a_key
from mmjax.data.scale import FITTED_ON, standardised
from mmjax.data.splits import grouped_folds, train_validation_test
from mmjax.data.stamps.pack import StampsPack
from mmjax.data.stamps.table import Clip, Table, speech_name
from mmjax.data.text import BPE, Characters, Published, WordPiece, Words
from mmjax.nn.mel import LogMel


def open_source(root: Path | None) -> tuple[Any, str]:
    """The pack through TFDS where that is installed, else from memory, and which of the two; both have the same items."""
    try:
        from mmjax.data.stamps.tfds import tfds_source
    except ImportError:
        return StampsPack(root), "StampsPack (tensorflow-datasets is not installed)"
    return tfds_source(root), "TFDS"


@dataclasses.dataclass(frozen=True)
class Stamps:
    """What the models see of Stamps. Targets: "label", the folder; "language", of the voice, -1 where there is none.

    image_size: pixels a side. mel: the audio front end; seconds: of each clip that are kept. text_language: of the names;
    test_text_language: of those in the test split, None for the same. speech_languages: voices. tokenizer: of the names;
    max_tokens: of each name that are kept.
    folds, fold, split_seed: grouped, stratified k-fold; fold `fold` is the test split and the next one validation, or one part
    of it where `validation_parts` are more than 1, and the others are training.
    root: the pack's folder, None to find it.
    """

    image_size: int = 40
    mel: LogMel = LogMel()
    seconds: float = 2.0
    text_language: str = "en"
    test_text_language: str | None = None
    speech_languages: tuple[str, ...] = ("be", "bg", "ca", "da", "el", "es", "fr", "ro", "ru")
    tokenizer: tyro.conf.AvoidSubcommands[BPE | Words | WordPiece | Characters | Published] = BPE()
    max_tokens: int = 12
    folds: int = 5
    fold: int = 0
    split_seed: int = 0
    validation_parts: int = 1
    root: Path | None = None

    def __post_init__(self):
        for name in ("image_size", "seconds", "max_tokens"):
            if getattr(self, name) <= 0:
                raise DataError(f"Stamps.{name} is {getattr(self, name)}; it must be above 0")
        if self.validation_parts < 1:
            raise DataError(f"Stamps.validation_parts is {self.validation_parts}; it must be at least 1")
        if self.folds < 3 or not 0 <= self.fold < self.folds:
            raise DataError(
                f"Stamps.fold is {self.fold} of {self.folds} folds; there must be 3 or more, for training, validation and "
                "test, and the first is 0"
            )

    @property
    def languages(self) -> tuple[str, ...]:
        """The classes of "language"."""
        return tuple(sorted(set(self.speech_languages)))

    def load(self) -> Dataset:
        """Reads the index, cuts the splits, fits tokeniser and z-scores on the training split. Media are read later."""
        table = self.table()
        clips, dropped = self._clips(table)
        parts = {
            part: self._rows(table, clips, items, one_each=part == "validation")
            for part, items in table.split._asdict().items()
        }
        splits, about = ({part: pair[i] for part, pair in parts.items()} for i in range(2))
        samples = round(self.seconds * self.mel.rate)
        columns = self.columns(table, splits["train"])
        if clips:
            columns["audio"] = _fitted(table.sounds(clips, self.mel, samples), splits["train"].pointer["audio"])
        rows = [" ".join(row) for known in about.values() for row in zip(known["id"], known["language"])]
        return Dataset(
            columns=columns,
            splits=splits,
            classes={"label": table.labels, "language": self.languages},
            sizes=self.sizes(table) | {"audio": {"bands": self.mel.bands, "frames": self.mel.frames(samples)}},
            about=about,
            dropped=table.dropped | dropped,
            fingerprint=table.digest(dataclasses.replace(self, root=None), rows),
            media=partial(_media, table, about["test"]),
            source=table.kind,
        )

    def table(self) -> Table:
        """The stamps with their groups, labels, names and splits, for this task and for others that are made of them."""
        source, kind = open_source(self.root)
        index, labels = source.index, source.labels()
        self._check_languages(index)
        dropped = Counter()
        kept = [i for i, record in enumerate(index) if record["folder"] in labels]
        dropped["stamps in folders with fewer than 40"] = len(index) - len(kept)
        label = np.array([labels.index(index[i]["folder"]) for i in kept], np.int32)
        group = self._groups(index, kept)
        split = train_validation_test(grouped_folds(group, label, self.folds, self.split_seed), self.fold)
        if self.validation_parts > 1:
            try:
                part = grouped_folds(group[split.validation], label[split.validation], self.validation_parts, self.split_seed)
            except ValueError as error:
                raise DataError(f"Stamps.validation_parts is {self.validation_parts}, too many: {error}") from error
            train = np.sort(np.concatenate([split.train, split.validation[part > 0]]))
            split = split._replace(train=train, validation=split.validation[part == 0])
        languages = np.full(len(kept), self.text_language, object)
        languages[split.test] = self.test_text_language or self.text_language
        names = [index[i]["texts"].get(language, "") for i, language in zip(kept, languages)]
        tokeniser = self.tokenizer.train(names[item] for item in split.train)
        lengths = np.array([len(tokeniser.numbers(name)) for name in names])
        dropped[f"names cut after {self.max_tokens} tokens"] = int((lengths > self.max_tokens).sum())
        dropped[f"stamps without a name in {' or '.join(sorted(set(languages)))}"] = int((lengths == 0).sum())
        return Table(
            source, kind, kept, [index[i] for i in kept], labels, label, group, names, lengths, split, tokeniser, dict(dropped)
        )

    def columns(self, table: Table, train: Rows) -> dict[str, Column]:
        """Pictures, z-scored over these training rows, and names."""
        image = _fitted(table.images(self.image_size), train.pointer["image"])
        return {"image": image, "text": table.texts(self.max_tokens)}

    def sizes(self, table: Table) -> dict[str, dict[str, int]]:
        """What encoders of pictures and names must know."""
        return {
            "image": {"size": self.image_size, "channels": 4},
            "text": {"vocabulary": table.tokeniser.vocabulary, "length": self.max_tokens},
        }

    def _groups(self, index: ListLike[dict], kept: list[int]) -> np.ndarray:
        """Int32[kept]: the pack's leak-free groups, joined further where names are equal in the language that is used."""
        names = [" ".join(index[i]["texts"].get(self.text_language, "").casefold().split()) for i in kept]
        keys = [[("group", index[i]["group"])] + [("name", name)] * bool(name) for i, name in zip(kept, names)]
        return connected_groups(len(kept), pairs_sharing_a_key(keys)).astype(np.int32)

    def _check_languages(self, index: ListLike[dict]) -> None:
        for field, codes, part in (
            ("text_language", (self.text_language,), "texts"),
            ("test_text_language", (self.test_text_language or self.text_language,), "texts"),
            ("speech_languages", self.speech_languages, "speech"),
        ):
            known = sorted({language for record in index for language in record[part]})
            for code in codes:
                if code not in known:
                    raise DataError(f"Stamps.{field}: unknown language {code!r}; the pack has {', '.join(known)}")

    def _clips(self, table: Table) -> tuple[list[Clip], dict[str, int]]:
        """The clips in these languages, and how many there are of what is left out."""
        spoken = [record["speech"] for record in table.records]
        clips = [
            (item, language) for item, there in enumerate(spoken) for language in self.speech_languages if language in there
        ]
        seconds = [
            audio_seconds(table.source.speech_bytes(table.kept[item], language), speech_name(table.records[item], language))
            for item, language in clips
        ]
        return clips, {
            "clips in other languages": sum(map(len, spoken)) - len(clips),
            f"clips cut after {self.seconds:g} s": sum(length > self.seconds for length in seconds),
        }

    def _rows(self, table: Table, clips: list[Clip], items: np.ndarray, one_each: bool) -> tuple[Rows, dict[str, np.ndarray]]:
        """Rows of these stamps, and what is known about each. A stamp's rows weigh 1 together.

        one_each: a single row a stamp, its language going round over the stamps, where one would like few rows.
        """
        by_stamp: dict[int, list[int]] = {}
        for number, (item, _) in enumerate(clips):
            by_stamp.setdefault(item, []).append(number)
        image, audio = [], []
        for item in items:
            voices = by_stamp.get(int(item), [-1])
            voices = [voices[item % len(voices)]] if one_each else voices
            image += [item] * len(voices)
            audio += voices
        image, audio = np.array(image, np.int32), np.array(audio, np.int32)
        text = np.where(table.lengths[image] > 0, image, -1).astype(np.int32)
        voice = [clips[number][1] if number >= 0 else "" for number in audio]
        language = np.array([self.languages.index(code) if code else -1 for code in voice], np.int32)
        weight = (1 / np.bincount(image, minlength=len(table.kept))[image]).astype(np.float32)
        names = np.array([table.names[item] for item in image])
        about = table.known(image) | {"language": np.array(voice), "text": names}
        targets = {"label": table.label[image], "language": language}
        return Rows({"image": image, "text": text, "audio": audio}, targets, weight), about


def _fitted(column: Column, pointer: np.ndarray) -> Column:
    return standardised(column, pointer, FITTED_ON)


def _media(table: Table, about: dict[str, np.ndarray], row: int) -> dict[str, Any]:
    """{image: PNG, sound: MP3 or None, caption, language, id} of a row."""
    item, language = table.item(about["id"][row]), str(about["language"][row])
    stamp = table.source[table.kept[item]]
    sound = stamp["speech"][language] if language else None
    return {
        "id": stamp["id"], "caption": table.names[item], "language": language, "image": stamp["image"], "sound": sound
    }  # fmt: skip
