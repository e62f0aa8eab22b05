"""Blocks cover a volume once, their record survives anything, and labels agree across their borders."""

import itertools
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from helpers.blocks import Grid, Record, fragments, grow, link, meet, within, work
from helpers.sizes import choose_block, window_voxels

SHAPES = st.lists(st.integers(1, 9), min_size=2, max_size=3).map(tuple)


@settings(deadline=None)
@given(SHAPES, st.integers(1, 5), st.integers(1, 6))
def test_every_voxel_is_in_one_block_and_every_block_in_one_job(shape, side, jobs):
    grid = Grid(shape, (side,) * len(shape))
    covered = np.zeros(shape, int)
    for index in range(len(grid)):
        covered[grid.box(index)] += 1
    assert (covered == 1).all()
    shares = [list(grid.share(job, jobs)) for job in range(1, jobs + 1)]
    assert sum(shares, []) == list(range(len(grid)))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=3).map(tuple), st.integers(1, 3))
def test_neighbours_are_the_blocks_that_touch_once_each(shape, side):
    grid = Grid(shape, (side,) * len(shape))
    axes = range(len(shape))
    found = {(i, j) for i in range(len(grid)) for j in grid.neighbours(i, axes)}
    touching = set()
    for i, j in itertools.combinations(range(len(grid)), 2):
        common = meet(grow(grid.box(i), (1,) * len(shape), shape), grid.box(j))
        if all(s.stop > s.start for s in common):
            touching.add((i, j))
    assert found == touching
    assert not any(grid.box(i)[0] != grid.box(j)[0] for i in range(len(grid)) for j in grid.neighbours(i, [1]))


def test_a_record_reads_whole_lines_alone(tmp_path):
    record = Record(tmp_path, "predict", 1, 2)
    for index in (3, 12):
        record.add(index)
    Record(tmp_path, "predict", 2, 2).add(5)
    Record(tmp_path, "label").add(9)
    for end in ("\n", "\n1", "\n14", "\n14 do"):  # a full disk, or a kill
        text = record.path.read_text()
        record.path.write_text(text + end)
        record.add(7)
        assert np.nonzero(record.done(20))[0].tolist() == [3, 5, 7, 12]
        record.path.write_text(text)
    record.add(40)  # of another grid: not a block of this one
    assert np.nonzero(record.done(20))[0].tolist() == [3, 5, 12]


@pytest.mark.parametrize("workers", [1, 3])
def test_work_does_what_is_left_once_and_stops_at_an_error(tmp_path, workers):
    grid, record, calls, lock = Grid((40,), (1,)), Record(tmp_path, "x"), [], threading.Lock()

    def do(index):
        with lock:
            calls.append(index)
        if index == 9 and len(calls) < 30:
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        work(grid, record, range(40), do, workers=workers, log=lambda line: None)
    assert len(calls) < 20
    done = np.nonzero(record.done(40))[0].tolist()
    assert sorted([*done, 9]) == sorted(calls), "what was in flight is finished and recorded"
    calls.extend([-1] * 30)
    lines = []
    assert work(grid, record, range(40), do, workers=workers, log=lines.append) == 40 - len(done)
    assert record.done(40).all() and lines[0] == f"x: {len(done)} of 40 blocks were done before"
    again = [c for c in calls if c >= 0]
    assert sorted(again) == sorted([*range(40), 9])


def linked(mask, side, overlap, label, any_overlap, axes=None):
    """Instances of a mask by blocks."""
    axes = range(mask.ndim) if axes is None else axes
    grid, found = Grid(mask.shape, (side,) * mask.ndim), []
    for index in range(len(grid)):
        core = grid.box(index)
        window = grow(core, [overlap * (axis in axes) for axis in range(mask.ndim)], mask.shape)
        found.append(fragments(label(mask[window]), window, core, axes, mask.shape))
    counts = np.array([(f.n_core, f.n) for f in found])
    ids = link(grid, counts, lambda i: (found[i].where, found[i].label), axes, any_overlap=any_overlap)
    first = np.concatenate(([0], np.cumsum(counts[:, 1])))
    out = np.zeros(mask.shape, np.int64)
    for index, piece in enumerate(found):
        out[grid.box(index)] = np.where(piece.labels > 0, ids[first[index] + piece.labels], 0)
    return out, ids


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**20), SHAPES, st.integers(1, 4), st.integers(1, 3), st.booleans(), st.floats(0.1, 0.7))
def test_connected_components_of_any_size_are_exact(seed, shape, side, overlap, diagonals, share):
    mask = np.random.default_rng(seed).random(shape) < share
    structure = ndimage.generate_binary_structure(len(shape), len(shape) if diagonals else 1)
    expected, count = ndimage.label(mask, structure)
    found, ids = linked(mask, side, overlap, lambda m: ndimage.label(m, structure)[0], any_overlap=True)
    pairs = np.unique(np.stack((found[mask], expected[mask])), axis=1)
    assert np.array_equal(found > 0, mask) and pairs.shape[1] == count == found.max()
    assert len(np.unique(pairs[0])) == count, "ids without a gap, one for each object"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**20), st.integers(2, 3), st.integers(3, 6))
