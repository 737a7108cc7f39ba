"""Which of nine folders does a stamp belong to, from its picture, its name and a voice describing it?

A stamp is one drawing or photo of the pack; an example (row) is a stamp with one of its speech clips, or without where it has
none. All rows of a stamp, and all stamps of a leak-free group, lie in one split.
"""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Sequence as ListLike
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.data.audio import LogMel
from mmjax.data.dataset import Column, Dataset, Rows, stack
from mmjax.data.decode import DataError, audio_seconds, decode_audio, decode_image
from mmjax.data.groups import connected_groups, pairs_sharing_a_key
from mmjax.data.image import on_white, resize
from mmjax.data.splits import grouped_folds, train_validation_test
from mmjax.data.stamps import StampsPack
from mmjax.data.text import encode, train_tokenizer
from mmjax.types import Sequence

FITTED_ON = 400  # training items from which a column's mean and deviation are taken


def open_source(root: Path | None) -> tuple[Any, str]:
    """The pack through TFDS where that is installed, else from memory, and which of the two; both have the same items."""
    try:
        from mmjax.data.stamps_tfds import tfds_source
    except ImportError:
        return StampsPack(root), "StampsPack (tensorflow-datasets is not installed)"
    return tfds_source(root), "TFDS"


@dataclasses.dataclass(frozen=True)
class Stamps:
    """What the models see of Stamps.

    image_size: pixels a side. mel: the audio front end; seconds: of each clip that are kept. text_language: of the names.
    speech_languages: voices. vocabulary: most tokens; max_tokens: of each name that are kept.
    folds, fold, split_seed: grouped, stratified k-fold; fold `fold` is the test split and the next one validation.
    root: the pack's folder, None to find it.
    """

    image_size: int = 40
    mel: LogMel = LogMel()
    seconds: float = 2.0
    text_language: str = "en"
    speech_languages: tuple[str, ...] = ("be", "bg", "ca", "da", "el", "es", "fr", "ro", "ru")
    vocabulary: int = 1000
    max_tokens: int = 12
    folds: int = 5
    fold: int = 0
    split_seed: int = 0
    root: Path | None = None

    def __post_init__(self):
        for name in ("image_size", "seconds", "vocabulary", "max_tokens"):
            if getattr(self, name) <= 0:
                raise DataError(f"Stamps.{name} is {getattr(self, name)}; it must be above 0")
        if self.folds < 3 or not 0 <= self.fold < self.folds:
            raise DataError(
                f"Stamps.fold is {self.fold} of {self.folds} folds; there must be 3 or more, for training, validation and "
                "test, and the first is 0"
            )

    def load(self) -> Dataset:
        """Reads the index, cuts the splits, fits tokeniser and z-scores on the training split. Media are read later."""
        source, kind = open_source(self.root)
        index = source.index
        self._check_languages(index)
        labels = source.labels()
        dropped = Counter()
        kept = [i for i, record in enumerate(index) if record["folder"] in labels]
        dropped["stamps in folders with fewer than 40"] = len(index) - len(kept)
        label = np.array([labels.index(index[i]["folder"]) for i in kept], np.int32)
        group = self._groups(index, kept)
        split = train_validation_test(grouped_folds(group, label, self.folds, self.split_seed), self.fold)

        names = {i: index[i]["texts"].get(self.text_language, "") for i in kept}
        tokenizer = train_tokenizer((names[kept[at]] for at in split.train), self.vocabulary)
        lengths = {i: len(tokenizer.encode(name).ids) for i, name in names.items()}
        dropped[f"names cut after {self.max_tokens} tokens"] = sum(n > self.max_tokens for n in lengths.values())
        dropped[f"stamps without a name in {self.text_language}"] = sum(n == 0 for n in lengths.values())
        clips = [(i, language) for i in kept for language in self.speech_languages if language in index[i]["speech"]]
        dropped["clips in other languages"] = sum(len(index[i]["speech"]) for i in kept) - len(clips)

        clip_seconds = [
            audio_seconds(source.speech_bytes(i, language), _speech_name(index[i], language)) for i, language in clips
        ]
        dropped[f"clips cut after {self.seconds:g} s"] = sum(seconds > self.seconds for seconds in clip_seconds)

        table = _Table(source, kept, names, clips, label, group, lengths)
        splits = {part: table.rows(getattr(split, part), one_each=part == "validation") for part in split._fields}
        columns = self._columns(table, tokenizer, splits["train"][0])
        return Dataset(
            columns=columns,
            splits={part: rows for part, (rows, _) in splits.items()},
            classes={"label": labels},
            sizes={
                "image": {"size": self.image_size, "channels": 4},
                "text": {"vocabulary": tokenizer.get_vocab_size(), "length": self.max_tokens},
                "audio": {"bands": self.mel.bands, "frames": self.mel.frames(round(self.seconds * self.mel.rate))},
            },
            about={part: about for part, (_, about) in splits.items()},
            dropped=dict(dropped),
            fingerprint=self._fingerprint(source, tokenizer, splits),
            media=partial(table.media, splits["test"][1]),
            source=kind,
        )

    def _groups(self, index: ListLike[dict], kept: list[int]) -> np.ndarray:
        """Int32[kept]: the pack's leak-free groups, joined further where names are equal in the language that is used."""
        names = [" ".join(index[i]["texts"].get(self.text_language, "").casefold().split()) for i in kept]
        keys = [[("group", index[i]["group"])] + [("name", name)] * bool(name) for i, name in zip(kept, names)]
        return connected_groups(len(kept), pairs_sharing_a_key(keys)).astype(np.int32)

    def _check_languages(self, index: ListLike[dict]) -> None:
        for field, codes, part in (
            ("text_language", (self.text_language,), "texts"),
            ("speech_languages", self.speech_languages, "speech"),
        ):
            known = sorted({language for record in index for language in record[part]})
            for code in codes:
                if code not in known:
                    raise DataError(f"Stamps.{field}: unknown language {code!r}; the pack has {', '.join(known)}")

    def _columns(self, table: "_Table", tokenizer: Any, train: Rows) -> dict[str, Column]:
        samples = round(self.seconds * self.mel.rate)
        image = Column(len(table.kept), partial(_read_image, table, self.image_size), lambda x: x.astype(jnp.float32) / 255)
        text = Column(len(table.kept), partial(_read_text, table, tokenizer, self.max_tokens), lambda x: x)
        audio = Column(len(table.clips), partial(_read_audio, table, self.mel.rate, samples), partial(_log_mel, self.mel))
        fitted = {"image": image, "audio": audio}
        fitted = {name: standardised(column, train.pointer[name]) for name, column in fitted.items() if column.count}
        return {**fitted, "text": text}

    def _fingerprint(self, source: Any, tokenizer: Any, splits: dict) -> str:
        """sha256 over the pack, every field that changes an example, the fitted tokeniser, and the rows of each split."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "root"}
        digest = hashlib.sha256(json.dumps([source.fingerprint, fields], default=dataclasses.asdict).encode())
        digest.update(json.dumps(tokenizer.get_vocab(), sort_keys=True).encode())
        for _, about in splits.values():
            digest.update("\n".join(map(" ".join, zip(about["id"], about["language"]))).encode())
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class _Table:
    """The stamps that are used, and how rows and items are had from them. `kept` and `clips` number the columns' items."""

    source: Any
    kept: list[int]
    names: dict[int, str]
    clips: list[tuple[int, str]]
    label: np.ndarray
    group: np.ndarray
    lengths: dict[int, int]

    def rows(self, which: np.ndarray, one_each: bool) -> tuple[Rows, dict[str, np.ndarray]]:
        """Rows of these stamps, and what is known about each. A stamp's rows weigh 1 together.

        one_each: a single row a stamp, its language going round over the stamps, where one would like few rows.
        """
        by_stamp: dict[int, list[int]] = {}
        for number, (i, _) in enumerate(self.clips):
            by_stamp.setdefault(i, []).append(number)
        image, audio = [], []
        for at in which:
            clips = by_stamp.get(self.kept[at], [-1])
            clips = [clips[at % len(clips)]] if one_each else clips
            image += [at] * len(clips)
            audio += clips
        image, audio = np.array(image, np.int32), np.array(audio, np.int32)
        text = np.where([self.lengths[self.kept[at]] > 0 for at in image], image, -1).astype(np.int32)
        weight = (1 / np.bincount(image, minlength=len(self.kept))[image]).astype(np.float32)
        about = {
            "id": np.array([self.source.index[self.kept[at]]["id"] for at in image]),
            "subfolder": np.array([self.source.index[self.kept[at]]["subfolder"] for at in image]),
            "group": self.group[image],
            "language": np.array([self.clips[c][1] if c >= 0 else "" for c in audio]),
            "text": np.array([self.names[self.kept[at]] for at in image]),
        }
        return Rows({"image": image, "text": text, "audio": audio}, {"label": self.label[image]}, weight), about

    def media(self, about: dict[str, np.ndarray], row: int) -> dict[str, Any]:
        """{image: PNG, sound: MP3 or None, caption, language, id} of a row."""
        number = next(i for i in self.kept if self.source.index[i]["id"] == about["id"][row])
        item, language = self.source[number], str(about["language"][row])
        sound = item["speech"][language] if language else None
        return {"id": item["id"], "caption": self.names[number], "language": language, "image": item["image"], "sound": sound}


