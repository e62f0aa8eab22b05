"""Against scikit-image, brute-force pair counting, SciPy's assignment, numbers worked by hand, and properties."""

import itertools
import math
import tracemalloc
from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from skimage import metrics as skimage_metrics

from helpers import metrics, partitions
from helpers.partitions import (
    AdaptedRand,
    Contingency,
    Matching,
    adapted_rand,
    contingency,
    foreground,
    matching,
    variation_of_information,
)

# All metrics of a table, in one flat tuple.
ALL = {
    "foreground": foreground,
    "rand_skimage": lambda table: adapted_rand(table, "skimage"),
    "rand_snemi": lambda table: adapted_rand(table, "snemi"),
    "voi": variation_of_information,
    "voi_all": lambda table: variation_of_information(table, False),
    "voi_either": lambda table: variation_of_information(table, True, True),
    "matching": matching,
    "matching_low": lambda table: matching(table, 0.1),
}


@st.composite
def pairs_of_maps(draw, least: int = 0, most: int = 5):
    """prediction and truth, a few labels on a few dozen voxels in 1-D to 3-D, alike where luck has it."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    truth = rng.integers(least, most + 1, shape)
    prediction = np.where(rng.random(shape) < draw(st.sampled_from([0, 0.3, 1])), rng.integers(least, 6, shape), truth)
    return prediction, truth


def close(a, b) -> bool:
    """Equal field by field: integers exactly, floats closely, NaN to NaN."""
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(close, a, b))
    if hasattr(a, "__dataclass_fields__"):
        return all(close(getattr(a, f), getattr(b, f)) for f in a.__dataclass_fields__)
    if isinstance(a, float):
        return math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-12) or (math.isnan(a) and math.isnan(b))
    return a == b


def same(a: Contingency, b: Contingency) -> bool:
    return all(np.array_equal(getattr(a, f), getattr(b, f)) for f in a.__dataclass_fields__)


def dense(table: Contingency) -> np.ndarray:
    out = np.zeros((len(table.truth_ids), len(table.predicted_ids)), int)
    out[table.i, table.j] = table.n
    return out


# The table


def test_table_by_hand():
    truth = np.array([[0, 7, 7], [7, 9, 0]])
    prediction = np.array([[0, 2, 2], [0, 2, 5]])
    table = contingency(prediction, truth)
    assert table.truth_ids.tolist() == [0, 7, 9] and table.predicted_ids.tolist() == [0, 2, 5]
    assert dense(table).tolist() == [[1, 0, 1], [1, 2, 0], [0, 1, 0]]
    assert table.truth_sizes.tolist() == [2, 3, 1] and table.predicted_sizes.tolist() == [2, 3, 1]
    assert table.n_voxels == 6 and (table.n > 0).all()


@given(pairs_of_maps(most=30), st.sampled_from([1, 50]), st.sampled_from([1, 4, 2**15]))
def test_table_against_scikit_image(maps, spread, chunk):
    prediction, truth = maps[0] * spread, maps[1] * spread
    with mock.patch.object(partitions, "CHUNK", chunk):
        table = contingency(prediction, truth)
    expected = skimage_metrics.contingency_table(truth, prediction, sparse_type="array").toarray()
    assert np.array_equal(table.truth_ids, np.unique(truth))
    assert np.array_equal(table.predicted_ids, np.unique(prediction))
    assert np.array_equal(dense(table), expected[np.ix_(table.truth_ids, table.predicted_ids)])
    assert np.array_equal(table.truth_sizes, expected.sum(1)[table.truth_ids])
    assert np.array_equal(table.predicted_sizes, expected.sum(0)[table.predicted_ids])


@given(pairs_of_maps(), st.integers(0, 2**32), st.sampled_from([4, 2**15]))
def test_known_is_the_cut_out(maps, seed, chunk):
    rng = np.random.default_rng(seed)
    prediction, truth = maps
    known = rng.random(truth.shape) < 0.5
    assume(known.any())
    with mock.patch.object(partitions, "CHUNK", chunk):
        table = contingency(prediction, truth, known)
        other = contingency(np.where(known, prediction, -9), np.where(known, truth, 10**6), known)
    cut_out = contingency(prediction[known], truth[known])
    assert same(table, cut_out) and same(other, cut_out)
    for name, metric in ALL.items():
        assert close(metric(table), metric(cut_out)), name


def test_many_pairs():
    """More than fit the first hash table, several times over; some ids differ in their high bits alone."""
    rng = np.random.default_rng(3)
    prediction, truth = rng.integers(0, 1000, (2, 600_000))
    for shift in (0, 20):
        table = contingency(prediction << shift, truth << (31 - shift))
        pairs, n = np.unique(truth * 1000 + prediction, return_counts=True)
        assert np.array_equal(
            (table.truth_ids[table.i] >> (31 - shift)) * 1000 + (table.predicted_ids[table.j] >> shift), pairs
        )
        assert np.array_equal(table.n, n)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", ">i4", "u4", "i8", ">u8", "u8"])
def test_every_integer_dtype(dtype):
    rng = np.random.default_rng(0)
    prediction, truth = rng.integers(0, 100, (2, 9, 11))
    table = contingency(prediction.astype(dtype), truth.astype("u4"))
    assert same(table, contingency(prediction, truth))
    assert table.predicted_ids.dtype == np.dtype(dtype).newbyteorder("=") and table.truth_ids.dtype == np.uint32


@pytest.mark.parametrize("chunk", [4, 2**15])
def test_ids_up_to_the_largest(chunk, monkeypatch):
    monkeypatch.setattr(partitions, "CHUNK", chunk)
    rng = np.random.default_rng(1)
    prediction, truth = rng.integers(0, 30, (2, 200))
    ids = np.unique(np.append(np.uint64(0), rng.integers(1, 2**64 - 1, 29, np.uint64, endpoint=True)))
    ids[-1] = 2**64 - 1
    assert len(ids) == 30
    table, small = contingency(ids[prediction], (truth * 2**57).astype(np.int64)), contingency(prediction, truth)
    assert np.array_equal(table.predicted_ids, ids[small.predicted_ids]) and table.predicted_ids.dtype == np.uint64
    assert np.array_equal(table.truth_ids, small.truth_ids * 2**57)
    assert np.array_equal(dense(table), dense(small))


def test_arrays_in_any_order():
    rng = np.random.default_rng(2)
    prediction, truth = rng.integers(0, 4, (2, 40, 50, 60)).repeat(2, -1)
    expected = contingency(prediction[:, ::-2, 3:90:3].copy(), truth[:, ::-2, 3:90:3].copy())
    assert same(contingency(prediction[:, ::-2, 3:90:3], truth[:, ::-2, 3:90:3]), expected)
    assert same(contingency(prediction.T, truth.T), contingency(prediction, truth))
    assert same(contingency(np.asfortranarray(prediction), truth), contingency(prediction, truth))
    read_only = truth.copy()
    read_only.flags.writeable = False
    assert same(
        contingency(np.broadcast_to(prediction[:1], truth.shape), read_only),
        contingency(truth * 0 + prediction[:1], truth),
    )


def test_inputs_are_left_alone():
    prediction, truth, known = np.array([1, 2, 2]), np.array([0, 1, 1]), np.array([True, True, False])
    before = [a.copy() for a in (prediction, truth, known)]
    contingency(prediction, truth, known)
    assert all(map(np.array_equal, before, (prediction, truth, known)))


def blocks(shape, width, shift):
    """Objects of width² voxels, one voxel of background between them."""
    y, x = (np.arange(n) + shift for n in shape)
    labels = (y // width)[:, None] * (shape[1] // width + 2) + x // width + 1
    labels[(y % width == 0)[:, None] | (x % width == 0)] = 0
    return labels.astype(np.int32)


def peak(*arrays) -> float:
    """Bytes a voxel, at most held at once by a contingency."""
    tracemalloc.start()
    try:
        table = contingency(*arrays)
        return tracemalloc.get_traced_memory()[1] / table.n_voxels
    finally:
        tracemalloc.stop()


def test_memory():
    shape = (1024, 1024)
    prediction, truth = blocks(shape, 31, 0), blocks(shape, 31, 3)
    assert len(np.unique(truth)) > 1000
    assert peak(prediction, truth) < 6
    assert peak(prediction * 10**5, truth.astype(np.uint64) << np.uint64(40)) < 6
    assert peak(prediction.repeat(2, 1)[:, ::2], np.asfortranarray(truth), np.ones(shape, bool)) < 6
    rng = np.random.default_rng(0)
    assert peak(*rng.integers(0, 100, (2, *shape), dtype=np.int32)) < 6
    # As many pairs as voxels; 24 bytes each in the result alone.
    assert peak(*rng.integers(0, 2**31 - 1, (2, *shape), dtype=np.int32)) < 100


# Foreground


@given(pairs_of_maps())
def test_foreground_is_that_of_the_masks(maps):
    prediction, truth = maps
    assert foreground(contingency(prediction, truth)) == metrics.counts(prediction > 0, truth > 0)


# Adapted Rand


def counted_pairs(prediction, truth, rule):
    """(both, predicted, true) over all ordered pairs of voxels of the truth's objects, one by one."""
    voxels = [(p, t) for p, t in zip(prediction.ravel().tolist(), truth.ravel().tolist(), strict=True) if t]
    if rule == "snemi":
        voxels = [(p or f"alone {k}", t) for k, (p, t) in enumerate(voxels)]
        pairs = list(itertools.product(voxels, repeat=2))
    else:
        pairs = list(itertools.permutations(voxels, 2))
    joined = [(a[0] == b[0], a[1] == b[1]) for a, b in pairs]
    return sum(p and t for p, t in joined), sum(p for p, _ in joined), sum(t for _, t in joined)


