"""What a build is asked to do."""

from dataclasses import dataclass, field
from pathlib import Path

from mmjax.data.build.agreement import SCALES
from mmjax.data.build.items import check_unicode
from mmjax.data.decode import DataError

__all__ = ["Options", "default_name"]


@dataclass(frozen=True)
class Options:
    """label: the column of classes. together: columns whose equal values share a group, such as a speaker; () for the column
    "group", if there is one. hold_out: (column, values) of the test split; None: fold `fold` of `folds`. raters: columns with
    the ratings of one annotator each, on `scale`. personal: whether personal data is removed; region, names: see
    `without_personal_data`. kinds: see `read_items`. copies: planted copies of each kind. name, description, source, licence,
    url, biases: statements for the card.

    Raises DataError, naming the field, for an invalid value.
    """

    label: str | None = None
    together: tuple[str, ...] = ()
    hold_out: tuple[str, tuple[str, ...]] | None = None
    folds: int = 5
    fold: int = 0
    seed: int = 0
    raters: tuple[str, ...] = ()
    scale: str = "nominal"
    personal: bool = True
    region: str | None = None
    names: tuple[str, ...] = ()
    kinds: dict[str, str] = field(default_factory=dict)
    copies: int = 200
    name: str = "set"
    description: str = "An evaluation set."
    source: str = "not stated"
    licence: str = "not stated"
    url: str = "https://example.org/not-stated"
    biases: str = "not stated"

    def __post_init__(self):
        for name in ("name", "description", "source", "licence", "url", "biases"):
            check_unicode(getattr(self, name), name)
        if self.folds < 3 or not 0 <= self.fold < self.folds:
            raise DataError(f"fold is {self.fold} of {self.folds}; folds must be at least 3, and fold in [0, folds)")
        if self.seed < 0 or self.copies < 1:
            raise DataError(f"seed is {self.seed} and copies {self.copies}; they must be at least 0 and at least 1")
        if self.scale not in SCALES:
            raise DataError(f"scale is {self.scale!r}; it must be one of {', '.join(SCALES)}")
        if len(self.raters) == 1:
            raise DataError(f"raters is {self.raters[0]!r} alone; agreement needs the columns of at least two raters")

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that the options name."""
        held = (self.hold_out[0],) if self.hold_out else ()
        return tuple(name for name in (self.label, *self.together, *held, *self.raters) if name)


def default_name(path: Path) -> str:
    return (path.name if path.is_dir() else path.stem) or "set"
