"""DP-SGD inside other gradients, such as adversarial training that changes the batch and delegates to DP-SGD."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from mmjax.robust.privacy.gradient import DPSGD

__all__ = ["find", "with_inner"]


def find(gradient: Any) -> DPSGD | None:
    """The DP-SGD of a gradient: itself, or a field of it at any depth; None if there is none or it is switched off.

    ValueError if there are two.
    """
    found = list(_inside(gradient))
    if len(found) > 1:
        raise ValueError("gradient has two DPSGD; the noise of one cannot account for the other")
    return found[0] if found else None


def with_inner(gradient: Any, inner: Any) -> Any:
    """The gradient with its DP-SGD replaced."""
    if _is_on(gradient):
        return inner
    if not _is_value(gradient):
        return gradient
    fields = {field.name: getattr(gradient, field.name) for field in dataclasses.fields(gradient)}
    changed = {name: with_inner(value, inner) for name, value in fields.items() if list(_inside(value))}
    return dataclasses.replace(gradient, **changed)


def _inside(value: Any) -> Iterator[DPSGD]:
    if _is_on(value):
        yield value
    elif _is_value(value):
        for field in dataclasses.fields(value):
            yield from _inside(getattr(value, field.name))


def _is_value(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _is_on(value: Any) -> bool:
    return isinstance(value, DPSGD) and value.clip is not None
