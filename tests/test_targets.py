"""Targets against brute force, SciPy and hand-worked numbers."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from helpers import targets

SPACINGS = {2: [(1.0, 1.0), (3.0, 0.7)], 3: [(1.0, 1.0, 1.0), (4.0, 1.0, 1.5)]}


def brute_force(mask, spacing, annotated=None):
    """Signed distance to the nearest box of the other phase, over all pairs of voxels; NaN where there is none."""
    annotated = np.ones_like(mask) if annotated is None else annotated
    points = np.argwhere(np.ones_like(mask))
    result = np.zeros(mask.shape)
    for point in points:
        at = tuple(point)
        if not annotated[at]:
            continue
        others = np.argwhere(annotated & (mask != mask[at]))
        if len(others):
            gap = np.maximum(np.abs(others - point) - 0.5, 0) * spacing
            distance = np.sqrt((gap**2).sum(1)).min()
        else:
            distance = np.nan
        result[at] = distance if mask[at] else -distance
    return result


def random_mask(shape, seed):
    rng = np.random.default_rng(seed)
    return ndimage.gaussian_filter(rng.standard_normal(shape), 1.2) > 0


@pytest.mark.parametrize(("dims", "index"), [(2, 0), (2, 1), (3, 0), (3, 1)])
def test_distance_is_brute_force(dims, index):
    spacing = SPACINGS[dims][index]
    mask = random_mask((11, 13) if dims == 2 else (6, 7, 8), dims)
    found = targets.boundary_distance(torch.from_numpy(mask), spacing).numpy()
    np.testing.assert_allclose(found, brute_force(mask, spacing), atol=1e-5)


@pytest.mark.parametrize("radius", [0.4, 1.0, 2.6, 50.0])
def test_distance_is_exact_within_its_radius_and_clipped_beyond(radius):
    mask, spacing = random_mask((14, 12), 5), (1.0, 1.7)
    expected = np.clip(brute_force(mask, spacing), -radius, radius)
    found = targets.boundary_distance(torch.from_numpy(mask), spacing, radius).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=5), fill=st.booleans()),
    st.integers(0, 2**16),
)
def test_distance_ignores_what_is_not_annotated(mask, seed):
    annotated = np.random.default_rng(seed).random(mask.shape) > 0.3
    spacing = (2.0, 1.0, 1.5)[: mask.ndim]
    found = targets.boundary_distance(torch.from_numpy(mask), spacing, None, torch.from_numpy(annotated)).numpy()
    np.testing.assert_allclose(found, brute_force(mask, spacing, annotated), atol=1e-5)
    flipped = mask ^ ~annotated
    again = targets.boundary_distance(torch.from_numpy(flipped), spacing, None, torch.from_numpy(annotated)).numpy()
    np.testing.assert_array_equal(found, again)


def test_distance_beside_a_straight_face_is_half_a_voxel_nearer_than_scipy_says():
    mask = np.zeros((9, 9), bool)
    mask[4:] = True
    found = targets.boundary_distance(torch.from_numpy(mask), (7.0, 7.0)).numpy()
    scipy = 7 * (ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask))
    np.testing.assert_allclose(np.abs(scipy) - np.abs(found), 3.5)
    assert found[4, 0] == 3.5 and found[3, 0] == -3.5


def test_batches_are_many_images():
    masks = torch.from_numpy(np.stack([random_mask((9, 9), s) for s in range(4)])).reshape(2, 2, 9, 9)
    together = targets.boundary_distance(masks, (1.0, 2.0), 3.0)
    for b, c in itertools.product(range(2), range(2)):
        assert torch.equal(together[b, c], targets.boundary_distance(masks[b, c], (1.0, 2.0), 3.0))


def test_mirror_turn_and_shift_of_the_mask_move_the_distance_alike():
    mask = torch.from_numpy(random_mask((12, 12), 1))
    distance = targets.boundary_distance(mask, (1.0, 1.0))
    assert torch.equal(targets.boundary_distance(mask.flip(0), (1.0, 1.0)), distance.flip(0))
    assert torch.equal(targets.boundary_distance(mask.rot90(1), (1.0, 1.0)), distance.rot90(1))
    assert torch.equal(targets.boundary_distance(~mask, (1.0, 1.0)), -distance)
    wide = torch.zeros(30, 30, dtype=torch.bool)
    wide[5:9, 6:9] = True
    moved = targets.boundary_distance(wide.roll((7, 9), (0, 1)), (1.0, 1.0), 4.0)
    assert torch.equal(moved, targets.boundary_distance(wide, (1.0, 1.0), 4.0).roll((7, 9), (0, 1)))


@pytest.mark.parametrize("full", [False, True])
def test_absent_or_full_class_is_the_radius_or_undefined(full):
    mask = torch.full((1, 1, 8, 8), full)
    bounded = targets.boundary_distance(mask, (1.0, 1.0), 5.0)
    assert torch.equal(bounded, torch.full_like(bounded, 5.0 if full else -5.0))
    assert targets.boundary_distance(mask, (1.0, 1.0)).isnan().all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([(1.0, 1.0), (1.0, 2.3)]), st.floats(0.6, 6.0))
def test_trusted_voxels_of_a_crop_agree_with_the_whole_image(seed, spacing, radius):
    rng = np.random.default_rng(seed)
    whole = torch.from_numpy(random_mask((20, 20), seed))
    known = torch.from_numpy(ndimage.uniform_filter(rng.random((20, 20)), 3) > 0.35)
    truth = targets.boundary_distance(whole, spacing, radius)
    y, x = rng.integers(0, 10, 2)
    cut = (slice(y, y + 10), slice(x, x + 10))
    distance = targets.boundary_distance(whole[cut], spacing, radius, known[cut])
    trusted = targets.trusted(distance, known[cut], spacing, radius)
    assert not (trusted & ~known[cut]).any()
    assert torch.equal(distance[trusted], truth[cut][trusted])


def test_a_halo_makes_every_voxel_of_the_crop_trusted_and_a_smaller_one_does_not():
    spacing, radius = (1.0, 2.3), 5.0
    halo = targets.halo(radius, spacing)
    assert halo == (5, 2)  # 5.5 - 0.5 rounds to 5 voxels; 2.3 * 2.5 = 5.75 reaches 5, 2.3 * 1.5 does not
    for margin, everything in ((halo, True), ((halo[0] - 1, halo[1]), False), ((halo[0], halo[1] - 1), False)):
        window = torch.zeros([10 + 2 * m for m in margin], dtype=torch.bool)  # the class is absent: |d| = R
        full = torch.ones_like(window)
        distance = targets.boundary_distance(window, spacing, radius, full)
        trusted = targets.trusted(distance, full, spacing, radius)
        cut = trusted[margin[0] : margin[0] + 10, margin[1] : margin[1] + 10]
        assert bool(cut.all()) is everything


def test_tanh_distance_is_bounded_counts_where_trusted_and_is_zero_at_the_boundary():
    mask = torch.zeros(1, 1, 40, 40, dtype=torch.bool)
    mask[..., 20:] = True
    target, weight = targets.tanh_distance(mask, torch.ones_like(mask), (10.0, 10.0), scale_nm=50.0)
    assert target[0, 0, 15, 20] == pytest.approx(math.tanh(5 / 50))  # half of 10 nm inside
    assert target[0, 0, 15, 19] == pytest.approx(-math.tanh(5 / 50))
    assert target.abs().max() == pytest.approx(math.tanh(3))
    assert weight[0, 0, 20, 20] == 1 and weight[0, 0, 0, 0] == 0


def test_hot_distance_is_both_halves_each_with_its_own_weight():
    masks = torch.from_numpy(random_mask((2, 3, 16, 16), 3))
    annotated = torch.from_numpy(random_mask((2, 3, 16, 16), 4))
    known = annotated | torch.from_numpy(random_mask((2, 3, 16, 16), 5))
    target, weight = targets.hot_distance(masks, annotated, known, (9.0, 9.0))
    hot, far = targets.one_hot(masks, known), targets.tanh_distance(masks, annotated, (9.0, 9.0))
    assert torch.equal(target[:, :3], hot[0]) and torch.equal(weight[:, :3], hot[1])
    assert torch.equal(target[:, 3:], far[0]) and torch.equal(weight[:, 3:], far[1])
    assert (weight[:, :3] > weight[:, 3:]).any()  # a true negative teaches the one-hot half alone


def test_where_everything_is_annotated_every_objective_counts_the_same_voxels():
    spacing, patch = (18.4, 18.4), 32
    margin = targets.halo(targets.SATURATION * targets.SCALE_NM, spacing)
    window = torch.from_numpy(random_mask((1, 1, patch + 2 * margin[0], patch + 2 * margin[1]), 7))
    weight = targets.hot_distance(window, torch.ones_like(window), torch.ones_like(window), spacing)[1]
    cut = weight[..., margin[0] : margin[0] + patch, margin[1] : margin[1] + patch]
    assert cut.sum((0, 2, 3)).tolist() == [patch**2, patch**2]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"spacing": (1.0,)}, ValueError, "expected 2 or 3 entries"),
        ({"spacing": (1.0, 1.0, 1.0)}, ValueError, "expected 2 or 3 entries"),
        ({"spacing": (1.0, 0.0)}, ValueError, "positive"),
        ({"spacing": (1.0, -2.0)}, ValueError, "positive"),
        ({"spacing": (1.0, math.nan)}, ValueError, "positive"),
        ({"radius": 0.0}, ValueError, "radius is 0.0"),
        ({"mask": torch.zeros(8, 8)}, TypeError, "mask has dtype torch.float32"),
        ({"annotated": torch.ones(8, 8)}, TypeError, "annotated has dtype"),
        ({"annotated": torch.ones(8, 7, dtype=torch.bool)}, ValueError, r"\(8, 8\) and annotated \(8, 7\)"),
    ],
)
def test_bad_input_is_named(change, error, says):
    given = {"mask": torch.zeros(8, 8, dtype=torch.bool), "spacing": (1.0, 1.0)} | change
    with pytest.raises(error, match=says):
        targets.boundary_distance(**given)


def test_a_scale_that_is_not_positive_is_refused():
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    with pytest.raises(ValueError, match="scale_nm is 0"):
        targets.tanh_distance(mask, mask, (1.0, 1.0), scale_nm=0)