@pytest.mark.parametrize("rule", partitions.RULES)
@settings(deadline=None)
@given(maps=pairs_of_maps())
def test_rand_counts_pairs(rule, maps):
    table = contingency(*maps)
    assert adapted_rand(table, rule) == AdaptedRand(rule, *counted_pairs(*maps, rule))


@given(pairs_of_maps())
def test_rand_against_scikit_image(maps):
    prediction, truth = maps
    with np.errstate(invalid="ignore"):
        error, over_true, over_predicted = map(float, skimage_metrics.adapted_rand_error(truth, prediction))
    ours = adapted_rand(contingency(prediction, truth))
    assert close((ours.error, ours.recall, ours.precision), (error, over_true, over_predicted))
    assert close(ours.f_score, 1 - error)


def test_splits_lower_recall_and_merges_precision():
    whole, halves = np.ones(8, int), np.repeat([1, 2], 4)
    for rule in partitions.RULES:
        split, merge = adapted_rand(contingency(halves, whole), rule), adapted_rand(contingency(whole, halves), rule)
        assert split.precision == 1 and split.recall < 0.6
        assert merge.recall == 1 and merge.precision < 0.6
    assert adapted_rand(contingency(halves, whole)).recall == 24 / 56
    assert adapted_rand(contingency(halves, whole), "snemi").recall == 32 / 64


