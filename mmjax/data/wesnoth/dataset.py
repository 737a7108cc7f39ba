"""The Wesnoth data: long descriptions of units in several languages, with their English text, sprite and animation."""

import dataclasses
from pathlib import Path

from mmjax.data.custom.data import TableData, table_data
from mmjax.data.custom.input_kinds import Images, Texts, Videos
from mmjax.data.custom.reading import named_columns
from mmjax.data.custom.splitting import KFold
from mmjax.data.custom.target_kinds import Labels
from mmjax.data.dataset import Dataset
from mmjax.data.decode import DataError
from mmjax.data.text import BPE, TokenizerTrainer
from mmjax.data.wesnoth.files import Units

__all__ = ["Wesnoth"]


@dataclasses.dataclass(frozen=True)
class Wesnoth:
    """Units of a game: modalities "text" (the description in the language of the row), "image" (the sprite) and "frames" (the
    frames of the longest animation in order, a video; 66 of 277 units have none).

    Targets: "race", Int[n], -1 for races of few units; "language", Int[n], if there are several. In the metadata are "text",
    "english" (the English description), "name" (the English name) and "length" (a third of the lengths), as strings.
    `TextTarget(Wesnoth(), column="english")` makes the target of a translator, and with languages=("en",) that of a captioner
    of sprites or videos. A row is a unit in one language. A group is a line of units that become one another by experience, or
    that share a sentence of the description or a sprite; it is in one split, in all languages.

    languages: of `mmjax.data.wesnoth.files.LANGUAGES`. image_size: pixels per side of sprites and frames. frames: evenly spaced
    frames of longer animations are used. tokenizer: trained on the training texts of all languages. max_tokens: longer texts
    are truncated. race_units: races with fewer units are no class. folds, fold, split_seed: grouped k-fold, stratified by race;
    fold `fold` is the test split, the next one validation, the rest training.
    root: a folder with the package; None: fetched once through apt-get (146 MB).
    Raises DataError, naming the field, for an invalid value.
    """

    languages: tuple[str, ...] = ("de", "es", "fr", "it")
    image_size: int = 48
    frames: int = 8
    tokenizer: TokenizerTrainer = BPE()
    max_tokens: int = 320
    race_units: int = 10
    folds: int = 5
    fold: int = 0
    split_seed: int = 0
    root: Path | None = None

    def __post_init__(self):
        if not self.languages or len(set(self.languages)) < len(self.languages):
            raise DataError(f"Wesnoth.languages is {self.languages}; it must have at least one language, and none twice")
        self._table_data()  # checks the other fields

    def at_fold(self, fold: int) -> "Wesnoth":
        """The same data with this test fold. Ids and groups do not depend on it."""
        return dataclasses.replace(self, fold=fold)

    def load(self) -> Dataset:
        """Reads the package and fits tokenizer and z-scores on the training split. Raises DataError."""
        return self._table_data().load()

    @property
    def units(self) -> Units:
        """The source of the table."""
        return Units(self.languages, self.race_units, self.root)

    def _table_data(self) -> TableData:
        kinds = {
            "text": Texts(self.tokenizer, self.max_tokens),
            "image": Images(self.image_size),
            "frames": Videos(self.frames, self.image_size),
            "race": Labels(),
        }
        targets = ["race"]
        if len(self.languages) > 1:
            targets.append("language")
            kinds["language"] = Labels(tuple(sorted(self.languages)))
        return table_data(
            self.units,
            named_columns(["text", "image", "frames"]),
            named_columns(targets),
            kinds,
            ("group",),
            "id",
            KFold(self.folds, self.fold, self.split_seed),
        )
