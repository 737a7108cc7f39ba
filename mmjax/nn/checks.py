"""Checks of a module's fields. Each raises ValueError with one line: the module, the field, its value, and valid values.

Modules call these when they are initialised or applied, before they use a field as a size, a count or a rate.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["divides", "non_negative", "positive", "rate", "text_ids", "transformer_fields"]


def _entries(value: Any) -> Iterator[Any]:
    """The numbers in a field: its value, or the entries of (nested) tuples; none for None."""
    if isinstance(value, (tuple, list)):
        for entry in value:
            yield from _entries(entry)
    elif value is not None:
        yield value


def _whole(value: Any, minimum: int) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= minimum


def _require(module: Any, field: str, valid: bool, requirement: str) -> None:
    if not valid:
        value = getattr(module, field)
        several = isinstance(value, (tuple, list))
        must = f"its entries must be {requirement}s" if several else f"it must be a {requirement}"
        raise ValueError(f"{type(module).__name__}.{field} is {value!r}; {must}")


def positive(module: Any, *fields: str) -> None:
    """The fields are positive integers, or tuples of them; None is valid."""
    for field in fields:
        _require(module, field, all(_whole(x, 1) for x in _entries(getattr(module, field))), "positive integer")


def non_negative(module: Any, *fields: str) -> None:
    """The fields are integers of at least 0, or tuples of them; None is valid."""
    for field in fields:
        _require(module, field, all(_whole(x, 0) for x in _entries(getattr(module, field))), "non-negative integer")


def rate(module: Any, *fields: str) -> None:
    """The fields are dropout rates, in [0, 1)."""
    for field in fields:
        value = getattr(module, field)
        if not 0 <= value < 1:
            raise ValueError(f"{type(module).__name__}.{field} is {value!r}; it must be at least 0 and below 1")


def text_ids(module: Any) -> None:
    """The fields prompt and end of a decoder: token ids below its field `vocabulary`, in prompt at least one."""
    name, last = type(module).__name__, module.vocabulary - 1
    valid = lambda x: _whole(x, 0) and x <= last
    if not isinstance(module.prompt, tuple) or not module.prompt or not all(map(valid, module.prompt)):
        raise ValueError(f"{name}.prompt is {module.prompt!r}; it must be a tuple of token ids from 0 to {last}, at least one")
    if not valid(module.end):
        raise ValueError(f"{name}.end is {module.end!r}; it must be a token id from 0 to {last}")


def transformer_fields(module: Any) -> None:
    """The fields width, depth, heads, hidden and dropout of a module that contains Transformer blocks."""
    positive(module, "hidden")
    divides(module, "heads", "width")
    non_negative(module, "depth")
    rate(module, "dropout")


def divides(module: Any, field: str, total: str) -> None:
    """`field` is a positive integer that divides the field `total`, as the number of heads divides the width."""
    positive(module, field, total)
    part, whole = getattr(module, field), getattr(module, total)
    if whole % part:
        name = type(module).__name__
        raise ValueError(f"{name}.{field} is {part!r}; it must divide {name}.{total}, which is {whole!r}")
