"""The Stamps pack through TFDS: prepared once as array_record in the user's cache, read without TensorFlow.

This module imports tensorflow_datasets (seconds); import it where it is used. Machines without TFDS use
`mmjax.data.stamps.pack.StampsPack`, which has the same items and index.
"""

import contextlib
import io
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["ABANDONED_S", "REMEDY", "SPLIT", "StampsBuilder", "TfdsStamps", "prepared_folder", "tfds_source"]

try:
    import tensorflow_datasets as tfds
except ImportError as failure:
    raise ImportError("the TFDS source needs tensorflow-datasets, importlib_resources and array-record; "
                      "StampsPack in mmjax.data.stamps.pack has the same items without them") from failure

from mmjax.data.decode import DataError, check_language
from mmjax.data.stamps.pack import StampsPack, labels_of

SPLIT = "stamps"  # the only TFDS split; mmjax.data.splits makes the leak-free folds
REMEDY = "delete that folder, and the next run prepares it again"
ABANDONED_S = 24 * 3600  # an incomplete folder of this age is left over from a process that was killed


class StampsBuilder(tfds.core.GeneratorBasedBuilder):
    """TFDS builder over a pack. Media stay encoded, since the Audio feature of TFDS needs TensorFlow to decode."""

    name = "stamps"  # of the folder
    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, data_dir: Path, pack: StampsPack | None = None):
        """data_dir: the TFDS folder that contains stamps/<version>/. pack: the pack to write; None for reading."""
        self._pack = pack
        super().__init__(data_dir=str(data_dir), file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        text, binary = tfds.features.Text(), tfds.features.Tensor(shape=(), dtype=np.object_)
        clips = tfds.features.Sequence({"language": text, "clip": binary})
        features = tfds.features.FeaturesDict({
            "id": text, "folder": text, "subfolder": text, "group": tfds.features.Scalar(np.int64), "image": binary,
            "texts": tfds.features.Sequence({"language": text, "text": text}),
            "speech": clips, "sound": binary, "spoken": clips,
        })
        # Not shuffled: row i is item i of the pack, so the pack's index describes both.
        return tfds.core.DatasetInfo(builder=self, description="Tux Paint stamps; see data/stamps/README.md",
                                     features=features, license="GPL-2.0-or-later", disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict]]]:
        del dl_manager  # nothing is downloaded
        return {SPLIT: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict]]:
        for i in range(len(self._pack)):
            item = self._pack[i]
            texts = [{"language": language, "text": text} for language, text in item["texts"].items()]
            clips = {kind: [{"language": language, "clip": clip} for language, clip in item[kind].items()]
                     for kind in ("speech", "spoken")}
            yield i, {**item, "texts": texts, **clips}


class TfdsStamps:
    """Random access to an array_record copy, with the items, index and methods of StampsPack. Can be pickled."""

    def __init__(self, folder: Path, pack: StampsPack):
        """folder: the prepared copy. pack: provides index and fingerprint; its archives stay closed.

        Raises DataError, here and on reads, if the copy is damaged.
        """
        self.index, self.fingerprint = pack.index, pack.fingerprint
        self._folder = folder
        self._rows = _open(folder)
        if len(self._rows) != len(self.index):
            raise DataError(f"{folder} has {len(self._rows)} stamps instead of {len(self.index)}; {REMEDY}")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rows": None}  # the TFDS reader refers to its builder, which cannot be pickled

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._rows = _open(self._folder)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> dict[str, Any]:
        number = range(len(self))[i]  # checks the bounds and accepts negative numbers
        try:
            row = self._rows[number]
        except RuntimeError as error:  # array_record checks a hash of every chunk
            raise DataError(f"{self._folder} is damaged at {self.index[number]['id']} ({error}); {REMEDY}") from error
        item = {name: row[name].decode() for name in ("id", "folder", "subfolder")}
        return {**item, "group": int(row["group"]), "image": row["image"], "sound": row["sound"],
                "texts": {language: text.decode() for language, text in _pairs(row["texts"], "text")},
                "speech": dict(_pairs(row["speech"], "clip")), "spoken": dict(_pairs(row["spoken"], "clip"))}

    def image_bytes(self, i: int) -> bytes:
        """The PNG file of stamp i."""
        return self[i]["image"]

    def speech_bytes(self, i: int, language: str) -> bytes:
        """The MP3 file of the description of stamp i. Raises DataError if there is none in that language."""
        record = self.index[i]
        return self[i]["speech"][check_language(language, record["speech"], f"speech of {record['id']}")]

    def sound_bytes(self, i: int) -> bytes:
        """The MP3 file of the sound effect of stamp i, b"" if it has none."""
        return self[i]["sound"]

    def labels(self, min_count: int = 40) -> tuple[str, ...]:
        """The classes of the target "label", see `mmjax.data.stamps.pack.labels_of`."""
        return labels_of(self.index, min_count)


def _open(folder: Path) -> Any:
    return StampsBuilder(data_dir=folder).as_data_source(split=SPLIT)


def _pairs(columns: dict[str, list], value: str) -> Iterator[tuple[str, bytes]]:
    return zip((language.decode() for language in columns["language"]), columns[value], strict=True)


def prepared_folder(fingerprint: str, cache: Path | str | None = None) -> Path:
    """The folder of the prepared copy of a pack: <cache>/mmjax/tfds/<first 16 digits of the fingerprint>.

    cache: None for XDG_CACHE_HOME, else ~/.cache.
    """
    base = Path(cache) if cache else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "mmjax" / "tfds" / fingerprint[:16]


def tfds_source(root: Path | str | None = None, cache: Path | str | None = None) -> TfdsStamps:
    """Opens the prepared copy of a pack, which is verified and prepared first if the cache has none.

    root: the pack, as in StampsPack. cache: a folder in place of XDG_CACHE_HOME or ~/.cache. Each fingerprint has its own
    folder. A folder gets its name only when it is complete, so an interrupted preparation is never read, and its temporary
    folder is removed a day later. Raises DataError for a damaged pack or copy.
    """
    pack = StampsPack(root)
    folder = prepared_folder(pack.fingerprint, cache)
    if not _complete(folder):
        pack.verify()
        shutil.rmtree(folder, ignore_errors=True)
        _prepare(pack, folder)
        pack.close()
    return TfdsStamps(folder, pack)


def _complete(folder: Path) -> bool:
    """Whether the records and a readable dataset_info.json exist. If not, the folder is prepared again."""
    folder = folder / StampsBuilder.name / str(StampsBuilder.VERSION)
    try:
        json.loads((folder / "dataset_info.json").read_text())
    except (OSError, ValueError):
        return False
    return any(folder.glob("*.array_record*"))


def _prepare(pack: StampsPack, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    for old in folder.parent.glob("*.partial-*"):
        if time.time() - old.stat().st_mtime > ABANDONED_S:
            shutil.rmtree(old, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
    try:
        tfds.disable_progress_bar()  # it would interfere with the progress bar of a run
        with contextlib.redirect_stdout(io.StringIO()):
            StampsBuilder(pack=pack, data_dir=partial).download_and_prepare()
        try:
            partial.rename(folder)
        except OSError:
            if not _complete(folder):  # else another process has prepared the same copy
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
