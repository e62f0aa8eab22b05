"""Crops: where they fall, what they carry, the same from memory and from the store."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.augment import Batch
from helpers.crops import Crops, Encoded
from helpers.datasets import Image, store, windows


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def counting(*shape, name="i", masks=None):
    """An image whose raw values number its voxels, so that a crop tells where it is from."""
    raw = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape)
    full = np.ones((1, *shape), bool)
    masks = full if masks is None else masks
    return Image(name, raw, masks, np.ones_like(masks), np.ones_like(masks), (1.0,) * len(shape))


def test_crops_carry_their_margin_and_outside_the_image_nothing_is_known(discs):
    image = discs(0, size=20)
    crops = Crops([image], 20, (3, 3))  # only one position fits
    batch = crops.draw(2, seeded())
    assert batch.raw.shape == (2, 1, 26, 26)
    assert torch.equal(crops.cut(batch.raw)[0], torch.from_numpy(image.raw))
    assert torch.equal(crops.cut(batch.masks)[0], torch.from_numpy(image.masks))
    assert batch.known.sum() == batch.annotated.sum() == 2 * 20 * 20
    assert crops.cut(batch.known).all()


def test_crops_cover_every_position_evenly():
    crops = Crops([counting(12, 12)], 8, (0, 0))
    corners = crops.draw(5000, seeded()).raw[:, 0, 0, 0].int().tolist()
    positions = {y * 12 + x for y in range(5) for x in range(5)}
    assert set(corners) == positions
    assert max(np.bincount(corners)) < 2 * 5000 / len(positions)


def test_draws_without_balance_are_those_of_published_runs():
    """One number for each choice of image, then one per axis: written out, so that results stay what they were."""
    images, margin = [counting(20, 24), counting(18, 30)], 2
    batch = Crops(images, 8, (margin, margin)).draw(6, seeded(5))
    generator = seeded(5)
    choices = torch.randint(2, (6,), generator=generator).tolist()
    for sample, choice in enumerate(choices):
        padded = np.pad(images[choice].raw[0], margin, mode="reflect")
        y, x = (int(torch.randint(n - 8 + 1, (1,), generator=generator)) for n in images[choice].raw.shape[1:])
        np.testing.assert_array_equal(batch.raw[sample, 0].numpy(), padded[y : y + 12, x : x + 12])


def test_patches_of_a_side_per_axis_in_3d():
    crops = Crops([counting(6, 20, 10)], (2, 8, 10), (1, 0, 2))
    batch = crops.draw(50, seeded())
    assert batch.raw.shape == (50, 1, 4, 8, 14)
    inner = crops.cut(batch.raw)
    assert inner.shape == (50, 1, 2, 8, 10)
    z, y, x = np.unravel_index(inner[:, 0, 0, 0, 0].long().numpy(), (6, 20, 10))
    assert set(z) == set(range(5)) and set(y) == set(range(13)) and set(x) == {0}
    assert torch.equal(inner[:, 0, 1, 1, 1] - inner[:, 0, 0, 0, 0], torch.full((50,), 211.0))


def test_balanced_crops_are_centred_on_classes_evenly_and_the_rest_are_uniform():
    masks = np.zeros((3, 64, 64), bool)
    masks[0, 8:56, 8:56] = True  # common
    masks[1, 30, 40] = masks[1, 20, 12] = True  # two voxels; class 2 has none
    image = counting(64, 64, masks=masks)
    crops = Crops([counting(64, 64, masks=np.zeros_like(masks)), image], 9, (0, 0), balance=1.0)
    centres = crops.draw(4000, seeded()).masks[:, :, 4, 4]
    share = centres.float().mean(0)
    assert share[1] == pytest.approx(0.5, abs=0.03) and share[2] == 0
    assert centres.any(1).all()
    at = crops.draw(4000, seeded(1)).raw[:, 0, 4, 4].int()
    a, b = int((at == 30 * 64 + 40).sum()), int((at == 20 * 64 + 12).sum())
    assert abs(a - b) < 5 * (a + b) ** 0.5  # its two voxels alike
    quarter = Crops([image], 9, (0, 0), balance=0.25).draw(6000, seeded(2))
    here = (quarter.raw[:, 0, 4, 4].int() == 30 * 64 + 40).float().mean()
    assert here == pytest.approx(0.25 / 2 / 2, abs=0.01)


@given(corner=st.tuples(st.integers(0, 39), st.integers(0, 39)), seed=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_a_balanced_crop_holds_its_voxel_even_at_the_border(corner, seed):
    masks = np.zeros((1, 40, 40), bool)
    masks[(0, *corner)] = True
    crops = Crops([counting(40, 40, masks=masks)], 16, (2, 2), balance=1.0)
    assert (crops.cut(crops.draw(3, seeded(seed)).masks).sum((1, 2, 3)) == 1).all()


def test_balance_reaches_encoded_crops():
    masks = np.zeros((1, 30, 30), bool)
    masks[0, 15, 15] = True
    crops = Crops([counting(30, 30, masks=masks)], 5, (0, 0), lambda b: (b.masks.float(), b.known.float()), balance=1)
    drawn = crops.draw(4, seeded())
    assert isinstance(drawn, Encoded) and (drawn.target[:, 0, 2, 2] == 1).all()


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The same random images in memory and in a store: 2-D sections of a stack, and a volume."""
    pytest.importorskip("zarr")
    rng, path = np.random.default_rng(3), tmp_path_factory.mktemp("store") / "made.zarr"
    shapes = {"stack": (3, 70, 90), "volume": (80, 70, 66)}
    made = {}

    def fill(root):
        for name, shape in shapes.items():
            raw = rng.integers(0, 256, shape, dtype=np.uint8)
            masks = {c: rng.random(shape) < 0.5 for c in "ab"}
            annotated = {c: rng.random(shape) < 0.9 for c in "ab"}
            store.write_volume(root, name, raw, masks, annotated, axes="zyx", scale=(3.0, 1.0, 1.0))

    store.write(path, {"title": "made"}, {"file": "hash"}, fill)

    for lazy in (False, True):
        sections = list(windows.read_stack(path, "stack", "ab", [0, 2], 2, lazy))
        volumes = [windows.read_image(path, "volume", "ab", 1, lazy)]
        made[lazy] = [[Image(str(i), *a, a[2], (1.0,) * (len(a[0].shape) - 1)) for i, a in enumerate(images)]
                      for images in (sections, volumes)]  # fmt: skip
    return made