def test_the_two_rules_differ_on_the_predictions_background():
    truth, nothing = np.repeat([1, 2], 4), np.zeros(8, int)
    table = contingency(nothing, truth)
    assert adapted_rand(table) == AdaptedRand("skimage", 24, 56, 24)  # all in one segment: a merge
    assert adapted_rand(table, "snemi") == AdaptedRand("snemi", 8, 8, 32)  # each voxel alone: splits


@given(pairs_of_maps())
def test_snemi_next_to_the_published_formula(maps):
    """The published one divides c by the number of voxels; the docstring bounds what that takes away."""
    prediction, truth = maps
    table = contingency(prediction, truth)
    n = np.array([[((truth == t) & (prediction == p)).sum() for p in range(6)] for t in range(1, 6)], float)
    assume(n.sum() > 0)
    c, objects, true = n[:, 0].sum() / truth.size, n[:, 1:], (n.sum(1) ** 2).sum()
    published = 2 * ((objects**2).sum() + c) / ((objects.sum(0) ** 2).sum() + c + true)
    bound = 2 * (n.sum(1) > 0).sum() / n.sum()
    assert -1e-12 <= adapted_rand(table, "snemi").f_score - published < bound


def test_rand_of_more_voxels_than_squares_fit():
    one, n = np.array([1]), np.array([2**33])
    table = Contingency(one, one, np.array([0]), np.array([0]), n, n, n)
    assert adapted_rand(table).both == 2**66 - 2**33 and adapted_rand(table, "snemi").both == 2**66
    assert adapted_rand(table).f_score == 1


# Variation of information


@given(pairs_of_maps())
def test_voi_against_scikit_image(maps):
    prediction, truth = maps
    table = contingency(prediction, truth)
    expected = skimage_metrics.variation_of_information(truth, prediction)
    assert np.allclose(variation_of_information(table, ignore_truth_background=False), expected, atol=1e-12)
    assume(truth.any())
    expected = skimage_metrics.variation_of_information(truth, prediction, ignore_labels=(0,))
    assert np.allclose(variation_of_information(table), expected, atol=1e-12)


