"""Random crops of labelled images, with a margin of labels around each so that targets are right at its edge."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from helpers.augment import Batch


class Encoded(NamedTuple):
    """raw float (B, K, *S); target and weight float (B, channels, *S): labels already encoded."""

    raw: Tensor
    target: Tensor
    weight: Tensor


class Crops:
    """Random crops of labelled images, with a margin of labels around each so that targets are right at its edge.

    Images in memory are held padded by the margin. Those left in a store (``datasets.load(…, lazy=True)``) are read
    window by window. Both give the same crops, bit for bit, from the same generator.

    Parameters
    ----------
    images : sequence of helpers.datasets.Image
        Of any sizes, all 2-D or all 3-D.
    patch : int or tuple of int
        Side of a crop in voxels, one for all axes or one per axis.
    margin : tuple of int
        Voxels of labels beyond the crop, per axis. Outside the image nothing is annotated.
    encode : callable, optional
        :class:`Batch` of one whole image -> target and weight: for targets that look across the whole image. The
        crops are then :class:`Encoded`, and only movements that keep distances (flips, quarter turns) are right.
    balance : float
        Share of crops, 0 to 1, about a voxel of a class: the class drawn uniformly among those that occur, then one
        of its voxels uniformly among all images'. The voxel is at the crop's centre, or as near as the image allows.
        The other crops are uniform over images, and within one over positions.
    """

    def __init__(
        self,
        images: Sequence,
        patch: int | tuple[int, ...],
        margin: tuple[int, ...],
        encode: Callable | None = None,
        *,
        balance: float = 0.0,
    ):
        dims = {len(image.raw.shape) - 1 for image in images}
        if len(dims) != 1:
            raise ValueError(f"{len(images)} images of {sorted(dims)} axes; expected some, all 2-D or all 3-D")
        (dims,) = dims
        if not 0 <= balance <= 1:
            raise ValueError(f"balance is {balance!r}; expected a share from 0 to 1")
        sides = (patch,) * dims if isinstance(patch, int) else tuple(patch)
        if len(sides) != dims or len(margin) != dims or min(sides) < 1:
            raise ValueError(f"patch is {patch!r} and margin {margin!r}; expected a side and a margin for {dims} axes")
        for image in images:
            size = tuple(image.raw.shape[1:])
            if any(n < side for n, side in zip(size, sides, strict=True)):
                most = min(size) if isinstance(patch, int) else size
                raise ValueError(
                    f"patch is {patch}, larger than image {image.name} of size {size}; "
                    f"expected at most {most} (or a smaller reduce)"
                )
        self.patch, self.margin, self.balance = sides, margin, balance
        self.images = [
            _Held(image, margin, encode) if isinstance(image.raw, np.ndarray) else _OnDisk(image, margin, encode)
            for image in images
        ]
        self._foreground = _Foreground(images) if balance else None

    def draw(self, size: int, generator: torch.Generator) -> Batch | Encoded:
        """``size`` crops, margin included, from ``balance`` and the generator alone."""
        samples = []
        choices = torch.randint(len(self.images), (size,), generator=generator).tolist()
        centred = (torch.rand(size, generator=generator) < self.balance).tolist() if self.balance else [False] * size
        for choice, centre in zip(choices, centred, strict=True):
            if centre:
                choice, voxel = self._foreground.draw(generator)
                shape = self.images[choice].shape
                corner = [
                    min(max(v - side // 2, 0), n - side) for v, n, side in zip(voxel, shape, self.patch, strict=True)
                ]
            else:
                corner = [
                    int(torch.randint(n - side + 1, (1,), generator=generator))
                    for n, side in zip(self.images[choice].shape, self.patch, strict=True)
                ]
            extent = [side + 2 * m for side, m in zip(self.patch, self.margin, strict=True)]
            samples.append(self.images[choice].window(corner, extent))
        return self.images[0].kind(*map(torch.stack, zip(*samples, strict=True)))

    def cut(self, tensor: Tensor) -> Tensor:
        """Without the margin."""
        return tensor[(..., *(slice(m, m + side) for m, side in zip(self.margin, self.patch, strict=True)))]


class _Held:
    """An image in memory, padded: raw mirrored, labels with nothing."""

    def __init__(self, image, margin, encode):
        pad = ((0, 0), *((m, m) for m in margin))
        raw = torch.from_numpy(np.pad(image.raw, pad, mode="reflect"))
        whole = Batch(raw, *(torch.from_numpy(np.pad(a, pad)) for a in (image.masks, image.annotated, image.known)))
        if encode is not None:
            target, weight = encode(Batch(*(tensor[None] for tensor in whole)))
            whole = Encoded(raw, target[0], weight[0])
        self.kind, self.shape, self._tensors = type(whole), image.raw.shape[1:], tuple(whole)

    def window(self, corner, extent):
        where = (slice(None), *(slice(c, c + e) for c, e in zip(corner, extent, strict=True)))
        return [tensor[where] for tensor in self._tensors]


class _OnDisk:
    """An image that is read when a crop is cut: what lies outside is made as `_Held` pads it."""

    def __init__(self, image, margin, encode):
        if encode is not None:
            raise ValueError(f"{image.name} is left in its store; targets of whole images need it in memory (no lazy)")
        self.kind, self.shape, self._image, self._margin = Batch, tuple(image.raw.shape[1:]), image, margin
        self._mirror = [np.pad(np.arange(n), m, mode="reflect") for n, m in zip(self.shape, margin, strict=True)]

    def window(self, corner, extent):
        image = self._image
        annotated = self._labels(image.annotated, corner, extent)
        known = annotated if image.known is image.annotated else self._labels(image.known, corner, extent)
        arrays = (self._raw(corner, extent), self._labels(image.masks, corner, extent), annotated, known)
        return [torch.from_numpy(array) for array in arrays]

    def _raw(self, corner, extent):
        at = [mirror[c : c + e] for mirror, c, e in zip(self._mirror, corner, extent, strict=True)]
        first = [int(a.min()) for a in at]
        raw = self._image.raw[(slice(None), *(slice(f, int(a.max()) + 1) for f, a in zip(first, at, strict=True)))]
        for axis, (a, f) in enumerate(zip(at, first, strict=True), 1):
            if raw.shape[axis] != len(a) or a[0] != f:
                raw = raw.take(a - f, axis)
        return np.ascontiguousarray(raw)

    def _labels(self, labels, corner, extent):
        inner, pad = [slice(None)], [(0, 0)]
        for c, e, m, n in zip(corner, extent, self._margin, self.shape, strict=True):
            first, last = max(c - m, 0), min(c - m + e, n)
            inner.append(slice(first, last))
            pad.append((first - (c - m), c - m + e - last))
        found = labels[tuple(inner)]
        return np.pad(found, pad) if np.any(pad) else np.ascontiguousarray(found)


class _Foreground:
    """Draws voxels of classes: knows how many there are in each row (first axis) of each image, and reads the row."""

    def __init__(self, images, slab=64):
        self._images, rows, counts = images, [], []
        for number, image in enumerate(images):
            length = image.masks.shape[1]
            rows += [(number, row) for row in range(length)]
            for first in range(0, length, slab):
                masks = np.asarray(image.masks[:, first : first + slab])
                counts.append(masks.reshape(*masks.shape[:2], -1).sum(-1))
        self._rows, totals = rows, np.concatenate(counts, 1).cumsum(1)
        self._totals = {c: total for c, total in enumerate(totals) if total[-1]}
        if not self._totals:
            raise ValueError("balance is above 0, but no image has a voxel of any class; expected 0 (uniform crops)")

    def draw(self, generator):
        present = list(self._totals)
        one = present[int(torch.randint(len(present), (1,), generator=generator))]
        totals = self._totals[one]
        voxel = int(torch.randint(int(totals[-1]), (1,), generator=generator))
        place = int(np.searchsorted(totals, voxel, side="right"))
        number, row = self._rows[place]
        mask = np.asarray(self._images[number].masks[:, row : row + 1])[one, 0]
        inside = np.flatnonzero(mask)[voxel - (int(totals[place - 1]) if place else 0)]
        return number, (row, *map(int, np.unravel_index(inside, mask.shape)))
