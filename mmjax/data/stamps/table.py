"""The stamps of a task, with their splits and with columns that read their images, names and speech clips."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmjax.data.dataset import Column, identity
from mmjax.data.decode import decode_audio, decode_image
from mmjax.data.image import to_unit
from mmjax.data.inputs import ImageInput, SoundInput, TextInput
from mmjax.data.text import Tokenizer
from mmjax.nn.mel import LogMel
from mmjax.types import Padded

__all__ = ["RATE", "Clip", "StampsTable", "log_mel", "speech_name"]

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
        return _column(len(self.kept), ImageInput(size), to_unit, partial(_image, self), fingerprint)

    def texts(self, max_tokens: int) -> Column:
        """Token ids of the names, Padded int32 [max_tokens]."""
        fingerprint, parse = self._fingerprint("text", self.names), TextInput(self.tokenizer, max_tokens)
        return _column(len(self.kept), parse, identity, self.names.__getitem__, fingerprint)

    def sounds(self, clips: list[Clip], mel: LogMel, samples: int) -> Column:
        """Log-mel frames of the first `samples` samples of each clip, Padded float32 [frames bands]."""
        fingerprint = self._fingerprint("audio", [f"{self.records[item]['id']} {language}" for item, language in clips])
        parse = SoundInput(mel.rate, samples)
        return _column(len(clips), parse, partial(log_mel, mel), partial(_sound, self, clips), fingerprint)

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


def _column(count: int, parse: Callable, preprocess: Callable, original: Callable, fingerprint: str) -> Column:
    """A column whose items are its parsed originals."""
    return Column(count, lambda number: parse(original(number)), preprocess, original, fingerprint, parse)


def _image(table: StampsTable, item: int) -> np.ndarray:
    return decode_image(table.source.image_bytes(table.kept[item]), f"image of {table.records[item]['id']}")


def _sound(table: StampsTable, clips: list[Clip], number: int) -> tuple[np.ndarray, int]:
    item, language = clips[number]
    data = table.source.speech_bytes(table.kept[item], language)
    return decode_audio(data, speech_name(table.records[item], language), RATE), RATE


def log_mel(mel: LogMel, wave: Padded) -> Padded:
    """int16 samples -> log-mel frames."""
    return mel.sequence(Padded(wave.x.astype(jnp.float32) / 32767, wave.length))
