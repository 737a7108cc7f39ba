"""Which examples must stay together: leak-free groups by union-find, and near-duplicate images."""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from PIL import Image

NEAR_DUPLICATE = 0.17
"""Default threshold, chosen by eye on the Stamps set: below it come recoloured eyes, coins, faces, mirrored
letters and signs; the first pair of different things, an apple and a basketball, comes at 0.176."""

SAME_DRAWING = 0.07
"""Default threshold of `same_drawings`, chosen likewise: below it come dreidels with another letter, faces with another
mouth, coins and road signs with another figure; the first pair of different things, two apples, comes at 0.077."""

FINGERPRINT_SIDE = 24  # pixels; few enough to forgive a redraw, enough to tell letters apart


def connected_groups(n: int, pairs: Iterable[Sequence[int]]) -> np.ndarray:
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


def drawn_part(image: np.ndarray) -> np.ndarray:
    """The part of a canvas that something is drawn on, centred in a transparent square.

    image: uint8 (h, w, 4), straight alpha. Returns uint8 (side, side, 4); an empty canvas as it is.
    """
    alpha = image[..., 3] > 16  # fainter than 6 % is a soft shadow, which should not move the box
    if not alpha.any():
        return image
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    part = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = max(part.shape[:2])
    top, left = ((side - length) // 2 for length in part.shape[:2])
    square = np.zeros((side, side, 4), np.uint8)
    square[top : top + part.shape[0], left : left + part.shape[1]] = part
    return square


def fingerprint(image: np.ndarray) -> np.ndarray:
    """What an image looks like from afar, minus what an empty canvas looks like.

    image: uint8 (h, w, 4), straight alpha. Returns float64 (24, 24, 4): the colours over white, less 1, in [-1, 0],
    and the opacity in [0, 1], which keeps a white shape apart from an empty canvas.
    """
    small = Image.fromarray(image).resize((FINGERPRINT_SIDE,) * 2, Image.Resampling.BOX)
    pixels = np.asarray(small, dtype=np.float64) / 255
    opacity = pixels[..., 3:]
    return np.concatenate([(pixels[..., :3] - 1) * opacity, opacity], axis=-1)


def near_duplicates(images: Sequence[np.ndarray], threshold: float = NEAR_DUPLICATE) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of images that look nearly equal, one of them mirrored or not.

    images: n arrays, uint8 (h, w, 4), of any sizes. threshold: largest distance, which is the norm of the difference
    of two fingerprints over the geometric mean of their norms (dimensionless: 0 equal, about 1 unrelated).
    Without that division, two thin drawings on much empty canvas would pass for equal. The smaller of two distances
    counts: of the whole canvases, and of the drawn parts, which forgives another size or place.
    Returns (pairs, distances): int64 (m, 2) with i < j, and float64 (m,), sorted by (i, j).
    """
    if len(images) < 2:
        return np.zeros((0, 2), np.int64), np.zeros(0)
    distance = np.minimum(_distances(images), _distances([drawn_part(image) for image in images]))
    i, j = np.nonzero(np.triu(distance <= threshold, k=1))
    return np.stack([i, j], axis=1), distance[i, j]


def same_drawings(images: Sequence[np.ndarray], threshold: float = SAME_DRAWING) -> np.ndarray:
    """Pairs of images of which most is equal and little differs, however much: one drawing with another letter on it.

    images: n arrays, uint8 (h, w, 4). threshold: largest share of what is drawn that differs, sum |a - b| over
    sum |a| + sum |b| of two fingerprints (dimensionless, 0 equal, 1 nothing in common).
    Returns int64 (m, 2) with i < j.
    """
    prints = np.stack([fingerprint(image).ravel() for image in images]) if len(images) else np.zeros((0, 1))
    drawn = np.maximum(np.abs(prints).sum(axis=1), 1e-6)
    pairs = [
        (i, i + 1 + int(j))
        for i in range(len(prints) - 1)
        for j in np.flatnonzero(np.abs(prints[i + 1 :] - prints[i]).sum(axis=1) <= threshold * (drawn[i] + drawn[i + 1 :]))
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)


def _distances(images: Sequence[np.ndarray]) -> np.ndarray:
    """Relative distances of all fingerprints, mirrored or not: float64 (n, n)."""
    plain = np.stack([fingerprint(image).ravel() for image in images])
    # Mirrored before the fingerprint is taken: its pixels need not line up with the image's own.
    mirrored = np.stack([fingerprint(np.ascontiguousarray(image[:, ::-1])).ravel() for image in images])
    norms = np.maximum(np.linalg.norm(plain, axis=1), 1e-6)  # so that two empty images are equal, not 0 / 0
    squares = []
    for other in (plain, mirrored):
        square = (plain**2).sum(1)[:, None] + (other**2).sum(1)[None] - 2 * plain @ other.T
        squares.append(np.where(square < 1e-9, 0, square))  # what is left of equal rows is rounding
    # One of a pair is mirrored; taking either gives the same up to where pixels end, so the smaller one counts.
    smallest = np.minimum(squares[0], np.minimum(squares[1], squares[1].T))
    return np.sqrt(smallest / np.outer(norms, norms))
