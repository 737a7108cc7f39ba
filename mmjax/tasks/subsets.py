"""Subsets of modalities: which ones are scored, and their names in results."""

from collections.abc import Sequence
from itertools import combinations

from mmjax.types import Subset

__all__ = ["MAX_MODALITIES", "subset_name", "subsets_of"]

MAX_MODALITIES = 6  # the largest number of which every subset is scored; 12 modalities have 4,095 subsets


def subsets_of(modalities: Sequence[str]) -> tuple[Subset, ...]:
    """Every non-empty subset, small subsets first, names sorted: 7 subsets of three modalities.

    With more than MAX_MODALITIES modalities: single modalities, all but one, and all.
    """
    names = sorted(modalities)
    count = len(names)
    sizes = range(1, count + 1) if count <= MAX_MODALITIES else (1, count - 1, count)
    return tuple(chosen for size in sizes for chosen in combinations(names, size))


def subset_name(subset: Subset) -> str:
    """The name of a subset in results: its modalities joined by "+"."""
    return "+".join(subset)