def test_voi_in_bits():
    whole, quarters = np.ones(8, int), np.repeat([1, 2, 3, 4], 2)
    assert variation_of_information(contingency(quarters, whole)) == (2, 0)
    assert variation_of_information(contingency(whole, quarters)) == (0, 2)
    assert variation_of_information(contingency(whole, quarters)).total == 2


def test_voi_of_backgrounds():
    truth = np.array([0, 0, 1, 1, 1, 1])
    prediction = np.array([3, 4, 0, 0, 5, 5])
    table = contingency(prediction, truth)
    assert variation_of_information(table) == (1, 0)
    assert variation_of_information(table, ignore_predicted_background=True) == (0, 0)
    assert variation_of_information(table, ignore_truth_background=False) == (1, 0)
    assert variation_of_information(contingency(prediction * 0, truth), False) == (0, pytest.approx(0.9182958340544896))


# Matching


def test_matching_by_hand():
    """Object 1: IoU 4/6; 2: 3/5; 3: exactly one half, twice; 4: missed. One prediction lies on nothing."""
    truth = np.array([1, 1, 1, 1, 1, 0, 2, 2, 2, 2, 2, 3, 3, 4, 4, 0, 0])
    prediction = np.array([0, 1, 1, 1, 1, 1, 2, 2, 2, 0, 0, 3, 4, 0, 0, 0, 6])
    result = matching(contingency(prediction, truth))
    assert result == Matching(4, 5, 2, 4 / 6 + 3 / 5)
    assert (result.precision, result.recall, result.f1) == (2 / 5, 2 / 4, 4 / 9)
    assert result.panoptic_quality == pytest.approx((4 / 6 + 3 / 5) / (2 + 3 / 2 + 2 / 2))
    assert matching(contingency(prediction, truth), 0.6) == Matching(4, 5, 1, 4 / 6)
    assert matching(contingency(prediction, truth), 0.4).n_matched == 3  # one of the halves


def test_partners_compete_below_one_half():
    """Prediction 7 could be either, and is the one that leaves 8 to the other."""
    truth = np.array([1, 1, 1, 1, 1, 2, 2, 2, 2, 2])
    prediction = np.array([0, 0, 7, 7, 7, 7, 7, 7, 8, 8])
    table = contingency(prediction, truth)  # IoU 1-7: 3/8, 2-7: 3/8, 2-8: 2/5
    assert matching(table, 0.3) == Matching(2, 2, 2, pytest.approx(3 / 8 + 2 / 5))
    assert matching(table, 0.39) == Matching(2, 2, 1, 2 / 5)
    assert matching(table, 0.4).n_matched == 0


@given(pairs_of_maps(), st.sampled_from([0, 0.1, 0.25, 0.4, 0.5, 0.7]))
def test_matching_against_an_assignment(maps, threshold):
    """Costs as stardist sets them, on the full matrix of intersections over union; there >=, here >."""
    prediction, truth = maps
    iou = np.zeros((len(set(truth[truth > 0])), len(set(prediction[prediction > 0]))))
    for i, t in enumerate(np.unique(truth[truth > 0])):
        for j, p in enumerate(np.unique(prediction[prediction > 0])):
            iou[i, j] = ((truth == t) & (prediction == p)).sum() / ((truth == t) | (prediction == p)).sum()
    over = iou > threshold
    row, column = linear_sum_assignment(-over.astype(float) - np.where(over, iou, 0) / (2 * max(min(iou.shape), 1)))
    matched = iou[row, column][over[row, column]]
    expected = Matching(*iou.shape, len(matched), float(matched.sum()))
    assert close(matching(contingency(prediction, truth), threshold), expected)


# Of all metrics


@given(pairs_of_maps(), st.integers(0, 2**32))
def test_relabelling_changes_nothing(maps, seed):
    rng = np.random.default_rng(seed)
    new = [np.append(0, rng.choice(2**40, 5, replace=False) + 1) for _ in range(2)]
    before, after = contingency(*maps), contingency(new[0][maps[0]], new[1][maps[1]])
    for name, metric in ALL.items():
        assert close(metric(before), metric(after)), name


@given(pairs_of_maps())
def test_perfect_scores_perfectly(maps):
    _, truth = maps
    assume(truth.any())
    table = contingency(truth * 3, truth)
    n = len(set(truth[truth > 0]))
    assert foreground(table).iou == 1
    assert matching(table) == Matching(n, n, n, n)
    assert matching(table).f1 == matching(table).panoptic_quality == 1
    assert variation_of_information(table) == variation_of_information(table, False) == (0, 0)
    assert adapted_rand(table, "snemi").f_score == 1 and adapted_rand(table, "snemi").error == 0
    if (table.truth_sizes[table.truth_ids > 0] > 1).any():
        assert adapted_rand(table).f_score == 1


