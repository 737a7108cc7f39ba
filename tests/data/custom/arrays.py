"""Ten rows of arrays of every kind."""

import io

import numpy as np
from PIL import Image

from mmjax.data import from_arrays
from mmjax.data.custom import Images, Scores

N = 10
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (N, 6, 5, 3)).astype(np.uint8)
SERIES = [RNG.normal(size=(4 + row % 3, 2)) for row in range(N)]
VECTORS = RNG.normal(3, 2, (N, 3))
SPLIT = ["train"] * 6 + ["valid"] * 2 + ["test"] * 2
LABELS = ["b", "a"] * 5
RNG_WAVES = [0.5 * RNG.uniform(-1, 1, 800 + 100 * row) for row in range(N)]


def png(array):
    Image.fromarray(array).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def gif(frames=3):
    images = [Image.fromarray(np.full((4, 4, 3), 80 * k, np.uint8)) for k in range(frames)]
    images[0].save(file := io.BytesIO(), "GIF", save_all=True, append_images=images[1:])
    return file.getvalue()


def everything(**changes):
    inputs = {
        "image": IMAGES,
        "audio": [(RNG_WAVES[row], 8000) for row in range(N)],
        "text": [f"word{row % 3} and more" for row in range(N)],
        "series": SERIES,
        "video": [IMAGES[row : row + 1 + row % 3] for row in range(N)],
        "vector": VECTORS,
    }
    targets = {
        "label": LABELS,
        "score": [0.5, None, *range(8)],
        "tags": [{"wet"}, {"wet", "old"}, set(), None, *[{"old"}] * 6],
        "caption": [f"a dog with {row} hats" for row in range(N)],
    }
    return from_arrays(inputs, targets, **{"split": SPLIT, "kinds": {"score": Scores(), "image": Images(size=4)}} | changes)
