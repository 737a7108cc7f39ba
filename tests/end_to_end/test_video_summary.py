"""The parts of a summary that `experiments/video_summary.py` scores, and its evenly spaced frames."""

import runpy

import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.encoders import Features
from mmjax.types import Padded
from tests.end_to_end.conftest import ROOT


@pytest.fixture(scope="module")
def file():
    return runpy.run_path(str(ROOT / "experiments" / "video_summary.py"))


def test_parts_of_a_summary(file):
    attack = {"race": "elf", "deed": "attacks", "weapon": "long bow", "rest": None}
    assert file["parts_of"]("an elf attacks with its long bow") == attack
    death = {"race": "dunefolk human", "deed": "dies", "weapon": None, "rest": "dies"}
    assert file["parts_of"]("a dunefolk human dies") == death
    assert set(file["parts_of"]("a human").values()) == {None}


def test_a_part_is_scored_where_the_reference_has_it(file):
    """The weapon counts for attacks alone, "rest" for the others; weights 1, 2 and 1."""
    hits = {"weapon": np.array([True, True, False]), "rest": np.array([False, True, True])}
    asked = {"weapon_asked": np.array([True, False, True]), "rest_asked": np.array([False, True, False])}
    weight = jnp.array([1.0, 2.0, 1.0])
    assert float(file["PARTS"]["weapon"].value(hits | asked, weight)) == 0.5
    assert float(file["PARTS"]["rest"].value(hits | asked, weight)) == 1.0


@pytest.mark.parametrize(
    ("keep", "kept"), [(1, [[0], [0]]), (2, [[0, 5], [0, 1]]), (3, [[0, 2, 5], [0, 1]])]
)  # of 6 and of 2 frames; 2.5 is rounded to 2
def test_kept_frames_are_evenly_spaced(file, keep, kept):
    x = jnp.arange(6.0)[None, :, None].repeat(2, 0)
    tokens = file["Spaced"](Features(width=None), keep).apply({}, Padded(x, jnp.array([6, 2])))
    assert [x[mask, 0].tolist() for x, mask in zip(np.asarray(tokens.x), np.asarray(tokens.mask))] == kept
