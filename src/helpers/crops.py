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

    Parameters
    ----------
    images : sequence of helpers.datasets.Image
    patch : int
        Side of a crop, in voxels along every axis.
    margin : tuple of int
        Voxels of labels beyond the crop, per axis. Outside the image nothing is annotated.
    encode : callable, optional
        :class:`Batch` of one whole image -> target and weight: for targets that look across the whole image. The
        crops are then :class:`Encoded`, and only movements that keep distances (flips, quarter turns) are right.
    """

    def __init__(self, images: Sequence, patch: int, margin: tuple[int, ...], encode: Callable | None = None):
        for image in images:
            if min(image.raw.shape[1:]) < patch:
                raise ValueError(
                    f"patch is {patch}, larger than image {image.name} of size {image.raw.shape[1:]}; "
                    f"expected at most {min(image.raw.shape[1:])} (or a smaller reduce)"
                )
        self.patch, self.margin = patch, margin
        pad = ((0, 0), *((m, m) for m in margin))
        self.images = []
        for image in images:
            raw = torch.from_numpy(np.pad(image.raw, pad, mode="reflect"))
            labels = (torch.from_numpy(np.pad(a, pad)) for a in (image.masks, image.annotated, image.known))
            whole = Batch(raw, *labels)
            if encode is not None:
                target, weight = encode(Batch(*(tensor[None] for tensor in whole)))
                whole = Encoded(raw, target[0], weight[0])
            self.images.append(whole)

    def draw(self, size: int, generator: torch.Generator) -> Batch | Encoded:
        """``size`` crops, margin included, uniform over images and positions."""
        samples = []
        for choice in torch.randint(len(self.images), (size,), generator=generator).tolist():
            image = self.images[choice]
            window = [slice(None)]
            for length, margin in zip(image.raw.shape[1:], self.margin, strict=True):
                extent = self.patch + 2 * margin
                start = int(torch.randint(length - extent + 1, (1,), generator=generator))
                window.append(slice(start, start + extent))
            samples.append([tensor[tuple(window)] for tensor in image])
        return type(image)(*map(torch.stack, zip(*samples, strict=True)))

    def cut(self, tensor: Tensor) -> Tensor:
        """Without the margin."""
        return tensor[(..., *(slice(m, m + self.patch) for m in self.margin))]
