"""CREMA-D as OGM-GE prepares it: which emotion does an actor show, by face and voice?

7,442 clips of 91 actors who say one of twelve sentences (Cao et al., "CREMA-D", IEEE TAC 2014). Peng et al., "OGM-GE" (CVPR
2022), take pictures from the videos, one per second, and divide the clips at random, so that their test actors are also in
training (data/CREMAD of their repository). Research data, not part of this project. A folder that the user names contains

    AudioWAV/CLIP.wav              as published; CLIP is ACTOR_SENTENCE_EMOTION_LEVEL, such as 1001_IEO_HAP_LO
    Image-01-FPS/CLIP/*.jpg        what OGM-GE's video_preprocessing.py writes
    train.csv, test.csv            CLIP,EMOTION in each line, from the same repository: 6,698 and 744 clips
"""

import csv
import dataclasses
from pathlib import Path
from typing import Any

from mmjax.data.custom.data import TableData, table_data
from mmjax.data.custom.input_kinds import Images, Sounds
from mmjax.data.custom.reading import named_columns
from mmjax.data.custom.splitting import KFold, SplitColumn
from mmjax.data.custom.table import Table
from mmjax.data.custom.target_kinds import Labels
from mmjax.data.dataset import Dataset
from mmjax.data.decode import DataError
from mmjax.data.named_folder import named_folder
from mmjax.nn.mel import LogMel

__all__ = ["EMOTIONS", "FILES", "FRAMES", "SOURCE", "VARIABLE", "Clips", "CremaD"]

VARIABLE = "MMJAX_CREMA_D"
SOURCE = (
    "The data are not part of mmjax: the README of GeWu-Lab/OGM-GE_CVPR2022 says where to get CREMA-D and how to take pictures "
    "from its videos, and the repository has both lists"
)
FILES, FRAMES = ("train.csv", "test.csv"), "Image-01-FPS"
EMOTIONS = {"NEU": "neutral", "HAP": "happy", "SAD": "sad", "FEA": "fear", "DIS": "disgust", "ANG": "anger"}


@dataclasses.dataclass(frozen=True)
class CremaD:
    """CREMA-D: modalities "image" (the middle picture of a clip) and "audio" (log-mel frames); target "emotion", one of 6.

    by_actor: five folds of whole actors, so that no test actor is in training; else the published lists, with a random fifth
    of the training clips as validation. Actor, sentence and level are in the metadata, for audits by group.

    root: the folder of the files; None: the value of the environment variable MMJAX_CREMA_D. image_size: pixels per side.
    seconds: longer sounds are truncated, and counted. mel: the front end. fold: the test fold of actors.
    """

    root: Path | None = None
    image_size: int = 64
    seconds: float = 3.0
    mel: LogMel = LogMel()
    by_actor: bool = True
    fold: int = 0

    @property
    def folds(self) -> int:
        """The number of folds of actors. Raises DataError for the published lists, which are one split."""
        return self._table_data().folds

    def at_fold(self, fold: int) -> "CremaD":
        """The same data with this test fold. Ids and groups do not depend on it."""
        return dataclasses.replace(self, fold=fold)

    def load(self) -> Dataset:
        """Reads the clips and fits z-scores on the training split. Raises DataError, naming the file, for what is missing."""
        return self._table_data().load()

    def _table_data(self) -> TableData:
        kinds = {
            "image": Images(self.image_size),
            "audio": Sounds(self.seconds, self.mel),
            "emotion": Labels(tuple(EMOTIONS.values())),
        }
        inputs, targets = named_columns(["image", "audio"]), named_columns(["emotion"])
        groups, split = (("actor",), KFold(fold=self.fold)) if self.by_actor else (("id",), SplitColumn("split"))
        return table_data(Clips(self.root), inputs, targets, kinds, groups, "id", split)


@dataclasses.dataclass(frozen=True)
class Clips:
    """The clips of a folder as a source of a table. root: as in `CremaD`."""

    root: Path | None = None

    def read(self) -> Table:
        """One row per line of both lists: "image" and "audio", which are files, "emotion", "actor", "sentence", "level",
        "split" and "id"."""
        folder = named_folder(self.root, VARIABLE, FILES, "CREMA-D", SOURCE)
        names = ("image", "audio", "emotion", "actor", "sentence", "level", "split", "id")
        cells: dict[str, list[Any]] = {name: [] for name in names}
        for name in FILES:
            for number, line in enumerate(_lines(folder / name), 1):
                row = _clip(folder, line, f"{folder / name}: line {number}")
                for column, value in zip(cells.values(), (*row, Path(name).stem, line[0])):
                    column.append(value)
        return Table("CREMA-D", cells)


def _clip(folder: Path, line: list[str], where: str) -> tuple[Path, Path, str, str, str, str]:
    """(image, sound, emotion, actor, sentence, level) of a line."""
    parts = line[0].split("_") if len(line) == 2 else []
    if len(parts) != 4 or line[1] not in EMOTIONS or parts[2] != line[1]:
        wanted = f"ACTOR_SENTENCE_EMOTION_LEVEL,EMOTION with an emotion of {', '.join(EMOTIONS)}"
        raise DataError(f"{where} is {','.join(line)!r}; it must be {wanted}")
    actor, sentence, emotion, level = parts
    sound, pictures = folder / "AudioWAV" / f"{line[0]}.wav", sorted((folder / FRAMES / line[0]).glob("*.jpg"))
    if not sound.is_file() or not pictures:
        missing = sound if not sound.is_file() else folder / FRAMES / line[0] / "*.jpg"
        raise DataError(f"{where}: there is no {missing}; the folder is not complete")
    return pictures[len(pictures) // 2], sound, EMOTIONS[emotion], actor, sentence, level


def _lines(file: Path) -> list[list[str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            found = [line for line in csv.reader(opened) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: not a list of clips ({error})") from None
    if not found:
        raise DataError(f"{file} is empty; it must have ACTOR_SENTENCE_EMOTION_LEVEL,EMOTION in each line")
    return found
