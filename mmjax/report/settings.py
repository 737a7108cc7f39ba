"""The settings that differ between the cells of a run, and durations as text."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mmjax.report.numbers import NONE, Number

__all__ = ["duration", "settings_that_differ"]


def settings_that_differ(experiments: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """{setting: its value in every experiment}; a dash where an experiment has no such setting."""
    flat = [_flat(experiment) for experiment in experiments]
    names = dict.fromkeys(name for settings in flat for name in settings)
    values = {name: [settings.get(name, NONE) for settings in flat] for name in names}
    return {name: each for name, each in values.items() if len(set(each)) > 1}


def _flat(tree: Any, prefix: str = "") -> dict[str, str]:
    """`{"optim": {"lr": 0.1}}` -> `{"optim.lr": "0.1"}`; a list is one value, and classes and functions have no module."""
    if isinstance(tree, Mapping) and tree:
        if set(tree) <= {"function", "dtype", "path"}:  # see `mmjax.describe.as_json`
            return {prefix: next(iter(tree.values())).rpartition(":")[2]}
        tree = {name: sub.rpartition(":")[2] if name == "class" else sub for name, sub in tree.items()}
        inner = [_flat(sub, f"{prefix}.{name}" if prefix else str(name)) for name, sub in tree.items()]
        return {name: value for settings in inner for name, value in settings.items()}
    return {prefix: tree if isinstance(tree, str) else json.dumps(tree, ensure_ascii=False)}


def duration(seconds: Number) -> str:
    """`5 min 11 s`, or `41.2 s` under a minute."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
