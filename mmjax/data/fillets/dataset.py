"""The Fillets data: acted dialogue lines with speech, transcript, English line and the image of their level."""

import dataclasses
from pathlib import Path

from mmjax.data.custom.data import TableData, table_data
from mmjax.data.custom.input_kinds import Images, Sounds, Texts
from mmjax.data.custom.reading import named_columns
from mmjax.data.custom.splitting import KFold
from mmjax.data.custom.target_kinds import Labels
from mmjax.data.dataset import Dataset
from mmjax.data.decode import DataError
from mmjax.data.fillets.files import Lines
from mmjax.data.text import BPE, TokenizerTrainer
from mmjax.nn.mel import LogMel

__all__ = ["Fillets"]


@dataclasses.dataclass(frozen=True)
class Fillets:
    """Spoken lines of a game: modalities "speech", "text" (the transcript) and "image" (the background of the level).

    Targets: "voice", Int[n], the speaker by the colour of the subtitle, -1 for those with few lines; "language", Int[n].
    Transcript ("text") and English line ("english") are in the metadata, as strings; `TextTarget(Fillets(), column="english")`
    makes a target of one, for recognition or translation of speech. A row is a spoken line. A group is a level, or the levels
    that share an image or a recording, so that no level is in two splits; the same line in both languages is in one split too.

    languages: "cs", "nl", or both. image_size: pixels per side. mel: the audio front end. seconds: longer recordings are
    truncated. tokenizer: trained on the training transcripts. max_tokens: longer transcripts are truncated. voice_lines: voices
    with fewer lines are no class. folds, fold, split_seed: grouped k-fold, stratified by voice; fold `fold` is the test split,
    the next one validation, the rest training.
    root: a folder with the packages; None: fetched once through apt-get (70 MB, and 39 or 33 MB for each language).
    Raises DataError, naming the field, for an invalid value.
    """

    languages: tuple[str, ...] = ("cs", "nl")
    image_size: int = 48
    mel: LogMel = LogMel()
    seconds: float = 6.0
    tokenizer: TokenizerTrainer = BPE()
    max_tokens: int = 48
    voice_lines: int = 30
    folds: int = 5
    fold: int = 0
    split_seed: int = 0
    root: Path | None = None

    def __post_init__(self):
        if not self.languages or len(set(self.languages)) < len(self.languages):
            raise DataError(f"Fillets.languages is {self.languages}; it must have cs, nl or both, each once")
        self._table_data()  # checks the other fields

    def at_fold(self, fold: int) -> "Fillets":
        """The same data with this test fold. Ids and groups do not depend on it."""
        return dataclasses.replace(self, fold=fold)

    def load(self) -> Dataset:
        """Reads the packages and fits tokenizer and z-scores on the training split. Raises DataError."""
        return self._table_data().load()

    @property
    def lines(self) -> Lines:
        """The source of the table."""
        return Lines(self.languages, self.voice_lines, self.root)

    def _table_data(self) -> TableData:
        kinds = {
            "speech": Sounds(self.seconds, self.mel),
            "text": Texts(self.tokenizer, self.max_tokens),
            "image": Images(self.image_size),
            "voice": Labels(),
        }
        targets = ["voice"]
        if len(self.languages) > 1:
            targets.append("language")
            kinds["language"] = Labels(tuple(sorted(self.languages)))
        return table_data(
            self.lines,
            named_columns(["speech", "text", "image"]),
            named_columns(targets),
            kinds,
            ("group",),
            "id",
            KFold(self.folds, self.fold, self.split_seed),
        )
