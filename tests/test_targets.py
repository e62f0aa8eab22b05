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


def brute_force_instances(labels, spacing):
    """Signed distance to the nearest box of another label, over all pairs of voxels; NaN where there is none."""
    result = np.full(labels.shape, np.nan)
    for point in np.argwhere(np.ones(labels.shape, bool)):
        at = tuple(point)
        others = np.argwhere(labels != labels[at])
        if len(others):
            gap = np.maximum(np.abs(others - point) - 0.5, 0) * spacing
            result[at] = np.sqrt((gap**2).sum(1)).min() * (1 if labels[at] else -1)
    return result


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6), elements=st.integers(0, 3)),
    st.sampled_from([(1.0, 1.0, 1.0), (2.0, 1.0, 1.5)]),
    st.sampled_from([None, 1.5, 3.0]),
)
def test_instance_distance_is_brute_force(labels, spacing, radius):
    spacing = spacing[: labels.ndim]
    expected = brute_force_instances(labels, spacing)
    if radius is not None:
        expected = np.where(np.isnan(expected), np.where(labels, radius, -radius), expected.clip(-radius, radius))
    found = targets.instance_distance(torch.from_numpy(labels), spacing, radius).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_touching_instances_are_half_a_voxel_from_their_contact_and_one_object_per_class():
    instances = torch.zeros(2, 12, 20, dtype=torch.int64)
    instances[1, 3:9, 4:10], instances[1, 3:9, 10:16] = 70_000, 9
    by_instance = targets.instance_distance(instances, (10.0, 10.0))[1]
    by_class = targets.boundary_distance(instances > 0, (10.0, 10.0))[1]
    assert by_instance[5, 9] == by_instance[5, 10] == 5.0
    assert by_class[5, 9] == by_class[5, 10] == 25.0
    outside = instances[1] == 0
    assert torch.equal(by_instance[outside], by_class[outside])
    assert (by_instance.abs() <= by_class.abs()).all()


def test_many_instances_cost_one_pass_and_touch_only_their_neighbours():
    board = torch.arange(1, 401).reshape(20, 20).repeat_interleave(5, 0).repeat_interleave(5, 1)
    distance = targets.instance_distance(board, (1.0, 1.0), 4.0)
    inner = distance[5:-5, 5:-5].reshape(18, 5, 18, 5)
    assert torch.equal(inner, inner[:1, :, :1].expand_as(inner)) and inner[0, 2, 0, 2] == 2.5


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([None, 3.0]))
def test_trusted_instance_distances_of_a_crop_agree_with_the_whole_image(seed, radius):
    rng = np.random.default_rng(seed)
    whole = ndimage.label(random_mask((20, 20), seed))[0] * rng.integers(0, 2)
    whole[:7, 5:14] = 50
    whole = torch.from_numpy(whole.astype(np.int64))
    known = torch.from_numpy(ndimage.uniform_filter(rng.random((20, 20)), 3) > 0.35)
    truth = targets.instance_distance(whole, (1.0, 2.3), radius)
    y, x = rng.integers(0, 8, 2)
    cut = (slice(y, y + 12), slice(x, x + 12))
    distance = targets.instance_distance(whole[cut], (1.0, 2.3), radius, known[cut])
    trusted = targets.trusted(distance, known[cut], (1.0, 2.3), radius)
    assert (distance[~known[cut]] == 0).all()
    assert torch.equal(distance[trusted], truth[cut][trusted])


@pytest.mark.parametrize(
    ("instances", "error", "says"),
    [
        (torch.zeros(4, 4), TypeError, "instances has dtype torch.float32"),
        (torch.zeros(4, 4, dtype=torch.bool), TypeError, "instances has dtype torch.bool"),
        (torch.full((4, 4), -2), ValueError, "instances holds -2"),
    ],
)
def test_instances_that_are_no_labels_are_named(instances, error, says):
    with pytest.raises(error, match=says):
        targets.instance_distance(instances, (1.0, 1.0))


