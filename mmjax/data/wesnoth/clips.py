"""Short animations of Wesnoth's units, such as an attack, with a sentence that says who does what."""

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from mmjax.data.custom.data import TableData, table_data
from mmjax.data.custom.input_kinds import Texts, Videos
from mmjax.data.custom.reading import named_columns
from mmjax.data.custom.splitting import KFold
from mmjax.data.custom.table import Table
from mmjax.data.custom.target_kinds import Labels
from mmjax.data.custom.video import spread
from mmjax.data.dataset import Dataset
from mmjax.data.decode import DataError, decode_image
from mmjax.data.text import BPE, TokenizerTrainer
from mmjax.data.wesnoth.files import find_package, read_files, video_of
from mmjax.data.wesnoth.units import Animation, Unit, groups_of, units_of

__all__ = ["DEEDS", "Clips", "UnitClips", "clip", "sentence"]

DEEDS = {
    "attack_anim": "attacks with its {weapon}",
    "death": "dies",
    "defend": "defends itself",
    "healing_anim": "heals",
    "idle_anim": "waits",
    "movement_anim": "moves",
    "standing_anim": "stands",
}
"""{kind of an animation: what the unit does}."""


def sentence(unit: Unit, animation: Animation) -> str:
    """Such as "an elf attacks with its bow"."""
    article = "an" if unit.race[0] in "aeiou" else "a"
    return f"{article} {unit.race} {DEEDS[animation.kind].format(weapon=animation.weapon)}"


def clip(animation: Animation, files: Mapping[str, bytes], frames: int) -> np.ndarray | None:
    """uint8 [t h w 4], at most `frames` evenly spaced images, centred on a transparent ground; None if one is missing or all
    are one image. An image counts once for each frame that shows it, whatever its duration."""
    shown = animation.files
    if len(set(shown)) < 2 or not all(file in files for file in shown):
        return None
    return video_of([decode_image(files[shown[at]], shown[at]) for at in spread(len(shown), frames)])


@dataclasses.dataclass(frozen=True)
class Clips:
    """The animations as a source of a table: "video", "text", "summary", "race", "deed", "unit", "group" and "id"."""

    frames: int
    root: Path | None = None

    def read(self) -> Table:
        return _read(find_package(self.root), self.frames)[0]


def _describable(unit: Unit) -> list[Animation]:
    """The animations that a sentence can describe: none without a race, and no attacks with an unknown weapon."""
    known = lambda animation: animation.kind in DEEDS and (animation.weapon or animation.kind != "attack_anim")
    return [animation for animation in unit.animations if known(animation)] if unit.race else []


@lru_cache(maxsize=1)
def _read(package: Path, frames: int) -> tuple[Table, dict[str, int]]:
    """(the table, what is left out)."""
    files = read_files(package)
    units = units_of(files)
    names = ("video", "text", "summary", "race", "deed", "unit", "group", "id")
    cells: dict[str, list] = {name: [] for name in names}
    still, repeated, seen = 0, 0, set()
    for unit, group in zip(units, groups_of(units, files), strict=True):
        for number, animation in enumerate(_describable(unit)):
            summary = sentence(unit, animation)
            if (summary, animation.files) in seen:
                repeated += 1
                continue
            seen.add((summary, animation.files))
            video = clip(animation, files, frames)
            if video is None:
                still += 1
                continue
            deed = animation.kind.removesuffix("_anim")
            text, name = " ".join(unit.description.split()), f"{unit.id}/{number}"
            values = video, text, summary, unit.race, deed, unit.name, group, name
            for column, value in zip(cells.values(), values, strict=True):
                column.append(value)
    if not cells["id"]:
        raise DataError(f"{package}: no unit has an animation of two images; the file should be the published package")
    return Table(package.name, cells), {"animations of one image": still, "animations that repeat another": repeated}


@dataclasses.dataclass(frozen=True)
class UnitClips:
    """Animations of units: modalities "video" and "text" (the unit's description, about 80 words, which does not say what the
    animation shows).

    Targets: "deed", Int[n], what the unit does (attack, death, defend, healing, idle, movement, standing); "race", Int[n].
    The metadata column "summary" says both and names the weapon, such as "an elf attacks with its bow";
    `TextTarget(UnitClips(), column="summary")` makes a target of it. A row is an animation. A group, as in
    `mmjax.data.wesnoth.units.groups_of`, is a line of units that become each other or are otherwise related. It is in one
    split.

    frames: at most this number of evenly spaced images. size: pixels per side. tokenizer: trained on the training descriptions.
    max_tokens: longer descriptions are truncated. folds, fold, split_seed: grouped k-fold, stratified by deed.
    root: a folder with the package; None: fetched once through apt-get (146 MB). Raises DataError, naming the field.
    """

    frames: int = 8
    size: int = 48
    tokenizer: TokenizerTrainer = BPE()
    max_tokens: int = 128
    folds: int = 5
    fold: int = 0
    split_seed: int = 0
    root: Path | None = None

    def __post_init__(self):
        if not 1 <= self.frames <= 100:
            raise DataError(f"UnitClips.frames is {self.frames}; it must be at least 1 and at most 100")
        self._table_data()  # checks the other fields

    def at_fold(self, fold: int) -> "UnitClips":
        """The same data with this test fold. Ids and groups do not depend on it."""
        return dataclasses.replace(self, fold=fold)

    def load(self) -> Dataset:
        """Reads the package and fits tokenizer and z-scores on the training split. Raises DataError."""
        data = self._table_data().load()
        return dataclasses.replace(data, dropped={**data.dropped, **_read(find_package(self.root), self.frames)[1]})

    @property
    def clips(self) -> Clips:
        """The source of the table."""
        return Clips(self.frames, self.root)

    def _table_data(self) -> TableData:
        kinds = {
            "video": Videos(self.frames, self.size),
            "text": Texts(self.tokenizer, self.max_tokens),
            "deed": Labels(),
            "race": Labels(),
        }
        return table_data(
            self.clips,
            named_columns(["video", "text"]),
            named_columns(["deed", "race"]),
            kinds,
            ("group",),
            "id",
            KFold(self.folds, self.fold, self.split_seed),
        )
