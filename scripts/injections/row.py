"""One row of the scoreboard, and checks as text."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["Inject", "Row", "problem"]

Inject = Callable[[np.random.Generator, int | None, Path], Iterator[tuple[str, str | None]]]
"""(random, number of faults or None for all, an empty folder) -> for each fault, what was injected and what was unexpected."""


@dataclass(frozen=True)
class Row:
    """count, quick: the number of faults, in full and with --quick; None for all that there are."""

    number: int
    name: str
    count: int | None
    quick: int | None
    inject: Inject


def problem(check: Callable[[], object]) -> str | None:
    """None if the check passes, else its error in one line."""
    try:
        check()
    except Exception as error:  # whatever goes wrong is a finding
        return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
    return None
