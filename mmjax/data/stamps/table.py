"""The stamps of a task, with their splits and with columns that read their images, names and speech clips."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmjax.data.dataset import Column, identity
from mmjax.data.decode import decode_audio, decode_image
from mmjax.data.image import on_white, resize
from mmjax.data.text import Tokenizer
from mmjax.nn.mel import LogMel
from mmjax.types import Padded

Clip = tuple[int, str]  # an item of the table, and the language of a speech clip that describes it


@dataclasses.dataclass(frozen=True)
class StampsTable:
    """The stamps of a task. Item k is stamp number kept[k] of the source; the image and text columns have the same numbering.

    source: `StampsPack` or `TfdsStamps`; reader: its name in reports. records: each item's entry of the source's index.
    labels: the class names; label, group: Int32[items]. names: "" for an item without a name; lengths: Int[items], in tokens.
    splits: {split: Int[m] items}. tokenizer: trained on the names of the training split. dropped: {reason: count}.
    """

    source: Any
    reader: str
    kept: list[int]
    records: list[dict[str, Any]]
    labels: tuple[str, ...]
    label: np.ndarray
    group: np.ndarray
    names: list[str]
    lengths: np.ndarray
    splits: Mapping[str, np.ndarray]
    tokenizer: Tokenizer
    dropped: Mapping[str, int]

    def item(self, id: str) -> int:
        """The number of the item with this id."""
        return next(item for item, record in enumerate(self.records) if record["id"] == id)

    def metadata(self, items: np.ndarray) -> dict[str, np.ndarray]:
        """The columns "id", "subfolder" and "group" of these items, for `Dataset.metadata`. items: Int[n]."""
        columns = {key: np.array([self.records[item][key] for item in items]) for key in ("id", "subfolder")}
        return columns | {"group": self.group[items]}

    def images(self, size: int) -> Column:
        """Images float32 [size size 4] in [0, 1], drawn over white; alpha is the fourth channel."""
        fingerprint = self._fingerprint("image", [record["id"] for record in self.records])
        scale = lambda x: x.astype(jnp.float32) / 255
        return Column(len(self.kept), partial(_read_image, self, size), scale, partial(_image, self), fingerprint)

    def texts(self, max_tokens: int) -> Column:
        """Token ids of the names, Padded int32 [max_tokens]."""
        fingerprint = self._fingerprint("text", self.names)
        read = partial(_read_text, self, max_tokens)
        encode = partial(self.tokenizer.encode, max_tokens=max_tokens)
        return Column(len(self.kept), read, identity, self.names.__getitem__, fingerprint, encode)

    def sounds(self, clips: list[Clip], mel: LogMel, samples: int) -> Column:
        """Log-mel frames of the first `samples` samples of each clip, Padded float32 [frames bands]."""
        fingerprint = self._fingerprint("audio", [f"{self.records[item]['id']} {language}" for item, language in clips])
        read, original = partial(_read_audio, self, clips, mel.rate, samples), partial(_sound, self, clips)
        return Column(len(clips), read, partial(_log_mel, mel), original, fingerprint)

    def _fingerprint(self, kind: str, items: Iterable[str]) -> str:
        return hashlib.sha256(json.dumps([self.source.fingerprint, kind, *items]).encode()).hexdigest()

    def digest(self, options: Any, rows: Iterable[str]) -> str:
        """sha256 of the pack, the options (by their repr), the trained tokenizer, and one line per row."""
        digest = hashlib.sha256(f"{self.source.fingerprint} {options!r}\n{self.tokenizer.library.to_str()}\n".encode())
        digest.update("\n".join(rows).encode())
        return digest.hexdigest()


def speech_name(record: Mapping[str, Any], language: str) -> str:
    """The name of a clip in errors."""
    return f"speech {language} of {record['id']}"


RATE = 16_000  # Hz, the sample rate of the pack's clips


def _image(table: StampsTable, item: int) -> np.ndarray:
    return decode_image(table.source.image_bytes(table.kept[item]), f"image of {table.records[item]['id']}")


def _sound(table: StampsTable, clips: list[Clip], number: int) -> tuple[np.ndarray, int]:
    return _wave(table, clips[number], RATE), RATE


def _wave(table: StampsTable, clip: Clip, rate: int) -> np.ndarray:
    item, language = clip
    data = table.source.speech_bytes(table.kept[item], language)
    return decode_audio(data, speech_name(table.records[item], language), rate)


def _read_image(table: StampsTable, size: int, item: int) -> np.ndarray:
    return resize(on_white(_image(table, item)), size)


def _read_text(table: StampsTable, max_tokens: int, item: int) -> Padded:
    return table.tokenizer.encode(table.names[item], max_tokens)


def _read_audio(table: StampsTable, clips: list[Clip], rate: int, samples: int, number: int) -> Padded:
    wave = _wave(table, clips[number], rate)[:samples]
    x = np.zeros(samples, np.int16)
    x[: len(wave)] = np.round(wave * 32767)
    return Padded(x, np.int32(len(wave)))


def _log_mel(mel: LogMel, wave: Padded) -> Padded:
    return mel.sequence(Padded(wave.x.astype(jnp.float32) / 32767, wave.length))
