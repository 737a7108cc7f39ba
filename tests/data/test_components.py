"""Principal components against linear algebra."""

import numpy as np
import pytest

from mmjax.data.components import PrincipalComponents
from mmjax.data.dataset import Column, identity
from mmjax.data.decode import DataError


def column(x):
    return Column(len(x), lambda i: x[i], identity)


def test_components_are_those_of_the_training_items():
    random = np.random.default_rng(0)
    x = (random.normal(size=(30, 5)) @ random.normal(size=(5, 5)) + 3).astype(np.float32)
    train = np.array([0, 1, 2, 4, 5, 7, 8, 9, -1, 9])
    found = np.asarray(PrincipalComponents(2)(column(x), train).preprocess(x))
    used = x[np.unique(train[train >= 0])]
    values, vectors = np.linalg.eigh(np.cov(used.T, bias=True))
    expected = (x - used.mean(axis=0)) @ vectors[:, [-1, -2]] / np.sqrt(values[[-1, -2]].mean())
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-3, atol=1e-4)  # directions have no sign
    np.testing.assert_allclose(found[np.unique(train[train >= 0])].var(axis=0).mean(), 1, rtol=1e-4)


def test_there_are_at_most_as_many_as_the_data_have():
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    assert PrincipalComponents(64)(column(x), np.arange(4)).preprocess(x).shape == (4, 3)


def test_wrong_settings_are_named():
    with pytest.raises(DataError, match=r"PrincipalComponents\.dimensions is 0"):
        PrincipalComponents(0)
    with pytest.raises(DataError, match="needs two training items"):
        PrincipalComponents(2)(column(np.zeros((3, 2), np.float32)), np.array([1, -1]))
    with pytest.raises(DataError, match="needs items that are vectors"):
        PrincipalComponents(2)(column(np.zeros((3, 2, 2), np.float32)), np.arange(3))
