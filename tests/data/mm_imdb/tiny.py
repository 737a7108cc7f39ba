"""A tiny MM-IMDb in the folder format of its authors."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

COUNTS = {"train": 24, "dev": 8, "test": 8}
KINDS = {"Drama": (200, 30, 30), "Western": (30, 200, 30), "Sci-Fi": (30, 30, 200)}  # genre: colour of the poster


def movies() -> dict[str, list[str]]:
    """{split: ids}."""
    ids = iter(f"{number:07d}" for number in range(1, 1000))
    return {split: [next(ids) for _ in range(count)] for split, count in COUNTS.items()}


def write_movies(folder: Path) -> Path:
    """The files in a folder. Movie 1 is a drama, 2 a drama and a western, 3 science fiction and "News", and so on. The longest
    of three plots names the genres, but for the comedy that every fifth movie is as well. Returns the folder."""
    (folder / "dataset").mkdir(parents=True, exist_ok=True)
    (folder / "split.json").write_text(json.dumps(movies()))
    for number, movie in enumerate(movie for ids in movies().values() for movie in ids):
        genres = (["Drama"], ["Drama", "Western"], ["Sci-Fi", "News"])[number % 3]
        plots = ["short", f"a long story {number} about {' and '.join(genres)}", "not so short"]
        all_genres = [*genres, "Comedy"] if number % 5 == 4 else genres
        (folder / "dataset" / f"{movie}.json").write_text(json.dumps({"genres": all_genres, "plot": plots, "title": movie}))
        pixels = np.full((24, 16, 3), KINDS[genres[-1] if genres[-1] in KINDS else genres[0]], np.uint8)
        pixels[number % 24, number % 16] = number
        Image.fromarray(pixels).save(folder / "dataset" / f"{movie}.jpeg")
    return folder
