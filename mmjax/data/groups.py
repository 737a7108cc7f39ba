"""Groups of examples that must share a split: connected components, and near-duplicate images."""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from PIL import Image

__all__ = [
    "NEAR_DUPLICATE", "SAME_DRAWING", "THUMBNAIL_SIDE", "connected_groups", "drawn_part", "near_duplicates",
    "pairs_sharing_a_key", "same_drawings", "thumbnail",
]

NEAR_DUPLICATE = 0.17
"""Default threshold of `near_duplicates`, chosen by eye on Stamps: pairs below it are recoloured eyes, coins, faces, mirrored
letters and signs; the first pair of different objects, an apple and a basketball, has the distance 0.176."""

SAME_DRAWING = 0.07
"""Default threshold of `same_drawings`, also chosen by eye: pairs below it are dreidels with another letter, faces with another
mouth, coins and road signs with another figure; the first pair of different objects, two apples, has the distance 0.077."""

THUMBNAIL_SIDE = 24  # pixels; few enough to ignore small changes, enough to distinguish letters


def connected_groups(n: int, pairs: Iterable[Sequence[int]]) -> np.ndarray:
    """Connected components of an undirected graph.

    n: the number of examples. pairs: edges (i, j), with i and j in [0, n).
    Returns int64 (n,): group numbers 0, 1, ... in order of first appearance.
    Raises ValueError for an edge outside [0, n).
    """
    parent = list(range(n))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]  # path halving
            i = parent[i]
        return i

    for i, j in pairs:
        if not (0 <= i < n and 0 <= j < n):
            raise ValueError(f"pairs contains ({i}, {j}); both must lie in [0, {n})")
        low, high = sorted((find(i), find(j)))
        parent[high] = low
    roots: dict[int, int] = {}
    return np.array([roots.setdefault(find(i), len(roots)) for i in range(n)], dtype=np.int64)


def pairs_sharing_a_key(keys: Sequence[Iterable[Hashable]]) -> list[tuple[int, int]]:
    """Edges that connect all examples with a common key.

    keys: for each example, its hashable keys (captions, hashes of files, ...).
    Returns pairs (first example with a key, other example with this key), which suffice for `connected_groups`.
    """
    first: dict[Hashable, int] = {}
    return [(first[key], i) for i, own in enumerate(keys) for key in own if first.setdefault(key, i) != i]


def drawn_part(image: np.ndarray) -> np.ndarray:
    """The bounding box of the visible pixels, centred in a transparent square.

    image: uint8 (h, w, 4), straight alpha. Returns uint8 (side, side, 4); an empty image is returned unchanged.
    """
    alpha = image[..., 3] > 16  # a soft shadow of less than 6 % should not enlarge the box
    if not alpha.any():
        return image
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    part = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = max(part.shape[:2])
    top, left = ((side - length) // 2 for length in part.shape[:2])
    square = np.zeros((side, side, 4), np.uint8)
    square[top : top + part.shape[0], left : left + part.shape[1]] = part
    return square


def thumbnail(image: np.ndarray) -> np.ndarray:
    """A small copy of an image, in which transparent pixels are 0.

    image: uint8 (h, w, 4), straight alpha. Returns float64 (24, 24, 4): the colours over white, minus 1, in [-1, 0], and the
    opacity in [0, 1], which distinguishes a white shape from an empty image.
    """
    small = Image.fromarray(image).resize((THUMBNAIL_SIDE,) * 2, Image.Resampling.BOX)
    pixels = np.asarray(small, dtype=np.float64) / 255
    opacity = pixels[..., 3:]
    return np.concatenate([(pixels[..., :3] - 1) * opacity, opacity], axis=-1)


def near_duplicates(images: Sequence[np.ndarray], threshold: float = NEAR_DUPLICATE) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of images that look nearly equal, mirrored or not.

    images: n arrays, uint8 (h, w, 4), of any sizes. threshold: the largest distance of a pair. The distance is the norm of the
    difference of two thumbnails, divided by the geometric mean of their norms (dimensionless: 0 equal, about 1 unrelated).
    Without the division, any two thin drawings on an empty background would be close. Whole images and their drawn parts are
    compared, and the smaller distance counts, so size and position do not matter.
    Returns (pairs, distances): int64 (m, 2) with i < j, and float64 (m,), sorted by (i, j).
    """
    if len(images) < 2:
        return np.zeros((0, 2), np.int64), np.zeros(0)
    distance = np.minimum(_distances(images), _distances([drawn_part(image) for image in images]))
    i, j = np.nonzero(np.triu(distance <= threshold, k=1))
    return np.stack([i, j], axis=1), distance[i, j]


def same_drawings(images: Sequence[np.ndarray], threshold: float = SAME_DRAWING) -> np.ndarray:
    """Pairs of images that differ in a small part, however strongly, such as one drawing with two different letters.

    images: n arrays, uint8 (h, w, 4). threshold: the largest distance of a pair, sum |a - b| / (sum |a| + sum |b|) of their
    thumbnails a and b (dimensionless: 0 equal, 1 nothing in common).
    Returns int64 (m, 2) with i < j.
    """
    small = np.stack([thumbnail(image).ravel() for image in images]) if len(images) else np.zeros((0, 1))
    size = np.maximum(np.abs(small).sum(axis=1), 1e-6)
    pairs = [
        (i, i + 1 + int(j))
        for i in range(len(small) - 1)
        for j in np.flatnonzero(np.abs(small[i + 1 :] - small[i]).sum(axis=1) <= threshold * (size[i] + size[i + 1 :]))
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)


def _distances(images: Sequence[np.ndarray]) -> np.ndarray:
    """Relative distances of all thumbnails, mirrored or not: float64 (n, n)."""
    plain = np.stack([thumbnail(image).ravel() for image in images])
    # Mirrored before it is reduced, since the pixels of a thumbnail need not be aligned with those of the image.
    mirrored = np.stack([thumbnail(np.ascontiguousarray(image[:, ::-1])).ravel() for image in images])
    norms = np.maximum(np.linalg.norm(plain, axis=1), 1e-6)  # two empty images are equal, not 0 / 0
    squares = []
    for other in (plain, mirrored):
        square = (plain**2).sum(1)[:, None] + (other**2).sum(1)[None] - 2 * plain @ other.T
        squares.append(np.where(square < 1e-9, 0, square))  # equal rows differ by rounding
    # Mirroring the first or the second image of a pair gives slightly different distances; the smaller one counts.
    smallest = np.minimum(squares[0], np.minimum(squares[1], squares[1].T))
    return np.sqrt(smallest / np.outer(norms, norms))
