"""Groups of emoji that must share a split: variants of one concept by code, by name or by drawing."""

import re
from collections.abc import Sequence

import numpy as np

from mmjax.data.emoji.files import Emoji
from mmjax.data.groups import connected_groups, near_duplicates, pairs_sharing_a_key

__all__ = ["DUPLICATE", "PEOPLE", "VARIANTS", "WITHOUT", "concept", "emoji_groups", "noun"]

DUPLICATE = 0.06
"""Threshold of `near_duplicates`, chosen by eye: pairs below it are mirrored moons, hands, arrows and buttons. The first pairs
of different meaning are a confused and a neutral face, .068 (Twitter), and two faces with horns, .075 (Google): in faces, a
small difference is the meaning, so they are not joined."""

VARIANTS = {"FE0F", "200D", "2640", "2642", "1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"}
"""Code points of presentation, joining, gender and skin tone."""
PEOPLE = {"1F468": "1F9D1", "1F469": "1F9D1", "1F466": "1F9D2", "1F467": "1F9D2"}
"""Man and woman -> person; boy and girl -> child."""
WITHOUT = frozenset(
    "red orange yellow green blue light dark purple brown black white grey pink up down left right upwards downwards "
    "rightwards leftwards man men woman women person people boy girl child small medium large big clockwise counterclockwise "
    "one two three four five six seven eight nine ten eleven twelve thirty".split()
)
"""Words of colour, direction, sex, size and number, which distinguish variants of a concept."""


def concept(code: str) -> str:
    """The code without variants; a person of any sex is one concept."""
    return "-".join(PEOPLE.get(part, part) for part in code.split("-") if part not in VARIANTS)


def noun(name: str) -> str:
    """An English name without the words of WITHOUT; the name itself if nothing else is left."""
    words = re.findall(r"[^\W_]+(?:[’'][^\W_]+)*", name.casefold())
    kept = [word for word in words if word not in WITHOUT and not word.isdigit()]
    return " ".join(kept or words)


def emoji_groups(emoji: Sequence[Emoji], names: Sequence[str], drawings: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Int32[n]: the group of each emoji.

    Emoji are joined if they have an equal `concept`, an equal `noun`, or nearly equal drawings (mirrored or not) in a style.
    names: in English, "" if there is none. drawings: for each style uint8 [h w 4] of each emoji.
    """
    keys = [[("concept", concept(one.code))] + [("noun", noun(name))] * bool(name) for one, name in zip(emoji, names)]
    pairs = list(pairs_sharing_a_key(keys))
    for images in drawings:
        pairs += near_duplicates(images, DUPLICATE)[0].tolist()
    return connected_groups(len(emoji), pairs).astype(np.int32)