def _read_image(table: _Table, size: int, number: int) -> np.ndarray:
    i = table.kept[number]
    return resize(on_white(decode_image(table.source.image_bytes(i), f"image of {table.source.index[i]['id']}")), size)


def _read_text(table: _Table, tokenizer: Any, most: int, number: int) -> Sequence:
    return encode(tokenizer, table.names[table.kept[number]], most)


def _speech_name(record: dict[str, Any], language: str) -> str:
    return f"speech {language} of {record['id']}"


def _read_audio(table: _Table, rate: int, samples: int, number: int) -> Sequence:
    i, language = table.clips[number]
    name = _speech_name(table.source.index[i], language)
    wave = decode_audio(table.source.speech_bytes(i, language), name, rate)[:samples]
    x = np.zeros(samples, np.int16)
    x[: len(wave)] = np.round(wave * 32767)
    return Sequence(x, np.int32(len(wave)))


def _log_mel(mel: LogMel, wave: Sequence) -> Sequence:
    return mel.sequence(Sequence(wave.x.astype(jnp.float32) / 32767, wave.length))


def standardised(column: Column, pointer: np.ndarray) -> Column:
    """The column with z-scores, (x - mean) / deviation for each value of the last axis, fitted on training items alone.

    pointer: the training rows' items. At most FITTED_ON of them, evenly spread, are read; padding does not count.
    """
    used = np.unique(pointer[pointer >= 0])
    if not len(used):
        raise DataError("the training split has no item of a modality that other splits have; choose more languages")
    used = used[np.linspace(0, len(used) - 1, min(FITTED_ON, len(used))).round().astype(int)]
    seen = jax.jit(column.finish)(stack([column.read(int(number)) for number in used]))
    if isinstance(seen, Sequence):
        values = np.asarray(seen.x)[np.asarray(seen.mask)]
    else:
        values = np.asarray(seen).reshape(-1, seen.shape[-1])
    mean, deviation = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-3)

    def scale(x):
        lead = (None,) * (x.ndim - 1)
        return (x - mean[lead]) / deviation[lead]

    def finish(raw):
        x = column.finish(raw)
        return Sequence(scale(x.x), x.length) if isinstance(x, Sequence) else scale(x)

    return Column(column.count, column.read, finish)
