"""The stamps that a task uses, split without leaks, and how their pictures, names and voices are read."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmjax.data.dataset import Column
from mmjax.data.decode import decode_audio, decode_image
from mmjax.data.image import on_white, resize
from mmjax.data.splits import Split
from mmjax.data.text import PublishedTokeniser, Tokeniser
from mmjax.nn.mel import LogMel
from mmjax.types import Padded

Clip = tuple[int, str]  # an item of the table, and the language of a voice that describes it


@dataclasses.dataclass(frozen=True)
class Table:
    """Item k is the stamp number kept[k] of the source; the columns of pictures and names are numbered so.

    kind: what the source is read through. records: what its index has of each item. labels: classes; label, group:
    Int[items], of each. names: "" where there is none; lengths: their numbers of tokens. split: items of each part.
    tokeniser: trained on the names of split.train. dropped: {why: count}.
    """

    source: Any
    kind: str
    kept: list[int]
    records: list[dict[str, Any]]
    labels: tuple[str, ...]
    label: np.ndarray
    group: np.ndarray
    names: list[str]
    lengths: np.ndarray
    split: Split
    tokeniser: Tokeniser | PublishedTokeniser
    dropped: dict[str, int]

    def item(self, name: str) -> int:
        """The item of that id."""
        return next(item for item, record in enumerate(self.records) if record["id"] == name)

    def known(self, items: np.ndarray) -> dict[str, np.ndarray]:
        """{id, subfolder, group} of these items, for `Dataset.about`."""
        facts = {key: np.array([self.records[item][key] for item in items]) for key in ("id", "subfolder")}
        return facts | {"group": self.group[items]}

    def images(self, size: int) -> Column:
        """Pictures [size size 4] in [0, 1], drawn over white, alpha the fourth channel."""
        ids = [record["id"] for record in self.records]
        raw = partial(_raw_image, self), self._identity("image", ids)
        return Column(len(self.kept), partial(_read_image, self, size), lambda x: x.astype(jnp.float32) / 255, *raw)

    def texts(self, most: int) -> Column:
        """Names as sequences of at most `most` tokens."""
        raw = self.names.__getitem__, self._identity("text", self.names)
        return Column(len(self.kept), partial(_read_text, self, most), lambda x: x, *raw)

    def sounds(self, clips: list[Clip], mel: LogMel, samples: int) -> Column:
        """The first `samples` of each clip as sequences of log-mel frames."""
        ids = [f"{self.records[item]['id']} {language}" for item, language in clips]
        raw = partial(_raw_audio, self, clips), self._identity("audio", ids)
        return Column(len(clips), partial(_read_audio, self, clips, mel.rate, samples), partial(_log_mel, mel), *raw)

    def _identity(self, kind: str, items: Iterable[str]) -> str:
        """Of a column of the pack's own pictures, names or voices."""
        return hashlib.sha256(json.dumps([self.source.fingerprint, kind, *items]).encode()).hexdigest()

    def digest(self, choices: Any, rows: Iterable[str]) -> str:
        """sha256 over the pack, the choices (a value whose repr tells all), the trained tokeniser, and a line for each row."""
        digest = hashlib.sha256(f"{self.source.fingerprint} {choices!r}\n{self.tokeniser.library.to_str()}\n".encode())
        digest.update("\n".join(rows).encode())
        return digest.hexdigest()


def speech_name(record: dict[str, Any], language: str) -> str:
    """What errors call a clip."""
    return f"speech {language} of {record['id']}"


RATE = 16_000  # Hz, of the pack's clips


def _raw_image(table: Table, item: int) -> np.ndarray:
    return decode_image(table.source.image_bytes(table.kept[item]), f"image of {table.records[item]['id']}")


def _raw_audio(table: Table, clips: list[Clip], number: int) -> tuple[np.ndarray, int]:
    return _wave(table, clips[number], RATE), RATE


def _wave(table: Table, clip: Clip, rate: int) -> np.ndarray:
    item, language = clip
    data = table.source.speech_bytes(table.kept[item], language)
    return decode_audio(data, speech_name(table.records[item], language), rate)


def _read_image(table: Table, size: int, item: int) -> np.ndarray:
    return resize(on_white(_raw_image(table, item)), size)


def _read_text(table: Table, most: int, item: int) -> Padded:
    return table.tokeniser.encode(table.names[item], most)


def _read_audio(table: Table, clips: list[Clip], rate: int, samples: int, number: int) -> Padded:
    wave = _wave(table, clips[number], rate)[:samples]
    x = np.zeros(samples, np.int16)
    x[: len(wave)] = np.round(wave * 32767)
    return Padded(x, np.int32(len(wave)))


def _log_mel(mel: LogMel, wave: Padded) -> Padded:
    return mel.sequence(Padded(wave.x.astype(jnp.float32) / 32767, wave.length))
