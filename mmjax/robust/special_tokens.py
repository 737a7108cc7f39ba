"""The token ids of a data set's tokenizer, for attacks and defences that substitute tokens."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from mmjax.data.dataset import Column
from mmjax.robust.budgets import require
from mmjax.robust.hotflip import Substitutions

__all__ = ["special_tokens", "with_tokens"]


def special_tokens(tokenizer: Any) -> tuple[int, ...]:
    """The ids of the special tokens of a `Tokenizer`, such as padding, unknown, [CLS] and [SEP], in order."""
    added = tokenizer.library.get_added_tokens_decoder()
    return tuple(sorted(number for number, token in added.items() if token.special))


def with_tokens(value: Any, columns: Mapping[str, Column]) -> Any:
    """An attack, or a gradient with attacks, whose `Substitutions` know the vocabulary and the special tokens of the data.

    Fields that are given stay. columns: {modality: Column}. The value itself if nothing is missing. ValueError if a column has
    no tokenizer.
    """
    if isinstance(value, Mapping):
        new = {name: _filled(name, one, columns) for name, one in value.items()}
        return new if any(new[name] is not value[name] for name in value) else value
    if isinstance(value, tuple):
        parts = tuple(with_tokens(part, columns) for part in value)
        return parts if any(a is not b for a, b in zip(parts, value)) else value
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
    new = {name: with_tokens(one, columns) for name, one in fields.items()}
    changed = {name: one for name, one in new.items() if one is not fields[name]}
    return dataclasses.replace(value, **changed) if changed else value


def _filled(name: str, budget: Any, columns: Mapping[str, Column]) -> Any:
    """The budget of a modality; `Substitutions` with the tokenizer's ids where the fields are None."""
    if not isinstance(budget, Substitutions) or name not in columns:
        return with_tokens(budget, columns)
    if budget.vocabulary is not None and budget.keep is not None:
        return budget
    tokenizer = getattr(columns[name].parse, "tokenizer", None)
    message = f"budgets.{name}: the data have no tokenizer of {name!r}; name Substitutions.vocabulary and Substitutions.keep"
    require(tokenizer is not None, message)
    vocabulary = tokenizer.vocabulary if budget.vocabulary is None else budget.vocabulary
    keep = special_tokens(tokenizer) if budget.keep is None else budget.keep
    return dataclasses.replace(budget, vocabulary=vocabulary, keep=keep)