@pytest.mark.parametrize("spacing", [(0.3, 0.3), (0.3, 1.0)])
def test_large_distances_are_those_of_scipy_on_the_doubled_lattice(spacing):
    """Every corner and face centre of a box is a point of the doubled lattice: SciPy's EDT to them is exact."""
    mask = np.zeros((150, 170), bool)
    mask[100:140, 20:60] = random_mask((40, 40), 3)
    even, phases = (slice(None, None, 2),) * 2, []
    for other in (~mask, mask):
        lattice = np.zeros([2 * n - 1 for n in mask.shape], bool)
        lattice[even] = other
        closed = ndimage.binary_dilation(lattice, np.ones((3, 3)))
        phases.append(ndimage.distance_transform_edt(~closed, sampling=np.array(spacing) / 2)[even])
    expected = np.where(mask, phases[0], -phases[1])
    masks = torch.from_numpy(np.stack([mask, np.zeros_like(mask)]))  # the other image must not end the chain early
    found = targets.boundary_distance(masks, spacing)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-4 * min(spacing))
    assert found[1].isnan().all()
    for radius in (7.0, 20.0, 45.0):
        bounded = targets.boundary_distance(masks[0], spacing, radius)
        np.testing.assert_allclose(bounded.numpy(), expected.clip(-radius, radius), atol=1e-4 * min(spacing))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([(1.0, 1.0), (1.0, 2.3)]), st.booleans())
def test_unbounded_targets_of_a_crop_are_those_of_the_whole_image_where_they_count(seed, spacing, empty):
    rng = np.random.default_rng(seed)
    whole = torch.from_numpy(random_mask((20, 20), seed)) & (not empty)
    known = torch.from_numpy(ndimage.uniform_filter(rng.random((20, 20)), 3) > 0.3)
    truth = targets.boundary_distance(whole, spacing)
    y, x = rng.integers(0, 8, 2)
    cut = (slice(y, y + 12), slice(x, x + 12))
    given = (whole[cut][None, None], known[cut][None, None], spacing, 0.5)
    signed, weight = targets.signed_distance(*given)
    inside, same_weight = targets.distance(*given)
    counts = weight[0, 0].bool()
    assert torch.equal(weight, same_weight) and not signed.isnan().any() and not (counts & ~known[cut]).any()
    torch.testing.assert_close(signed[0, 0][counts], truth[cut][counts] / 0.5)
    assert torch.equal(inside, signed.clamp(min=0))
    exact = targets.boundary_distance(whole[cut], spacing, None, known[cut])
    assert torch.equal(targets.trusted(exact, known[cut], spacing), counts)
    assert not (empty and counts.any())


@pytest.mark.parametrize("full", [False, True])
def test_unbounded_targets_of_an_absent_or_full_class_are_zero_and_do_not_count(full):
    masks = torch.full((1, 2, 9, 9), full)
    masks[:, 1, :, 4:] = not full
    for encode in (targets.distance, targets.signed_distance):
        target, weight = encode(masks, torch.ones_like(masks), (20.0, 20.0))
        assert not target[:, 0].any() and not weight[:, 0].any() and weight[:, 1].any()


def test_units_are_50_nm_or_a_length_or_voxels():
    masks = torch.zeros(1, 1, 20, 20, dtype=torch.bool)
    masks[..., 10:] = True
    full = torch.ones_like(masks)
    at = (0, 0, 10, 11)  # one and a half voxels inside, along the axis of 40 nm
    assert targets.signed_distance(masks, full, (20.0, 40.0))[0][at] == pytest.approx(60 / 50)
    assert targets.signed_distance(masks, full, (20.0, 40.0), unit=1.0)[0][at] == pytest.approx(60)
    assert targets.signed_distance(masks, full, (20.0, 40.0), unit="voxel")[0][at] == 1.5
    assert targets.distance(masks, full, (20.0, 40.0), unit="voxel")[0][0, 0, 10, 8] == 0
    for wrong in ("pixel", 0, -1.0, math.inf):
        with pytest.raises(ValueError, match="unit is"):
            targets.distance(masks, full, (20.0, 40.0), unit=wrong)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**16), st.booleans())
