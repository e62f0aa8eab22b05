"""Sections stacked and segmented in 3-D, against scikit-image and counted by hand."""

import numpy as np
import pytest
from skimage.metrics import adapted_rand_error, variation_of_information

from helpers import datasets, neurons
from helpers.datasets import Piece, fib25


def columns(sections=6, side=24):
    """Four neurons that run through all sections, each a quarter; one of them is numbered twice as long as it hangs."""
    labels = np.ones((sections, side, side), np.uint32)
    labels[:, :, side // 2 :] += 1
    labels[:, side // 2 :] += 2
    labels[:, 0, 0] = 0
    labels[:, -3:, :3] = 4  # a piece of neuron 4, apart from the rest of it
    return labels


@pytest.fixture
def block(monkeypatch):
    labels = columns()
    names = tuple(f"s/{z}" for z in range(len(labels)))
    monkeypatch.setattr(datasets, "instances", lambda *a, **k: (Piece(names, labels, (10.0, 10.0, 10.0)),))
    return neurons.blocks("fib25", "neurons", "test")[0]


def scores(block, labels=None):
    edges = fib25.boundaries(block.neurons["numbered"] if labels is None else labels)
    return {name: edge.astype(np.float32) for name, edge in zip(block.images, edges, strict=True)}


def test_true_boundaries_give_back_the_neurons_that_hang_together(block):
    volume = neurons.stack(scores(block), block)
    height = neurons.best_height([block], [volume], 0.5)
    labels = neurons.segment(volume, block, 0.5, height)
    assert labels.shape == (6, 24, 24) and labels.max() == 5
    numbered, pieces = neurons.compare(labels, block)
    assert (numbered["n_true"], pieces["n_true"], pieces["n_predicted"]) == (4, 5, 5)
    assert pieces["voi"] == pytest.approx(0) and pieces["adapted_rand_f_skimage"] == pytest.approx(1)
    assert numbered["voi_merge"] == pytest.approx(0) and numbered["voi_split"] > 0, "one neuron comes in two pieces"


def test_a_comparison_is_scikit_images_in_three_dimensions(block):
    rng = np.random.default_rng(0)
    labels = np.where(rng.random((6, 24, 24)) < 0.3, rng.integers(0, 4, (6, 24, 24)), columns() // 2 + 1)
    for row in neurons.compare(labels, block):
        truth = block.neurons[row["truth"]].astype(int)
        known = truth > 0
        split, merge = variation_of_information(truth[known], labels[known])
        assert (row["voi_split"], row["voi_merge"]) == pytest.approx((split, merge))
        assert row["voi"] == pytest.approx(split + merge)
        error, recall, precision = adapted_rand_error(truth[known], labels[known], ignore_labels=())
        assert row["adapted_rand_f_skimage"] == pytest.approx(1 - error)
        assert (row["adapted_rand_precision"], row["adapted_rand_recall"]) == pytest.approx((precision, recall))
        assert row["n_voxels"] == known.sum() == labels.size - 6


def test_reduced_scores_are_judged_on_native_neurons(monkeypatch, block):
    small = neurons.blocks("fib25", "neurons", "test", reduce=2)[0]
    assert small.spacing == (10, 20, 20)
    half = {n: s.reshape(12, 2, 12, 2).max((1, 3)) for n, s in scores(block).items()}
    labels = neurons.segment(neurons.stack(half, small), small, 0.5, np.inf)
    assert labels.shape == (6, 12, 12) and neurons.compare(labels, small)[1]["n_voxels"] == 6 * 24**2 - 6


def test_the_height_is_the_one_of_the_least_variation_of_information(block):
    """A gap in the membrane between two neurons: at no height at all they are one, at a low one two."""
    volume = neurons.stack(scores(block), block)
    volume[:, 4:7, 10:14] = 0
    found = {h: neurons.compare(neurons.segment(volume, block, 0.5, h), block)[0]["voi"] for h in (np.inf, 20.0)}
    assert found[20.0] < found[np.inf]
    assert neurons.best_height([block], [volume], 0.5, heights=(np.inf, 20.0)) == 20.0


def test_missing_sections_and_wrong_sizes_are_named(block):
    good = scores(block)
    with pytest.raises(ValueError, match="no scores of s/2 and 0 more of 6 sections"):
        neurons.stack({n: s for n, s in good.items() if n != "s/2"}, block)
    with pytest.raises(ValueError, match=r"scores of s/0 have shape \(12, 24\); expected \(24, 24\)"):
        neurons.stack({n: s[::2] for n, s in good.items()}, block)
