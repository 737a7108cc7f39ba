"""Checks of the fields that the emoji data sets share."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from mmjax.data.custom.splitting import KFold
from mmjax.data.decode import DataError
from mmjax.data.emoji.drawings import STYLES

__all__ = ["check_fields"]


def check_fields(data: Any, ranges: Mapping[str, tuple[int | float, int | float]]) -> None:
    """DataError, naming the field, for a value that `EmojiSentiment` or `EmojiNames` cannot have.

    ranges: {field: (lowest, highest)}. Both have styles and languages, of which each needs one at least, and folds.
    """
    owner = type(data).__name__
    for name, (low, high) in ranges.items():
        if not low <= getattr(data, name) <= high:
            raise DataError(f"{owner}.{name} is {getattr(data, name)}; it must be from {low} to {high:g}")
    for name in ("styles", "test_styles", "languages", "test_languages"):
        values = getattr(data, name)
        if not values or max(Counter(values).values()) > 1:
            raise DataError(f"{owner}.{name} is {values}; it must have at least one value, and none twice")
        unknown = [value for value in values if "styles" in name and value not in STYLES]
        if unknown:
            raise DataError(f"{owner}.{name} has {unknown[0]!r}; there are {', '.join(STYLES)}")
    try:
        KFold(data.folds, data.fold, data.split_seed)
    except DataError as error:
        raise DataError(str(error).replace("KFold", owner)) from None