def test_tanh_targets_where_they_count_are_those_of_the_exact_distance(seed, holes):
    rng = np.random.default_rng(seed)
    masks = torch.from_numpy(random_mask((2, 2, 17, 15), seed))
    annotated = torch.from_numpy(rng.random((2, 2, 17, 15)) > (0.02 if holes else -1))
    spacing, radius = (18.4, 18.4), 60.0
    exact = targets.boundary_distance(masks, spacing, radius, annotated)
    target, weight = targets.tanh_distance(masks, annotated, spacing, scale_nm=20.0)
    assert torch.equal(weight.bool(), targets.trusted(exact, annotated, spacing, radius))
    torch.testing.assert_close(target[weight > 0], torch.tanh(exact / 20)[weight > 0])
    assert not target[~annotated].any()
    relabelled = targets.tanh_distance(masks ^ ~annotated, annotated, spacing, scale_nm=20.0)
    assert torch.equal(relabelled[0], target) and torch.equal(relabelled[1], weight)


def direct_occupancy(masks, known, offsets):
    """Voxel by voxel, neighbour by neighbour."""
    batch, classes, *shape = masks.shape
    target, weight = np.zeros((2, batch, classes * len(offsets), *shape))
    for b, c, (k, offset) in itertools.product(range(batch), range(classes), enumerate(offsets)):
        for point in np.ndindex(*shape):
            there = tuple(p + o for p, o in zip(point, offset, strict=True))
            if all(0 <= t < n for t, n in zip(there, shape, strict=True)) and known[(b, c, *there)]:
                target[(b, c * len(offsets) + k, *point)] = masks[(b, c, *there)]
                weight[(b, c * len(offsets) + k, *point)] = 1
    return target, weight


@pytest.mark.parametrize(
    ("shape", "offsets"),
    [
        ((2, 2, 5, 6), targets.offsets(3, 2)),
        ((1, 2, 6, 5), targets.offsets(5, 2, "disc")),
        ((1, 1, 3, 4, 5), targets.offsets(3, 3)),
        ((1, 2, 5, 5), [(0, 0), (-4, 1), (5, 0), (0, -7)]),  # the last two see nothing of the crop
    ],
)
def test_local_occupancy_is_the_neighbours_label(shape, offsets):
    rng = np.random.default_rng(0)
    masks, known = rng.random(shape) > 0.5, rng.random(shape) > 0.2
    found = targets.local_occupancy(torch.from_numpy(masks), torch.from_numpy(known), offsets)
    for tensor, expected in zip(found, direct_occupancy(masks, known, offsets), strict=True):
        assert tensor.dtype == torch.float32
        np.testing.assert_array_equal(tensor.numpy(), expected)


def test_the_centre_of_the_neighbourhood_is_the_mask():
    masks = torch.from_numpy(random_mask((2, 3, 9, 9), 1))
    known = torch.from_numpy(random_mask((2, 3, 9, 9), 2))
    for kernel, shape in itertools.product((1, 3, 5, 7), ("square", "disc")):
        offsets = targets.offsets(kernel, 2, shape)
        centre, count = offsets.index((0, 0)), len(offsets)
        assert centre == count // 2
        target, weight = targets.local_occupancy(masks, known, offsets)
        expected = targets.one_hot(masks, known)
        assert torch.equal(target[:, centre::count], expected[0]) and torch.equal(weight[:, centre::count], expected[1])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([(3, "square"), (5, "square"), (5, "disc")]))
def test_local_occupancy_of_moved_labels_is_moved_with_its_channels_permuted(seed, kernel):
    masks = torch.from_numpy(random_mask((1, 2, 8, 8), seed))
    known = torch.from_numpy(random_mask((1, 2, 8, 8), seed + 1))
    offsets = targets.offsets(kernel[0], 2, kernel[1])

    def by_channel(pair):
        return torch.stack([tensor.unflatten(1, (2, len(offsets))) for tensor in pair])

    plain = by_channel(targets.local_occupancy(masks, known, offsets))
    for move, moved_offset in (
        (lambda t: t.flip(-1), lambda o: (o[0], -o[1])),
        (lambda t: t.flip(-2), lambda o: (-o[0], o[1])),
        (lambda t: t.transpose(-1, -2), lambda o: (o[1], o[0])),
        (lambda t: t.rot90(1, (-2, -1)), lambda o: (-o[1], o[0])),
    ):
        moved = by_channel(targets.local_occupancy(move(masks), move(known), offsets))
        order = [offsets.index(moved_offset(o)) for o in offsets]
        assert torch.equal(moved[:, :, :, order], move(plain))