@given(pairs_of_maps(least=1), pairs_of_maps())
def test_images_add_up(one, other):
    """Metrics of two images apart, added, are those of both side by side with objects of their own."""
    prediction, truth = (
        np.concatenate([a.ravel(), np.where(b, b + 9, 0).ravel()]) for a, b in zip(one, other, strict=True)
    )
    parts, whole = [contingency(*one), contingency(*other)], contingency(prediction, truth)
    for name in ("foreground", "rand_snemi", "matching", "matching_low"):
        assert close(ALL[name](parts[0]) + ALL[name](parts[1]), ALL[name](whole)), name
    if other[0].all():  # or the prediction's background would be one segment of both images
        assert adapted_rand(parts[0]) + adapted_rand(parts[1]) == adapted_rand(whole)


def test_rules_do_not_add_up():
    table = contingency(np.ones(3, int), np.ones(3, int))
    with pytest.raises(ValueError, match="'skimage' and 'snemi'"):
        adapted_rand(table) + adapted_rand(table, "snemi")


def test_undefined_is_nan():
    nothing, something = np.zeros(4, int), np.array([0, 1, 1, 1])
    table = contingency(nothing, nothing)
    assert math.isnan(foreground(table).iou)
    assert all(map(math.isnan, variation_of_information(table)))
    assert all(map(math.isnan, variation_of_information(contingency(nothing, something), True, True)))
    for rule in partitions.RULES:
        rand = adapted_rand(table, rule)
        assert all(map(math.isnan, (rand.f_score, rand.error, rand.precision, rand.recall)))
        assert math.isnan(adapted_rand(contingency(something, nothing), rule).f_score)
    result = matching(table)
    assert all(map(math.isnan, (result.precision, result.recall, result.f1, result.panoptic_quality)))
    missed, extra = matching(contingency(nothing, something)), matching(contingency(something, nothing))
    assert math.isnan(missed.precision) and missed.recall == missed.f1 == missed.panoptic_quality == 0
    assert math.isnan(extra.recall) and extra.precision == extra.f1 == extra.panoptic_quality == 0


# Bad input


@pytest.mark.parametrize("which", ["prediction", "truth"])
def test_bad_maps_are_named(which):
    def compare(bad, known=None):
        maps = {"prediction": np.array([0, 1, 2]), "truth": np.array([0, 1, 2])}
        return contingency(**maps | {which: np.asarray(bad)}, known=known)

    with pytest.raises(TypeError, match=f"{which} has dtype float64, expected integers"):
        compare([0.0, 1.0, 2.0])
    with pytest.raises(TypeError, match=f"{which} has dtype bool, expected integers: label its objects first"):
        compare([True, False, True])
    with pytest.raises(ValueError, match=r"shape \(4,\).*expected the same|\(3,\) and truth \(4,\): expected the same"):
        compare([0, 1, 2, 3])
    with pytest.raises(ValueError, match=f"{which} has the label -2, expected 0"):
        compare([0, -2, 3])
    with pytest.raises(ValueError, match=f"{which} has the label -2, expected 0"):
        compare([-2, -2, -2])
    assert compare([0, -2, 3], np.array([True, False, True])).n_voxels == 2


def test_a_negative_label_beside_a_huge_one():
    with pytest.raises(ValueError, match="prediction has the label -1"):
        contingency(np.array([2**63 - 1, -1]), np.array([1, 2**62]))


def test_bad_known_and_options():
    labels = np.array([0, 1, 2])
    with pytest.raises(TypeError, match="known has dtype int64, expected bool"):
        contingency(labels, labels, np.array([0, 1, 1]))
    with pytest.raises(ValueError, match=r"known has shape \(2,\) and truth \(3,\)"):
        contingency(labels, labels, np.array([True, True]))
    with pytest.raises(ValueError, match="no voxel of shape .* is known"):
        contingency(labels, labels, np.zeros(3, bool))
    with pytest.raises(ValueError, match="no voxel of shape"):
        contingency(labels[:0], labels[:0])
    table = contingency(labels, labels)
    with pytest.raises(ValueError, match="rule is 'SNEMI', expected one of"):
        adapted_rand(table, "SNEMI")
    for threshold in (1, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"threshold is .*, expected a number in \[0, 1\)"):
            matching(table, threshold)
