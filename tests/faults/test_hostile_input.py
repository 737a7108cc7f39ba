"""Hostile files: each gives one line that names the file within a second and 500 MB, and no code in it is executed."""

import pytest

from tests.faults.hostile import PATTERNS, assert_one_line, read_all


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return read_all(tmp_path_factory.mktemp("hostile"))


def test_every_case_ran(results):
    assert results.keys() == PATTERNS.keys() and len(PATTERNS) > 200


@pytest.mark.parametrize("name", PATTERNS)
def test_one_line(results, name):
    assert_one_line(name, results[name])
