"""Bounds of a step on named chips, by hand."""

import pytest

from mmjax.experiment.chips import CHIPS, Chip, bound, chips_table, collectives_table
from mmjax.train.program import Collective, Program

CHIP = Chip(100, 8, 50, "a data sheet")
PROGRAM = Program(4e14, {"all-gather": Collective(3, 1e11), "all-reduce": Collective(1, 5e10)})


def test_products_or_collectives_limit_a_step():
    """4e14 products take 4 s at 1e14 per second; 150 GB take 3 s at 50 GB/s."""
    found = bound(CHIP, PROGRAM, 8 * 10**9, 3e14)
    assert found.fits and found.compute == pytest.approx(4) and found.sending == pytest.approx(3)
    assert found.mfu == pytest.approx(3 / 4)
    slow = bound(CHIP._replace(link=25), PROGRAM, 8 * 10**9 + 1, 3e14)
    assert not slow.fits and slow.sending == pytest.approx(6) and slow.mfu == pytest.approx(3 / 6)
    assert bound(CHIP, PROGRAM, 0).mfu == 1  # all products of the program count


def test_each_chip_has_a_line():
    table = chips_table([("a", PROGRAM, 10**10, None)])
    assert table.row_count == len(CHIPS)
    assert collectives_table([("a", PROGRAM)]).row_count == 2
    assert all(chip.source.startswith("https://") for chip in CHIPS.values())
