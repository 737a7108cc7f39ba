import numpy as np
import pytest

from mmjax.audit.swaps import partners


@pytest.mark.parametrize("seed", range(5))
def test_partners_differ_in_key_and_are_used_once(seed):
    rng = np.random.default_rng(seed)
    key, eligible = rng.integers(0, 6, 40), rng.random(40) < 0.8
    found = partners(key, eligible, seed)
    assert (found[~eligible] == -1).all()
    rows = np.flatnonzero(eligible)
    assert np.bincount(key[rows]).max() <= len(rows) / 2
    assert (key[found[rows]] != key[rows]).all() and sorted(found[rows]) == rows.tolist()


def test_a_key_of_most_rows_leaves_some_without_partner():
    key = np.array([0, 0, 0, 0, 1, 2])
    found = partners(key, np.ones(6, bool))
    paired = found >= 0
    assert (key[found[paired]] != key[paired]).all() and 0 < paired.sum() < 6
    assert (partners(key, np.zeros(6, bool)) == -1).all()
    assert (partners(np.zeros(4, int), np.ones(4, bool)) == -1).all()
