"""Which examples must stay together: leak-free groups by union-find, and near-duplicate images."""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from PIL import Image

NEAR_DUPLICATE = 0.17
"""Default threshold, chosen by eye on the Stamps set: below it come recoloured eyes, coins of one series and
mirrored letters; the first pair of different things, an apple and a basketball, comes at 0.176."""

FINGERPRINT_SIDE = 24  # pixels; small enough to forgive a redraw at another size, large enough to tell letters apart


def connected_groups(n: int, pairs: Iterable[tuple[int, int]]) -> np.ndarray:
    """Connected components of an undirected graph.

    n: number of examples; pairs: edges (i, j), each end in [0, n).
    Returns int64 (n,): group numbers 0, 1, ... in the order in which the groups first appear.
    Raises ValueError for an end outside [0, n).
    """
    parent = list(range(n))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]  # path halving keeps the trees flat
            i = parent[i]
        return i

    for i, j in pairs:
        if not (0 <= i < n and 0 <= j < n):
            raise ValueError(f"pairs holds ({i}, {j}), but both ends must lie in [0, {n})")
        low, high = sorted((find(i), find(j)))
        parent[high] = low
    roots: dict[int, int] = {}
    return np.array([roots.setdefault(find(i), len(roots)) for i in range(n)], dtype=np.int64)


def pairs_sharing_a_key(keys: Sequence[Iterable[Hashable]]) -> list[tuple[int, int]]:
    """Edges that join every two examples with a key in common.

    keys: one collection of hashable keys an example (captions, hashes of files, ...).
    Returns (first holder, other holder) pairs: enough edges for the same components, not every pair.
    """
    first: dict[Hashable, int] = {}
    return [(first[key], i) for i, own in enumerate(keys) for key in own if first.setdefault(key, i) != i]


def fingerprint(image: np.ndarray) -> np.ndarray:
    """What an image looks like, whatever its size and place on the canvas.

    image: uint8 (h, w, 4), straight alpha. Returns float64 (side, side, 4) in [0, 1]: the colours over white and
    the opacity of the drawn part, fitted into a square. The opacity keeps a white shape apart from an empty canvas.
    """
    alpha = image[..., 3] > 16  # fainter than 6 % is a soft shadow, which should not move the box
    if not alpha.any():
        return np.tile(np.array([1.0, 1.0, 1.0, 0.0]), (FINGERPRINT_SIDE, FINGERPRINT_SIDE, 1))
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    drawn = Image.fromarray(image).crop((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    side = max(drawn.size)
    square = Image.new("RGBA", (side, side))
    square.paste(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2))
    small = np.asarray(square.resize((FINGERPRINT_SIDE,) * 2, Image.Resampling.BOX), dtype=np.float64) / 255
    opacity = small[..., 3:]
    return np.concatenate([small[..., :3] * opacity + (1 - opacity), opacity], axis=-1)


def near_duplicates(images: Sequence[np.ndarray], threshold: float = NEAR_DUPLICATE) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of images that look nearly equal, one of them mirrored or not.

    images: n arrays, uint8 (h, w, 4), of any sizes. threshold: largest distance, which is the norm of the difference
    of two fingerprints over the geometric mean of what each draws (dimensionless: 0 equal, about 1 unrelated).
    Without that division, two thin drawings on much empty canvas would pass for equal.
    Returns (pairs, distances): int64 (m, 2) with i < j, and float64 (m,), sorted by (i, j).
    """
    if len(images) < 2:
        return np.zeros((0, 2), np.int64), np.zeros(0)
    empty = np.array([1.0, 1.0, 1.0, 0.0])
    drawn = np.stack([fingerprint(image) for image in images]) - empty
    plain, mirrored = (a.reshape(len(images), -1) for a in (drawn, drawn[:, :, ::-1]))
    ink = np.maximum(np.linalg.norm(plain, axis=1), 1e-6)  # so that two empty images are equal, not 0 / 0
    distance = np.minimum(_distances(plain, plain), _distances(plain, mirrored)) / np.sqrt(np.outer(ink, ink))
    i, j = np.nonzero(np.triu(distance <= threshold, k=1))
    return np.stack([i, j], axis=1), distance[i, j]


def _distances(a_nd: np.ndarray, b_md: np.ndarray) -> np.ndarray:
    squares = (a_nd**2).sum(1)[:, None] + (b_md**2).sum(1)[None] - 2 * a_nd @ b_md.T
    return np.sqrt(np.where(squares < 1e-9, 0, squares))  # what is left of equal rows is rounding