def test_shifted_labels_give_shifted_occupancy_away_from_the_edge():
    masks = torch.zeros(1, 1, 20, 20, dtype=torch.bool)
    masks[..., 6:10, 5:9] = torch.from_numpy(random_mask((4, 4), 3))
    offsets = targets.offsets(5, 2)
    plain = targets.local_occupancy(masks, torch.ones_like(masks), offsets)[0]
    moved = targets.local_occupancy(masks.roll((3, 4), (-2, -1)), torch.ones_like(masks), offsets)[0]
    assert torch.equal(moved, plain.roll((3, 4), (-2, -1)))


def test_kernels_are_counted_and_their_halo_shows_every_neighbour():
    assert [len(targets.offsets(k, 2)) for k in (1, 3, 5, 7)] == [1, 9, 25, 49]
    assert [len(targets.offsets(k, 2, "disc")) for k in (1, 3, 5, 7)] == [1, 5, 13, 29]
    assert len(targets.offsets(3, 3)) == 27 and len(targets.offsets(3, 3, "disc")) == 7
    offsets = [(0, 0), (-3, 1), (2, 0)]
    halo = targets.offsets_halo(offsets)
    assert halo == (3, 1)
    window = torch.ones(1, 1, 10 + 6, 10 + 2, dtype=torch.bool)
    assert targets.local_occupancy(window, window, offsets)[1][..., 3:-3, 1:-1].all()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda m: targets.offsets(4, 2), "kernel is 4; expected an odd"),
        (lambda m: targets.offsets(0, 2), "kernel is 0"),
        (lambda m: targets.offsets(3.0, 2), "kernel is 3.0"),
        (lambda m: targets.offsets(3, 4), "dims is 4"),
        (lambda m: targets.offsets(3, 2, "circle"), "shape is 'circle'; expected square or disc"),
        (lambda m: targets.local_occupancy(m, m, []), "offsets is empty"),
        (lambda m: targets.local_occupancy(m, m, [(0, 0, 1)]), r"offset \(0, 0, 1\); expected 2 whole numbers"),
        (lambda m: targets.local_occupancy(m, m, [(0, 0.5)]), r"offset \(0, 0.5\)"),
        (lambda m: targets.local_occupancy(m, m[..., 1:], [(0, 0)]), r"\(1, 1, 8, 8\) and known \(1, 1, 8, 7\)"),
        (lambda m: targets.signed_distance(m, m[..., 1:], (1.0, 1.0)), r"and annotated \(1, 1, 8, 7\)"),
        (lambda m: targets.hot_distance(m, m, m[..., 1:], (1.0, 1.0)), r"and known \(1, 1, 8, 7\)"),
        (lambda m: targets.signed_distance(m, m, (1.0, -1.0), unit="voxel"), "expected positive"),
        (lambda m: targets.trusted(m.float(), m, (1.0, 1.0), -1.0), "radius is -1.0"),
    ],
)
def test_wrong_options_of_targets_are_named(call, says):
    with pytest.raises(ValueError, match=says):
        call(torch.zeros(1, 1, 8, 8, dtype=torch.bool))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_targets_on_cuda_are_those_on_the_cpu():
    masks = torch.from_numpy(random_mask((2, 2, 40, 40), 0))
    annotated = torch.from_numpy(random_mask((2, 2, 40, 40), 1))
    for encode in (
        lambda m, a: targets.hot_distance(m, a, a, (18.4, 18.4)),
        lambda m, a: targets.signed_distance(m, a, (18.4, 30.0)),
        lambda m, a: targets.local_occupancy(m, a, targets.offsets(3, 2)),
    ):
        for here, there in zip(encode(masks, annotated), encode(masks.cuda(), annotated.cuda()), strict=True):
            torch.testing.assert_close(here, there.cpu(), atol=1e-5, rtol=1e-5)
