"""MM-IMDb in the folder format of its authors: which genres has a movie, by its poster and its plot?

The data of Arevalo et al., "Gated multimodal units for information fusion" (2017). Research data, not part of this project. A
folder that the user names contains

    split.json            {"train": [id, ...], "dev": [...], "test": [...]}, 15,552, 2,608 and 7,799 movies
    dataset/ID.json       "genres": [name, ...] and "plot": one text or a list of texts
    dataset/ID.jpeg       the poster
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmjax.data.custom.data import table_data
from mmjax.data.custom.input_kinds import Images, Texts
from mmjax.data.custom.reading import named_columns
from mmjax.data.custom.splitting import SplitColumn
from mmjax.data.custom.table import Table
from mmjax.data.custom.target_kinds import TagSets
from mmjax.data.dataset import Dataset
from mmjax.data.decode import DataError
from mmjax.data.named_folder import named_folder
from mmjax.data.text import BPE, TokenizerTrainer

__all__ = ["GENRES", "SOURCE", "VARIABLE", "MMIMDb", "Movies"]

VARIABLE = "MMJAX_MMIMDB"
SOURCE = "The data are not part of mmjax: the README of johnarevalo/gmu-mmimdb says where to get mmimdb.tar.gz, which has them"
GENRES = (
    "Action", "Adventure", "Animation", "Biography", "Comedy", "Crime", "Documentary", "Drama", "Family", "Fantasy",
    "Film-Noir", "History", "Horror", "Music", "Musical", "Mystery", "Romance", "Sci-Fi", "Short", "Sport", "Thriller", "War",
    "Western",
)  # fmt: skip
"""The 23 genres of the paper; others in the files, such as "News", do not count."""


@dataclass(frozen=True)
class MMIMDb:
    """MM-IMDb: modalities "image" (the poster) and "text" (the longest plot, as in the authors' code); target "genres",
    Int[n 23], 1 for those that apply.

    The split is the published one. Movies with equal posters are dependent.

    root: the folder of the files; None: the value of the environment variable MMJAX_MMIMDB. image_size: pixels per side.
    tokenizer: trained on the training plots. max_tokens: longer plots are truncated, and counted.
    """

    root: Path | None = None
    image_size: int = 64
    tokenizer: TokenizerTrainer = BPE()
    max_tokens: int = 128

    def load(self) -> Dataset:
        """Reads the movies, and fits tokenizer and z-scores on the training split. Raises DataError, naming the file."""
        kinds = {
            "image": Images(self.image_size),
            "text": Texts(self.tokenizer, self.max_tokens),
            "genres": TagSets(classes=GENRES),
        }
        inputs, targets = named_columns(["image", "text"]), named_columns(["genres"])
        return table_data(Movies(self.root), inputs, targets, kinds, ids="id", split=SplitColumn("split")).load()


@dataclass(frozen=True)
class Movies:
    """The movies of a folder as a source of a table. root: as in `MMIMDb`."""

    root: Path | None = None

    def read(self) -> Table:
        """One row per movie of split.json: "image" (a file), "text", "genres", "split" and "id"."""
        folder = named_folder(self.root, VARIABLE, ["split.json"], "MM-IMDb", SOURCE)
        cells: dict[str, list[Any]] = {name: [] for name in ("image", "text", "genres", "split", "id")}
        for split, movies in _splits(folder / "split.json").items():
            for movie in movies:
                text, genres = _movie(folder / "dataset" / f"{movie}.json")
                poster = folder / "dataset" / f"{movie}.jpeg"
                if not poster.is_file():
                    raise DataError(f"{poster}: there is no such poster, but split.json has the movie; get all files")
                for column, value in zip(cells.values(), (poster, text, genres, split, movie)):
                    column.append(value)
        return Table("MM-IMDb", cells)


def _splits(file: Path) -> dict[str, list[str]]:
    found = _json(file)
    wanted = '{"train": ids, "dev": ids, "test": ids}'
    if not isinstance(found, dict) or set(found) != {"train", "dev", "test"}:
        raise DataError(f"{file}: it must be {wanted}")
    for split, movies in found.items():
        if not isinstance(movies, list) or not movies or not all(isinstance(movie, str) for movie in movies):
            raise DataError(f"{file}: {split!r} must be a list of ids; the file must be {wanted}")
    return found


def _movie(file: Path) -> tuple[str, list[str]]:
    """(the longest plot, those genres that count) of a movie."""
    found = _json(file)
    plots, genres = (found.get(key) if isinstance(found, dict) else None for key in ("plot", "genres"))
    plots = [plots] if isinstance(plots, str) else plots
    for key, values in (("plot", plots), ("genres", genres)):
        if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
            raise DataError(f"{file}: field {key!r} must be a list of texts with at least one")
    return max(plots, key=len), [genre for genre in dict.fromkeys(genres) if genre in GENRES]


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}; the folder is not complete") from None
    except ValueError as error:
        raise DataError(f"{file}: not JSON ({error})") from None
