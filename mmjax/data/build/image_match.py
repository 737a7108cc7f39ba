"""Near-duplicate images: recompressed, resized, recoloured slightly, mirrored or cropped.

A perceptual hash of low frequencies (pHash: the discrete cosine transform of a small image) gives candidates, also for mirrored
images and 18 crops of each. Binary hashes lose too much on drawings, so the coefficients are compared by their cosine. A
candidate's score is the correlation of the two images after the crop is registered by hill climbing.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image

from mmjax.data.build.nearest import Candidates, Pairs, best_pairs, nearest, pairs_between_groups, unit
from mmjax.data.image import on_white

__all__ = [
    "BOXES", "CHANNELS", "COSINES", "FLOOR", "FREQUENCIES", "HOPELESS", "LEAST", "MOVES", "NEIGHBOURS", "REGISTERED",
    "SIDE", "SMALL", "STEPS", "Look", "image_duplicates", "image_pairs", "look", "registered",
]  # fmt: skip

SIDE = 64  # pixels of the stored copies
SMALL = 32  # pixels of the transformed image
FREQUENCIES = 10  # per axis
REGISTERED = 24  # pixels that are correlated
NEIGHBOURS = 6  # candidates per image and round of the search
FLOOR = 0.6  # cosine of a candidate
STEPS = (0.06, 0.03, 0.015)  # of the registration, as a share of the side
LEAST = 0.5  # of the side that a crop may keep
HOPELESS = 0.75  # correlation after the first step below which pairs are not registered further
CHANNELS = np.array([1, 2, 2], np.float32)  # weights of Y, Cb and Cr, since colours differ less than brightness

BOXES = [(0.0, 0.0, 1.0, 1.0)] + [
    (x * (1 - s), y * (1 - s), x * (1 - s) + s, y * (1 - s) + s) for s in (0.9, 0.8) for y in (0, 0.5, 1) for x in (0, 0.5, 1)
]
"""(left, top, right, bottom) as shares of the side: the whole, and nine crops of 90 % and of 80 % of each side."""

COSINES = np.cos(np.pi * np.outer(np.arange(FREQUENCIES), np.arange(SMALL) + 0.5) / SMALL).astype(np.float32)


class Look(NamedTuple):
    """An image for comparison. plain, mirrored: Pillow images, YCbCr, 64 x 64. variants: float32 [38 d], unit descriptors: the
    boxes of the plain image, then those of the mirrored one."""

    plain: Image.Image
    mirrored: Image.Image
    variants: np.ndarray


def look(pixels: np.ndarray) -> Look:
    """uint8 [h w 3] or [h w 4], which is drawn over white -> Look."""
    rgb = Image.fromarray(np.ascontiguousarray(on_white(pixels)[..., :3]))
    plain = rgb.resize((SIDE, SIDE), Image.Resampling.BOX).convert("YCbCr")
    mirrored = plain.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    crops = [_cut(image, box, SMALL) for image in (plain, mirrored) for box in BOXES]
    low = np.einsum("fh,vhwc,gw->vcfg", COSINES, np.stack(crops) * CHANNELS, COSINES, optimize=True)
    return Look(plain, mirrored, unit(low.reshape(len(crops), 3, -1)[..., 1:].reshape(len(crops), -1)))


def _cut(image: Image.Image, box: Iterable[float], side: int) -> np.ndarray:
    """uint8 [side side 3]: this part of the image."""
    left, top, right, bottom = (SIDE * float(edge) for edge in box)
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=(left, top, right, bottom)))


def image_pairs(queries: Sequence[Look], keys: Sequence[Look]) -> Pairs:
    """Scored pairs of queries and their nearest keys.

    score: the correlation of pixels after registration, 1 for equal images, about 0 for unrelated ones.
    """
    if not queries or not keys:
        return Pairs(np.zeros((0, 2), np.int64), np.zeros(0))
    found = nearest(_variants(queries), _variants(keys), NEIGHBOURS, FLOOR)
    return best_pairs(found.query, found.key, _scores(queries, keys, found), same=False)


def image_duplicates(looks: Sequence[Look], threshold: float, known: np.ndarray) -> Pairs:
    """Scored pairs (i < j) among the images; see `pairs_between_groups` for threshold and known."""
    if not looks:
        return Pairs(np.zeros((0, 2), np.int64), np.zeros(0))
    return pairs_between_groups(_variants(looks), partial(_scores, looks, looks), threshold, known, NEIGHBOURS, FLOOR)


def _variants(looks: Sequence[Look]) -> np.ndarray:
    return np.stack([one.variants for one in looks])


def _scores(queries: Sequence[Look], keys: Sequence[Look], found: Candidates) -> np.ndarray:
    return np.array([
        registered(queries[i], v, keys[j]) if v >= 0 else registered(keys[j], -1 - v, queries[i])
        for i, j, v in zip(*(column.tolist() for column in found))
    ])  # fmt: skip


def registered(whole: Look, variant: int, part: Look) -> float:
    """The largest correlation of `part` with a box of `whole`, by hill climbing from the box of this variant.

    The search ends early if the images are too different for any useful threshold.
    """
    image = whole.plain if variant < len(BOXES) else whole.mirrored
    target = _patterns(part.plain, np.array(BOXES[:1]))[0]
    box = np.array(BOXES[variant % len(BOXES)])
    score = float(_patterns(image, box[None])[0] @ target)
    for step in STEPS:
        for _ in range(4):
            moved = np.clip(box + step * MOVES, 0, 1)
            moved = moved[np.minimum(moved[:, 2] - moved[:, 0], moved[:, 3] - moved[:, 1]) >= LEAST]
            scores = _patterns(image, moved) @ target
            best = int(np.argmax(scores))
            if scores[best] <= score + 1e-3:
                break
            box, score = moved[best], float(scores[best])
        if score < HOPELESS:
            break
    return score


MOVES = np.concatenate([np.eye(4), -np.eye(4), [(1, 0, 1, 0), (-1, 0, -1, 0), (0, 1, 0, 1), (0, -1, 0, -1)]])
"""Of one edge of a box, and of the whole box."""


def _patterns(image: Image.Image, boxes: np.ndarray) -> np.ndarray:
    """Float[boxes 4] -> float32 [boxes 3 side^2]: mean 0 in each channel and norm 1, so that a product is a correlation."""
    parts = np.stack([_cut(image, box, REGISTERED) for box in boxes]) * CHANNELS
    return unit((parts - parts.mean(axis=(1, 2), keepdims=True)).reshape(len(parts), -1))
