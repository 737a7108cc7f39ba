"""Normalisation of columns, by hand."""

import jax
import numpy as np
import pytest

from mmjax.data.dataset import Column, identity, stack
from mmjax.data.decode import DataError
from mmjax.data.scale import Standardize, UnitDirections, standardized
from mmjax.types import Padded


def items(column):
    return stack([column.read(i) for i in range(column.count)])


def test_z_scores_by_hand():
    """Items 0, 1 and 3 are training items: 1, 3 and 5 have mean 3 and variance 8/3. Item 2 is far off and not used."""
    values = np.array([1, 3, 1000, 5], np.float32)
    column = Column(4, lambda i: np.full((2, 2), values[i]), identity)
    z = standardized(column, np.array([0, 1, -1, 3, 3, 3]))  # an item counts once, however many rows point to it
    np.testing.assert_allclose(np.asarray(z.preprocess(items(column)))[:, 0, 0], (values - 3) / np.sqrt(8 / 3), rtol=1e-5)


def test_padding_does_not_count():
    """Steps 2 and 4 of one clip and 6 of another: mean 4. Values beyond the length are 1e6."""
    steps = np.array([[[2], [4], [1e6]], [[6], [1e6], [1e6]]], np.float32)
    clips = Column(2, lambda i: Padded(steps[i], np.int32(2 - i)), identity)
    z = standardized(clips, np.array([0, 1])).preprocess(Padded(steps, np.array([2, 1])))
    np.testing.assert_allclose(
        np.asarray(z.x)[[0, 0, 1], [0, 1, 0], 0], np.array([-2, 0, 2]) / np.sqrt(8 / 3), atol=1e-6
    )


def test_constant_features_become_zero():
    """Such as the alpha channel of opaque images; not 0 / 0."""
    z = standardized(Column(3, lambda i: np.ones((2, 1), np.float32), identity), np.arange(3))
    assert not np.asarray(z.preprocess(np.ones((1, 2, 1), np.float32))).any()


def test_at_most_max_items_are_read_evenly_spaced():
    read = []
    column = Column(101, lambda i: read.append(i) or np.array([i], np.float32), identity)
    standardized(column, np.arange(101), max_items=5)
    assert read == [0, 25, 50, 75, 100]
    read.clear()
    Standardize()(column, np.arange(101))
    assert read == list(range(101))


def test_unit_directions_by_hand():
    """(3, 4), (4, 3) and (5, 0) have unit vectors (.6, .8), (.8, .6) and (1, 0)."""
    x = np.array([[3, 4], [4, 3], [5, 0], [30, 40]], np.float32)
    column = Column(4, x.__getitem__, identity)
    found = np.asarray(jax.jit(UnitDirections()(column, np.array([0, 1, 2])).preprocess)(x))
    unit = np.array([[0.6, 0.8], [0.8, 0.6], [1, 0]])
    centred = unit - unit.mean(axis=0)
    deviation = np.sqrt((centred**2).mean())  # one for both features: the root of their mean variance
    np.testing.assert_allclose(found[:3], centred / deviation, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[3], found[0], rtol=1e-5)  # the length does not matter


def test_unit_directions_of_padding_are_finite():
    column = Column(2, lambda i: Padded(np.eye(2, dtype=np.float32) * (i + 1), np.int32(1 + i)), identity)
    found = UnitDirections()(column, np.array([0, 1])).preprocess(Padded(np.zeros((1, 2, 2), np.float32), np.array([1])))
    assert np.isfinite(np.asarray(found.x)).all()


def test_no_training_item_is_an_error():
    with pytest.raises(DataError, match="the training split has no item of a modality"):
        standardized(Column(3, lambda i: np.zeros(1), identity), np.array([-1, -1]))
