"""The Stamps pack through TFDS: prepared once into the user's cache as array_record, read without TensorFlow.

Importing this module imports tensorflow_datasets (seconds); import it where it is used. Machines without TFDS use
`mmjax.data.stamps.StampsPack`, whose items and index are the same.
"""

import contextlib
import io
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

try:
    import tensorflow_datasets as tfds
except ImportError as failure:
    raise ImportError("the TFDS source needs tensorflow-datasets, importlib_resources and array-record; "
                      "StampsPack in mmjax.data.stamps gives the same items without them") from failure

from mmjax.data.decode import DataError, check_language
from mmjax.data.stamps.pack import StampsPack, labels_of

SPLIT = "stamps"  # one split only: leak-free folds are made from the groups, see mmjax.data.splits
ABANDONED_S = 24 * 3600  # a half-written folder as old as this belongs to nobody any more


class Stamps(tfds.core.GeneratorBasedBuilder):
    """TFDS builder over a pack. Media stay encoded bytes, since TFDS's own Audio feature needs TensorFlow to read."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, data_dir: Path, pack: StampsPack | None = None):
        """data_dir: TFDS's folder, which holds stamps/<version>/; pack: what to write, not needed to read."""
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
        # Unshuffled: row i is the pack's item i, so that the index of one plans reads from the other.
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
    """Random access with StampsPack's items, index and cheap reads, from array_record. Can be pickled."""

    def __init__(self, folder: Path, pack: StampsPack):
        """folder: where the pack was prepared; pack: gives index and fingerprint, its archives stay closed."""
        self.index, self.fingerprint = pack.index, pack.fingerprint
        self._folder = folder
        self._rows = _open(folder)
        if len(self._rows) != len(self.index):
            raise DataError(f"{folder} has {len(self._rows)} stamps, the pack {len(self.index)}; delete that folder")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rows": None}  # TFDS's reader holds its builder, which cannot be pickled

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._rows = _open(self._folder)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> dict[str, Any]:
        row = self._rows[range(len(self))[i]]  # range refuses what is out of bounds and knows negative numbers
        item = {name: row[name].decode() for name in ("id", "folder", "subfolder")}
        return {**item, "group": int(row["group"]), "image": row["image"], "sound": row["sound"],
                "texts": {language: text.decode() for language, text in _pairs(row["texts"], "text")},
                "speech": dict(_pairs(row["speech"], "clip")), "spoken": dict(_pairs(row["spoken"], "clip"))}

    def image_bytes(self, i: int) -> bytes:
        """PNG file of stamp i."""
        return self[i]["image"]

    def speech_bytes(self, i: int, language: str) -> bytes:
        """MP3 file of stamp i's description. Raises DataError if nobody speaks it in that language."""
        record = self.index[i]
        return self[i]["speech"][check_language(language, record["speech"], f"speech of {record['id']}")]

    def sound_bytes(self, i: int) -> bytes:
        """MP3 file of stamp i's sound effect, b"" if it has none."""
        return self[i]["sound"]

    def labels(self, min_count: int = 40) -> tuple[str, ...]:
        """Classes of the label task, see mmjax.data.stamps.labels_of."""
        return labels_of(self.index, min_count)


def _open(folder: Path) -> Any:
    return Stamps(data_dir=folder).as_data_source(split=SPLIT)


def _pairs(columns: dict[str, list], value: str) -> Iterator[tuple[str, bytes]]:
    return zip((language.decode() for language in columns["language"]), columns[value], strict=True)


def cache_folder(fingerprint: str, cache: Path | str | None = None) -> Path:
    """Where the prepared copy of one pack lives: <cache>/mmjax/tfds/<16 digits>; cache None is the user's own."""
    base = Path(cache) if cache else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "mmjax" / "tfds" / fingerprint[:16]


def tfds_source(root: Path | str | None = None, cache: Path | str | None = None) -> TfdsStamps:
    """Prepares the pack in the cache unless it is there, and opens it.

    root: the pack, as for StampsPack; cache: folder instead of XDG_CACHE_HOME or ~/.cache. Another pack has another
    fingerprint and so another folder. The folder gets its name only when it is complete: one that was killed half-way
    is never read, and goes a day later.
    """
    pack = StampsPack(root)
    folder = cache_folder(pack.fingerprint, cache)
    if not _complete(folder):
        shutil.rmtree(folder, ignore_errors=True)
        _prepare(pack, folder)
        pack.close()
    return TfdsStamps(folder, pack)


def _complete(folder: Path) -> bool:
    """What a user or a disk clean-up left of a once complete folder is prepared again."""
    return (folder / Stamps.name / str(Stamps.VERSION) / "dataset_info.json").is_file()


def _prepare(pack: StampsPack, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    for old in folder.parent.glob("*.partial-*"):
        if time.time() - old.stat().st_mtime > ABANDONED_S:
            shutil.rmtree(old, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
    try:
        tfds.disable_progress_bar()  # it takes seconds, and its bars would break through those of a run
        with contextlib.redirect_stdout(io.StringIO()):
            Stamps(pack=pack, data_dir=partial).download_and_prepare()
        try:
            partial.rename(folder)
        except OSError:
            if not _complete(folder):  # otherwise another process was faster, with the same bytes
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
