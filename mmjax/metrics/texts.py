"""Checks of the texts that a metric compares."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

__all__ = ["check_texts", "flat"]


def check_texts(hypotheses: Any, references: Any) -> None:
    """Raises ValueError, naming the unit, unless there are u texts and u lists of at least one text."""
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses and {len(references)} lists of references; there must be one list each")
    for unit, (hypothesis, of_unit) in enumerate(zip(hypotheses, references)):
        if not isinstance(hypothesis, str):
            raise ValueError(f"hypotheses[{unit}] must be a string, not {type(hypothesis).__name__}")
        if isinstance(of_unit, str) or not len(of_unit) or not all(isinstance(text, str) for text in of_unit):
            raise ValueError(f"references[{unit}] must be a list of one or more strings, not {of_unit!r:.60}")


def flat(references: Sequence[Sequence[str]]) -> tuple[list[str], np.ndarray]:
    """(all r references, Int64[r] the unit of each one)."""
    sizes = np.array([len(texts) for texts in references], np.int64)
    return list(chain.from_iterable(references)), np.repeat(np.arange(len(references)), sizes)
