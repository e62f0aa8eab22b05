"""Augmentation: everything moves together, and nothing unknown becomes background."""

import numpy as np
import pytest
import torch

from helpers.augment import AUGMENTATIONS, Batch, augment, flip_and_turn, rotate_and_scale


def batch(size=16, n=6, dims=2):
    """Raw is the mask's picture, so that they can be compared after any movement."""
    generator = torch.Generator().manual_seed(3)
    masks = torch.rand(n, 2, *(size,) * dims, generator=generator) > 0.5
    annotated = torch.rand(n, 2, *(size,) * dims, generator=generator) > 0.2
    return Batch(masks[:, :1].float(), masks, annotated, annotated | masks)


@pytest.mark.parametrize("dims", [2, 3])
def test_flips_and_turns_move_everything_alike(dims):
    before = batch(8, 64, dims)
    after = flip_and_turn(before, torch.Generator().manual_seed(0))
    assert torch.equal(after.raw, after.masks[:, :1].float())
    assert torch.equal(after.known, after.annotated | after.masks)
    assert torch.equal(after.masks.sum((2, 3)).sum(), before.masks.sum((2, 3)).sum())


def test_every_symmetry_of_the_square_is_drawn_and_no_other():
    picture = torch.arange(9).reshape(1, 1, 3, 3).float().expand(400, 1, 3, 3)
    full = torch.ones(400, 1, 3, 3, dtype=torch.bool)
    after = flip_and_turn(Batch(picture, full, full, full), torch.Generator().manual_seed(0)).raw
    seen = {tuple(sample.flatten().tolist()) for sample in after}
    square = np.arange(9).reshape(3, 3)
    expected = {tuple(np.rot90(s, k).flatten()) for s in (square, square[:, ::-1]) for k in range(4)}
    assert seen == expected


def test_rotation_keeps_raw_and_labels_together_and_leaves_the_outside_unknown():
    size = 65
    y, x = np.mgrid[:size, :size] - size // 2
    shape = torch.from_numpy((np.hypot(y - 6, x) < 10) | ((np.abs(y) < 3) & (np.abs(x) < 20)))
    masks = shape.expand(4, 1, size, size).clone()
    full = torch.ones_like(masks)
    after = rotate_and_scale(Batch(masks.float(), masks, full, full), torch.Generator().manual_seed(1))
    agreement = ((after.raw > 0.5) == after.masks).float().mean((1, 2, 3))
    assert (agreement > 0.99).all()
    assert after.masks.dtype == after.known.dtype == torch.bool
    corners = after.known[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert not corners.all(), "some corner must have come in from outside"
    assert torch.equal(after.known, after.annotated)
    assert not torch.equal(after.masks, masks)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_seed_decides(name):
    first, again, other = (augment(batch(), name, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert (name == "none") == torch.equal(first.raw, other.raw)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="'flip'; expected one of none, flips, affine"):
        augment(batch(), "flip", torch.Generator())
    oblong = Batch(*(tensor[..., :12] for tensor in batch()))
    with pytest.raises(ValueError, match="equally long"):
        augment(oblong, "flips", torch.Generator())
    with pytest.raises(ValueError, match="in 3-D"):
        augment(batch(8, 2, 3), "affine", torch.Generator())
