"""Open questions of MMMU, by hand; `tests/parity/test_answers.py` compares with lmms-eval."""

import pytest

from mmjax.metrics.answers_mmmu import named_reference


@pytest.mark.parametrize(("answer", "reference", "right"), [
    ("The answer is 1,000.", "1000", True), ("12.504", "12.5", True), ("12.51", "12.5", False),
    ("so x is 3\nall in all, y = 4", "3", True),  # a line each
    ("a = 3\nthe result is 4", "3", False),  # "=" counts in the last line only
    ("2e3 items", "2000", True), ("It is a Green Frog!", "green frog", True), ("frog", "green frog", False),
    ("bob", "B", False), ("the plan is b", "B", True), ("it is 15", "5", False), ("", "5", False),
])  # fmt: skip
def test_open_questions(answer, reference, right):
    assert (named_reference(answer, [reference]) == reference) == right
    assert named_reference(answer, ["zzz", reference]) == (reference if right else None)
