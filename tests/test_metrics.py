"""Counts by hand and against scikit-image's contingency."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import contingency_table

from helpers.metrics import Counts, counts, pooled


def test_by_hand():
    prediction = np.array([1, 1, 1, 0, 0, 0], bool)
    truth = np.array([1, 1, 0, 1, 0, 0], bool)
    result = counts(prediction, truth)
    assert result == Counts(2, 1, 1, 2)
    assert (result.iou, result.dice, result.accuracy, result.area_ratio) == (2 / 4, 4 / 6, 4 / 6, 1.0)


@given(st.integers(0, 2**20))
def test_against_scikit_image(seed):
    rng = np.random.default_rng(seed)
    prediction, truth = rng.random((2, 7, 9)) > 0.5
    table = contingency_table(truth.astype(int), prediction.astype(int), normalize=False).toarray()
    table = np.pad(table, ((0, 2 - table.shape[0]), (0, 2 - table.shape[1])))
    assert counts(prediction, truth) == Counts(table[1, 1], table[0, 1], table[1, 0], table[0, 0])


@given(st.integers(0, 2**20))
def test_known_is_the_cut_out(seed):
    rng = np.random.default_rng(seed)
    prediction, truth, known = rng.random((3, 40)) > 0.5
    known[0] = True
    assert counts(prediction, truth, known) == counts(prediction[known], truth[known])


def test_undefined_is_nan():
    nothing = np.zeros(5, bool)
    result = counts(nothing, nothing)
    assert math.isnan(result.iou) and math.isnan(result.dice) and math.isnan(result.area_ratio)
    assert result.accuracy == 1


def test_pooled_is_the_sum():
    a, b = np.array([1, 0], bool), np.array([1, 1], bool)
    assert pooled([a, b], [b, a], [b, b]) == counts(a, b) + counts(b, a)


def test_bad_input_is_named():
    truth = np.zeros(4, bool)
    with pytest.raises(TypeError, match="prediction has dtype float64"):
        counts(np.zeros(4), truth)
    with pytest.raises(ValueError, match=r"prediction has shape \(3,\) and truth \(4,\)"):
        counts(np.zeros(3, bool), truth)
    with pytest.raises(ValueError, match="no voxel is known"):
        counts(truth, truth, truth)
