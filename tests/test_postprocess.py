"""The consensus against its definition, and the cut against an exhaustive search."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.metrics import pooled
from helpers.postprocess import best_cut, consensus


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**20), st.integers(1, 6), st.integers(2, 3))
def test_consensus_by_its_definition(seed, count, dims):
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(1, 5, dims).tolist())
    offsets = rng.integers(-3, 4, (count, dims)).tolist()
    votes = rng.random((1, 2 * count, *size), np.float32)
    mean, spread = consensus(torch.from_numpy(votes), offsets)
    for c, x in itertools.product(range(2), itertools.product(*map(range, size))):
        cast = []
        for k, offset in enumerate(offsets):
            voter = tuple(np.subtract(x, offset))
            if all(0 <= v < n for v, n in zip(voter, size, strict=True)):
                cast.append(votes[(0, c * count + k, *voter)])
        if cast:
            assert mean[(0, c, *x)] == pytest.approx(np.mean(cast), abs=1e-5)
            assert spread[(0, c, *x)] == pytest.approx(np.std(cast), abs=1e-3)
        else:
            assert mean[(0, c, *x)].isnan()


def test_consensus_refuses_channels_and_offsets_that_do_not_fit():
    with pytest.raises(ValueError, match="5 channels; expected a multiple of the 2 offsets"):
        consensus(torch.zeros(1, 5, 3, 3), [(0, 0), (0, 1)])
    with pytest.raises(ValueError, match="for 2 spatial axes"):
        consensus(torch.zeros(1, 1, 3, 3), [(0, 0, 0)])


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**20), st.integers(1, 40))
def test_no_cut_is_better(seed, size):
    rng = np.random.default_rng(seed)
    scores = [rng.integers(-3, 4, size).astype(np.float32) for _ in range(2)]  # many ties
    masks, known = [rng.random(size) > 0.6 for _ in range(2)], [rng.random(size) > 0.2 for _ in range(2)]
    cut = best_cut(scores, masks, known)
    if not any((m & k).any() for m, k in zip(masks, known, strict=True)):
        assert np.isnan(cut)
        return
    values = {c: pooled([s > c for s in scores], masks, known).iou for c in (*np.arange(-4, 4, 0.5), cut)}
    assert values[cut] == max(values.values())


def test_the_cut_is_exact_between_neighbouring_floats():
    high = np.float32(0.3)
    low = np.nextafter(high, np.float32(0))
    scores, mask = np.array([high, low, low], np.float32), np.array([True, False, False])
    assert ((scores > best_cut([scores], [mask], [np.ones(3, bool)])) == mask).all()


def test_a_perfect_score_is_cut_in_its_gap():
    mask = np.array([True, True, False, False])
    assert best_cut([np.array([0.9, 0.7, 0.3, 0.1])], [mask], [np.ones(4, bool)]) == 0.5


def test_the_cut_of_many_scores():
    """Against the search in one sorted array: every distinct score as a cut, sorted together with its truth."""
    rng = np.random.default_rng(0)
    score = rng.normal(size=200_000).astype(np.float32)
    mask = score + rng.normal(size=score.size) > 1
    order = np.argsort(-score, kind="stable")
    s, m = score[order], mask[order]
    hits = np.cumsum(m)
    iou = np.where(np.append(s[1:] < s[:-1], True), hits / (m.sum() + np.arange(1, m.size + 1) - hits), -1)
    best = int(iou.argmax())
    assert s[best + 1] <= best_cut([score], [mask], [np.ones_like(mask)]) < s[best]


def test_the_cut_goes_below_all_scores_where_everything_is_foreground():
    score = np.array([0.5, 0.25], np.float32)
    cut = best_cut([score], [np.ones(2, bool)], [np.ones(2, bool)])
    assert (score > np.float32(cut)).all()


def test_the_cut_refuses_what_it_cannot_search():
    score, mask = np.array([0.1, 0.9], np.float32), np.array([False, True])
    known = np.ones(2, bool)
    with pytest.raises(ValueError, match="1 of the known scores are NaN"):
        best_cut([np.array([np.nan, 1.0])], [mask], [known])
    assert best_cut([np.array([np.nan, 1.0])], [mask], [mask]) < 1  # what is not known is not looked at
    with pytest.raises(ValueError, match=r"known has shape \(3,\) and score \(2,\)"):
        best_cut([score], [mask], [np.ones(3, bool)])
    with pytest.raises(TypeError, match="mask has dtype int64"):
        best_cut([score], [mask.astype(int)], [known])
    with pytest.raises(TypeError, match="scores have dtype int64"):
        best_cut([mask.astype(int)], [mask], [known])
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        best_cut([score, score], [mask], [known])