@pytest.mark.parametrize("balance", [0.0, 0.5])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("margin", [0, 3, 12])
def test_crops_from_the_store_are_those_from_memory(stored, which, balance, margin):
    dims = len(stored[False][which][0].spacing)
    patch = (16,) * dims
    windows.CACHE.clear()
    drawn = [
        Crops(stored[lazy][which], patch, (margin,) * dims, balance=balance).draw(12, seeded(7)) for lazy in (0, 1)
    ]
    for a, b in zip(*drawn, strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b)


def test_a_window_larger_than_the_image_is_mirrored_alike(stored):
    small = dataclasses.replace(stored[True][0][0])
    held = stored[False][0][0]
    for image in (small, held):
        assert image.raw.shape == (1, 35, 45)
    a, b = (Crops([i], (35, 45), (40, 50)).draw(1, seeded()) for i in (small, held))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_cache_keeps_within_its_size_and_reads_again_what_it_dropped(stored):
    cache = windows.Cache(100_000)
    image = stored[True][1][0]
    limited = windows.Stored(image.raw._arrays, store.reduce_raw, np.float32, cache=cache)
    whole = np.asarray(limited)
    assert cache.held <= 64**3 and np.array_equal(whole, np.asarray(stored[False][1][0].raw))
    assert np.array_equal(limited[:, 60:70, 3:9], whole[:, 60:70, 3:9])


def test_chunks_read_straight_from_their_shards_are_what_zarr_reads(stored, monkeypatch):
    for kind in ("raw", "masks"):
        chunks = getattr(stored[True][1][0], kind)._arrays[0]
        assert chunks._direct and chunks.array.shards == (128, 128, 128)
        plain = windows.Chunks(chunks.array)
        plain._direct = False
        for index in np.ndindex(2, 2, 2):
            np.testing.assert_array_equal(chunks.read(index), plain.read(index))
        assert chunks.read((1, 1, 1)).shape == (16, 6, 2)


def test_a_chunk_with_a_flipped_bit_is_refused(tmp_path):
    raw = np.random.default_rng(0).integers(0, 256, (300, 300), dtype=np.uint8)
    path = tmp_path / "a.zarr"
    store.write(path, {}, {}, lambda root: store.write_volume(root, "v", raw, {}, {}, axes="yx", scale=(1.0, 1.0)))
    shard = path / "v/raw/c/0/0"
    content = bytearray(shard.read_bytes())
    content[5000] ^= 1
    shard.write_bytes(content)
    (array,) = store.open_arrays(path, "v", ["raw"])
    with pytest.raises(Exception, match="(?i)checksum|decompress|corrupt"):
        np.asarray(windows.Stored([windows.Chunks(array)], store.reduce_raw, np.float32, cache=windows.Cache()))


def test_stored_arrays_are_sliced_plainly_or_not_at_all(stored):
    raw = stored[True][0][0].raw
    with pytest.raises(TypeError, match="slices without steps"):
        list(raw)  # never quietly empty
    for window in (0, (slice(None), 3), (slice(None), slice(0, 9, 2)), (slice(0, 1), slice(0, 2))):
        with pytest.raises(TypeError, match="slices without steps"):
            raw[window]


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        ((30, (0, 0)), {}, r"patch is 30, larger than image i of size \(20, 40\); expected at most 20"),
        (((8, 50), (0, 0)), {}, r"patch is \(8, 50\), larger than image i of size \(20, 40\)"),
        (((8, 8, 8), (0, 0)), {}, "expected a side and a margin for 2 axes"),
        ((0, (0, 0)), {}, "patch is 0"),
        ((8, (0,)), {}, "expected a side and a margin for 2 axes"),
        ((8, (0, 0)), {"balance": 1.5}, "balance is 1.5; expected a share"),
    ],
)
def test_refusals(arguments, options, says):
    with pytest.raises(ValueError, match=says):
        Crops([counting(20, 40)], *arguments, **options)


def test_mixed_dimensions_missing_classes_and_whole_targets_from_a_store_are_refused(stored):
    with pytest.raises(ValueError, match="all 2-D or all 3-D"):
        Crops([counting(20, 20), counting(20, 20, 20)], 8, (0, 0))
    with pytest.raises(ValueError, match="no image has a voxel"):
        Crops([counting(20, 20, masks=np.zeros((1, 20, 20), bool))], 8, (0, 0), balance=0.5)
    with pytest.raises(ValueError, match="need it in memory"):
        Crops(stored[True][0], 8, (0, 0), lambda batch: (batch.masks, batch.known))


def test_crops_are_batches(discs):
    assert isinstance(Crops([discs(0)], 8, (0, 0)).draw(1, seeded()), Batch)
