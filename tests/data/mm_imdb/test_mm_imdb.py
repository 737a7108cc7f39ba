"""MM-IMDb in its authors' folder format: the published split, the longest plot, 23 genres, and one line for every damage."""

import numpy as np
import pytest

from mmjax.data.check import check_dataset
from mmjax.data.decode import DataError
from mmjax.data.mm_imdb.dataset import GENRES, VARIABLE, MMIMDb
from tests.data.mm_imdb.tiny import COUNTS, movies, write_movies


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_movies(tmp_path_factory.mktemp("mmimdb"))


def test_rows_are_the_movies_of_the_published_split(root, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(root))
    data = MMIMDb(image_size=16, max_tokens=16).load()
    check_dataset(data)
    names = {"train": "train", "validation": "dev", "test": "test"}
    for split, name in names.items():
        assert data.metadata[split]["id"].tolist() == movies()[name] and len(data.splits[split]) == COUNTS[name]
    genres = data.splits["train"].targets["genres"]
    assert data.classes["genres"] == GENRES and genres.shape == (24, 23)
    found = [{GENRES[k] for k in np.flatnonzero(row)} for row in genres[:3]]
    assert found == [{"Drama"}, {"Drama", "Western"}, {"Sci-Fi"}]  # News is not one of the 23
    assert data.metadata["train"]["text"][1] == "a long story 1 about Drama and Western"
    image = data.columns["image"].read(1)
    assert image.shape == (16, 16, 4) and data.media(0)["image"]


def test_the_genres_are_those_of_the_paper():
    """23, sorted; the paper's table 1 lists them by the number of movies."""
    assert len(GENRES) == 23 and list(GENRES) == sorted(GENRES) and {"Drama", "Film-Noir", "Sci-Fi", "Short"} < set(GENRES)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("split.json", '{"train": []}', r'split.json: it must be \{"train": ids, "dev": ids, "test": ids\}'),
        ("split.json", '{"train": [], "dev": ["1"], "test": ["2"]}', "'train' must be a list of ids"),
        ("split.json", "[", "split.json: not JSON"),
        (
            "dataset/0000001.json",
            '{"genres": ["Drama"]}',
            "0000001.json: field 'plot' must be a list of texts",
        ),
        ("dataset/0000002.json", '{"genres": [], "plot": "x"}', "0000002.json: field 'genres' must be a list of texts"),
        ("dataset/0000003.json", None, "0000003.json: No such file or directory; the folder is not complete"),
        ("dataset/0000004.jpeg", None, "0000004.jpeg: there is no such poster, but split.json has the movie"),
    ],
)
def test_a_damaged_folder_gives_one_line(name, content, message, tmp_path):
    file = write_movies(tmp_path) / name
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        MMIMDb(tmp_path).load()
    assert "\n" not in str(caught.value)


def test_a_missing_folder_says_where_the_data_are(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(DataError, match=f"no MM-IMDb: no folder was named.*{VARIABLE}.*gmu-mmimdb"):
        MMIMDb().load()
