"""Augmentation of raw and labels together, before any target is made of them.

A distance that was warped is no distance, so labels move first and targets are made afterwards. Functions take a
:class:`Batch`, or any named tuple of tensors (B, channels, *S) with a field ``raw``, and return one of the same kind.
"""

from typing import NamedTuple

import torch
from torch import Tensor

AUGMENTATIONS = ("none", "flips", "affine")
SCALES = (0.8, 1.25)  # of "affine"
AFFINE_REACH = (2**0.5 / SCALES[0] - 1) / 2  # how far beyond a square of side 1 its image comes from, at most


class Batch(NamedTuple):
    """raw float (B, K, *S) in [0, 1]; masks, annotated and known bool (B, C, *S)."""

    raw: Tensor
    masks: Tensor
    annotated: Tensor
    known: Tensor


def augment(batch: Batch, augmentation: str, generator: torch.Generator) -> Batch:
    """Apply one of AUGMENTATIONS, then (but for "none") vary brightness and contrast.

    Parameters
    ----------
    batch : Batch
    augmentation : str
        "none"; "flips": a random element of the square's (cube's) symmetry group in the last two axes, and flips of
        the first in 3-D; "affine": flips, then rotation by any angle and scaling by 0.8 to 1.25 in the last two axes.
    generator : torch.Generator
        On the CPU; the only source of randomness.

    Raises
    ------
    ValueError
        Unknown augmentation; last two axes that differ in size (quarter turns would change the shape).
    """
    if augmentation not in AUGMENTATIONS:
        raise ValueError(f"augmentation is {augmentation!r}; expected one of {', '.join(AUGMENTATIONS)}")
    if augmentation == "none":
        return batch
    if batch.raw.shape[-1] != batch.raw.shape[-2]:
        raise ValueError(f"patch of size {tuple(batch.raw.shape[2:])}; the last two axes must be equally long to turn")
    batch = flip_and_turn(batch, generator)
    if augmentation == "affine":
        batch = rotate_and_scale(batch, generator)
    return batch._replace(raw=vary_intensity(batch.raw, generator))


def flip_and_turn(batch: Batch, generator: torch.Generator) -> Batch:
    """Each sample by its own random mirror image and quarter turn: exact, no interpolation."""
    size, dims = batch.raw.shape[0], batch.raw.ndim - 2
    turns = torch.randint(4, (size,), generator=generator).tolist()
    mirrored = torch.randint(2, (size, dims - 1), generator=generator).tolist()

    def move(tensor: Tensor) -> Tensor:
        samples = []
        for sample, turn, flips in zip(tensor, turns, mirrored, strict=True):
            # mirrored along one in-plane axis and, in 3-D, along the first; turns make up the rest of the group
            axes = [axis for axis, flip in zip((-1, -3), flips, strict=False) if flip]
            samples.append(torch.rot90(sample.flip(axes), turn, (-2, -1)))
        return torch.stack(samples)

    return type(batch)(*map(move, batch))


def rotate_and_scale(batch: Batch, generator: torch.Generator) -> Batch:
    """Each sample about its centre; raw by bilinear, labels by nearest neighbour.

    What comes in from outside is neither annotated nor known, and never background.
    """
    import kornia.geometry.transform as kt

    if batch.raw.ndim != 4:
        raise ValueError('augmentation is "affine" in 3-D; expected 2-D patches (use "flips")')
    size, height, width = batch.raw.shape[0], *batch.raw.shape[-2:]
    angle = torch.rand(size, generator=generator) * 360
    scale = SCALES[0] * (SCALES[1] / SCALES[0]) ** torch.rand(size, generator=generator)
    centre = torch.tensor([[(width - 1) / 2, (height - 1) / 2]]).expand(size, 2)
    matrix = kt.get_rotation_matrix2d(centre, angle, scale[:, None].expand(size, 2)).to(batch.raw.device)

    def move(tensor: Tensor, mode: str, padding: str) -> Tensor:
        return kt.warp_affine(
            tensor.float(), matrix, (height, width), mode=mode, padding_mode=padding, align_corners=True
        )

    labels = (move(labels, "nearest", "zeros") > 0.5 for labels in batch[1:])
    return Batch(move(batch.raw, "bilinear", "reflection"), *labels)


def vary_intensity(raw: Tensor, generator: torch.Generator, contrast: float = 0.2, brightness: float = 0.1) -> Tensor:
    """Each sample's greys scaled about one half by 1 +- contrast and shifted by +- brightness, uniformly."""
    shape = (raw.shape[0],) + (1,) * (raw.ndim - 1)
    gain = 1 + contrast * (2 * torch.rand(shape, generator=generator) - 1)
    shift = brightness * (2 * torch.rand(shape, generator=generator) - 1)
    return (raw - 0.5) * gain.to(raw.device) + 0.5 + shift.to(raw.device)
