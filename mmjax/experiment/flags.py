"""The flags of an experiment's command line, with the descriptions in the docstrings of the values that they change.

The docstring of a dataclass describes its fields as "name: text." or "name, other: text."; a flag shows this text.
"""

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["GROUPS", "MODULES", "PLAIN", "Flag", "field_texts", "flags_of", "mapped", "print_help", "shown", "with_dtype"]

GROUPS = {"run": "Run", "training": "Training and evaluation", "data": "Data", "modules": "Modules and tasks"}
MODULES = ("encoders", "fusion", "heads", "unimodal_heads", "loss_parameters", "decoders", "tasks")
PLAIN = (bool, int, float, str, Path)


class Flag(NamedTuple):
    """One flag. name: with dashes. default: its value. text: its description. group: a key of GROUPS. owner: the class of the
    value that has the field."""

    name: str
    default: Any
    text: str
    group: str
    owner: str


def flags_of(options: Any, experiment: Any) -> list[Flag]:
    """Every flag that can be set, of the run's options and of one cell."""
    return [*_flags(options, "", "run"), *_flags(experiment, "", None)]


def _flags(value: Any, prefix: str, group: str | None) -> Iterator[Flag]:
    """The flags of a dataclass. group: of all of them, None for the fields of an Experiment."""
    texts, hints = field_texts(type(value)), typing.get_type_hints(type(value), include_extras=True)
    for field in dataclasses.fields(value):
        hint = str(hints.get(field.name))
        of_module = hasattr(value, "apply") and field.name in ("parent", "name", "dtype")  # --dtype is for all
        if of_module or "Suppress" in hint:
            continue
        inner, name = getattr(value, field.name), prefix + field.name.replace("_", "-")
        own = group or ("data" if field.name == "data" else "modules" if field.name in MODULES else "training")
        without_name = "name=''" in hint
        for path, leaf in _leaves(inner, prefix.rstrip(".") if without_name else name):
            if dataclasses.is_dataclass(leaf):
                yield from _flags(leaf, f"{path}." if path else "", own)
            elif _can_be_set(leaf, hint):
                off = "no-" if leaf is True else ""
                start, _, last = path.rpartition(".")
                shown = f"--{start}.{off}{last}" if start else f"--{off}{last}"
                yield Flag(shown, leaf, texts.get(field.name, ""), own, type(value).__name__)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """(path, value) of the dataclasses and plain values in a field: itself, or the entries of a mapping."""
    nested = isinstance(value, Mapping) and any(
        dataclasses.is_dataclass(entry) or isinstance(entry, (Mapping, *PLAIN)) for entry in value.values()
    )
    if nested:
        for key, entry in value.items():
            yield from _leaves(entry, f"{path}.{str(key).replace('_', '-')}")
    elif isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)):
        for number, entry in enumerate(value):
            yield from _leaves(entry, f"{path}.{number}")
    elif not isinstance(value, Mapping) or all(isinstance(entry, PLAIN) for entry in value.values()):
        yield path, value


def _can_be_set(value: Any, hint: str) -> bool:
    """Whether a command line can express other values. hint: the type of the field; it decides for empty values."""
    if value is None:
        plain, other = r"\b(str|int|float|bool|Path|Literal)\b", r"typing\.Any|Callable"
        return bool(re.search(plain, hint)) and not re.search(other, hint)
    if isinstance(value, (Mapping, tuple)) and not value:
        plain = r"\[str, (str|int|float)\]" if isinstance(value, Mapping) else r"\[(str|int|float)\b"
        return re.search(plain, hint) is not None
    return isinstance(value, (Mapping, tuple, *PLAIN))


def field_texts(kind: type) -> dict[str, str]:
    """{field: its description} from the docstring of a dataclass."""
    fields = {field.name for field in dataclasses.fields(kind)}
    found: dict[str, str] = {}
    for paragraph in (inspect.getdoc(kind) or "").split("\n\n"):
        text = " ".join(paragraph.split())
        starts = [
            match
            for match in re.finditer(r"(?:^|(?<=[.;:] ))(\w+(?:, \w+)*): ", text)
            if set(match[1].split(", ")) <= fields
        ]
        for match, following in zip(starts, [*starts[1:], None]):
            described = text[match.end() : following.start() if following else None]
            described = re.split(r"(?:^|[.;] )(?=Raises |[A-Z]\w*Error )", described)[0].strip().rstrip(".;")
            found |= {name: described for name in match[1].split(", ")}
    return found


def print_help(flags: list[Flag], cells: list[str], cell: str, file: str, console: Console) -> None:
    """Prints the usage, an example, the cells, and every flag by group."""
    example = next((f for f in flags if f.group == "modules" and type(f.default) is float), None)
    change = f" {example.name} {example.default}" if example else ""
    lines = (
        f"usage: python {file} [CELL ...] [--FLAG VALUE ...]",
        f"example: python {file} {cell} --seeds 10{change} --out runs/mine",
        f"\ncells: {', '.join(cells)}",
        f"Without a cell, all run. These are the flags of {cell}, with their values:",
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for group, title in GROUPS.items():
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=False, overflow="fold", min_width=30, max_width=46)
        table.add_column(overflow="fold")
        for flag in (flag for flag in flags if flag.group == group):
            value = Text(flag.name, style="bold")
            if not isinstance(flag.default, bool):
                value.append(f" {shown(flag.default)}", style="cyan")
            table.add_row(value, Text(flag.text))
        if table.row_count:
            console.print(f"\n[bold]{title}[/bold]")
            console.print(table)


def shown(value: Any) -> str:
    """The default as it would be typed."""
    if isinstance(value, Mapping):
        return " ".join(f"{key} {entry}" for key, entry in value.items()) or "()"
    if isinstance(value, tuple):
        return " ".join(shown(entry) for entry in value) or "()"
    return str(value)


def with_dtype(value: Any, dtype: str) -> Any:
    """The value with the `dtype` of every module in it replaced; the field `data` of an experiment is not changed."""
    wanted = jnp.dtype(dtype)

    def change(part):
        if not hasattr(part, "apply") or not hasattr(part, "dtype") or jnp.dtype(part.dtype) == wanted:
            return part
        return dataclasses.replace(part, dtype=wanted)

    return mapped(value, change, skip=("data",))


def mapped(value: Any, change: Callable[[Any], Any], skip: Collection[str] = ()) -> Any:
    """The value with `change` applied to every part: innermost first, in the entries of mappings and tuples and the fields of
    dataclasses, except the fields `skip`. What does not change is not copied."""
    if isinstance(value, Mapping):
        entries = {name: mapped(entry, change, skip) for name, entry in value.items()}
        return entries if any(entries[name] is not entry for name, entry in value.items()) else value
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        entries = tuple(mapped(entry, change, skip) for entry in value)
        return entries if any(a is not b for a, b in zip(entries, value)) else value
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return change(value)
    hidden = ("parent", "name") if hasattr(value, "apply") else ()
    fields = [f.name for f in dataclasses.fields(value) if f.init and f.name not in (*hidden, *skip)]
    changes = {name: mapped(getattr(value, name), change, skip) for name in fields}
    changes = {name: entry for name, entry in changes.items() if entry is not getattr(value, name)}
    return change(dataclasses.replace(value, **changes) if changes else value)