def test_touching_pieces_shorter_than_the_overlap_are_cut_and_linked_as_in_the_whole(seed, dims, side):
    """Objects that touch, told apart by a rule that sees one connected piece: its left and its right half."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((17,) * dims, bool)
    for corner in rng.integers(0, 16, (7, dims)):
        mask[tuple(slice(c, c + s) for c, s in zip(corner, rng.integers(1, 4, dims), strict=True))] = True

    def halves(part):
        pieces, count = ndimage.label(part)
        for k, box in enumerate(ndimage.find_objects(pieces), 1):
            middle = (box[-1].start + box[-1].stop) // 2
            right = np.zeros(part.shape, bool)
            right[..., middle:] = True
            pieces[right & (pieces == k)] += count
        return pieces

    expected = halves(mask)
    pieces = ndimage.find_objects(ndimage.label(mask)[0])
    longest = max(s.stop - s.start for box in pieces for s in box)
    found, _ = linked(mask, side, longest + 2, halves, any_overlap=False)
    pairs = np.unique(np.stack((found[mask], expected[mask])), axis=1)
    n = len(np.unique(expected[mask]))
    assert pairs.shape[1] == n == found.max() == len(np.unique(pairs[0]))


def test_of_two_views_of_a_long_object_the_half_decides():
    """Two blocks of a strip; the second one's view of the shared slab is split 3 : 1."""
    grid = Grid((4, 8), (4, 4))
    box = [grid.box(0), grid.box(1)]
    window = (slice(0, 4), slice(0, 8))
    one, two = np.ones((4, 8), int), np.ones((4, 8), int)
    one[3] = 0  # the first sees an object of three rows; the second one of two rows and one of the two others
    two[2:] = 2
    found = [fragments(v, window, b, (0, 1), grid.shape) for v, b in zip((one, two), box, strict=True)]
    counts = np.array([(f.n_core, f.n) for f in found])
    assert counts.tolist() == [[1, 1], [2, 2]]
    shells = [(f.where, f.label) for f in found]
    strict = link(grid, counts, shells.__getitem__, (0, 1))
    assert strict.tolist() == [0, 1, 1, 2], "of the lower piece of four voxels at the border just half is shared: apart"
    loose = link(grid, counts, shells.__getitem__, (0, 1), any_overlap=True)
    assert loose.tolist() == [0, 1, 1, 1]


def test_within_is_where_a_box_lies_in_another():
    outer, inner = (slice(3, 9), slice(0, 5)), (slice(4, 6), slice(2, 5))
    volume = np.arange(60).reshape(10, 6)
    assert np.array_equal(volume[outer][within(inner, outer)], volume[inner])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(1, 1100), min_size=3, max_size=3).map(tuple),
    st.integers(2, 3),
    st.integers(0, 12),
    st.sampled_from([2, 4, 8]),
    st.integers(2**15, 2**21),
)
def test_blocks_keep_to_the_memory_unless_they_are_as_small_as_the_halo(shape, dims, halo, divisor, voxels):
    halo = (halo * divisor,) * dims
    block, batch = choose_block(shape, dims, halo, divisor, voxels, None)
    assert all(b % divisor == 0 for b in block[3 - dims :])
    seen = window_voxels(shape, dims, halo, divisor, block) * batch
    assert seen <= voxels or max(block[-dims:]) <= max(32, *halo) + divisor


@pytest.mark.parametrize(("dims", "halo", "divisor"), [(2, 44, 8), (3, 8, 2), (3, 20, 4), (3, 44, 8)])
def test_what_a_network_sees_at_once_does_not_grow_with_the_volume(dims, halo, divisor):
    seen = []
    for side in (256, 512, 1024, 4096):
        block, batch = choose_block((side,) * 3, dims, (halo,) * dims, divisor, 2**21 if dims == 3 else 2**20, None)
        grid = Grid((side,) * dims, block[-dims:])
        boxes = [grow(grid.box(i), (halo,) * dims, grid.shape) for i in range(min(len(grid), 3000))]
        seen.append(batch * max(np.prod([s.stop - s.start for s in box]) for box in boxes))
    assert max(seen) < 1.1 * seen[0], seen
