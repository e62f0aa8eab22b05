"""The cut against an exhaustive search."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.metrics import pooled
from helpers.postprocess import best_cut


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


def test_a_perfect_score_is_cut_in_its_gap():
    mask = np.array([True, True, False, False])
    assert best_cut([np.array([0.9, 0.7, 0.3, 0.1])], [mask], [np.ones(4, bool)]) == 0.5
