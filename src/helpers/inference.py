"""A trained network over whole images."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


@torch.no_grad()
def predict(network: nn.Module, raw: np.ndarray) -> Tensor:
    """The network's output for one image of any size.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode, with attribute ``divisor``.
    raw : float array, shape (K, *S)
        Grey in [0, 1]. Padded by reflection to what the network's halvings need; the padding is cut off again.

    Returns
    -------
    float32 tensor on the CPU, shape (1, channels, *S).
    """
    if network.training:
        raise ValueError("the network is in training mode: its answer would depend on the batch; call .eval() first")
    weights = next(network.parameters())
    size = raw.shape[1:]
    short = [-length % network.divisor for length in size]
    padded = np.pad(raw, ((0, 0), *((0, s) for s in short)), mode="reflect" if min(size) > max(short) else "edge")
    batch = torch.from_numpy(padded).to(weights.device, weights.dtype)[None]
    output = network(batch)
    return output[(..., *(slice(length) for length in size))].float().cpu()


def scores(network: nn.Module, decode, images: Sequence) -> list[np.ndarray]:
    """Score maps of images, each float32 of shape (C, *S)."""
    return [decode(predict(network, image.raw))[0].numpy() for image in images]
