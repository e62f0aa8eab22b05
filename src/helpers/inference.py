"""A trained network over whole images, and what must be known of it to answer an image block by block."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from helpers import checkpoints


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

    Raises
    ------
    ValueError
        A network in training mode, or an image that is too small for it.
    """
    _check_evaluation(network)
    size = raw.shape[1:]
    check_size(network, size)
    short, mode = padding(size, network.divisor)
    padded = np.pad(raw, ((0, 0), *((0, s) for s in short)), mode=mode)
    return run(network, padded[None])[(..., *(slice(length) for length in size))]


def scores(network: nn.Module, decode, images: Sequence) -> list[np.ndarray]:
    """Score maps of images, each float32 of shape (C, *S)."""
    return [decode(predict(network, image.raw))[0].numpy() for image in images]


def read(network: nn.Module, objective, images: Sequence) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """Score maps of images and, where the objective has them, distances in nm: float32 of shape (C, *S) each."""
    found, distances = [], []
    for image in images:
        output = predict(network, image.raw)
        found.append(objective.decode(output)[0].numpy())
        if objective.decode_distance:
            distances.append(objective.decode_distance(output, image.spacing)[0].numpy())
    return found, distances if objective.decode_distance else None


@torch.no_grad()
def run(network: nn.Module, raw: np.ndarray) -> Tensor:
    """The network's output for a batch that fits it: (B, K, *S) -> float32 on the CPU, (B, channels, *S)."""
    weights = next(network.parameters())
    return network(torch.from_numpy(raw).to(weights.device, weights.dtype)).float().cpu()


def padding(size: Sequence[int], divisor: int) -> tuple[list[int], str]:
    """What an image of that size lacks at the end of each axis, and how it is filled (a mode of numpy.pad)."""
    short = [-length % divisor for length in size]
    return short, "reflect" if min(size) > max(short) else "edge"


def check_size(network: nn.Module, size: Sequence[int]) -> None:
    """Refuse an image that is too small for a network which pads by reflection.

    Raises
    ------
    ValueError
        After the network's halvings an axis has one voxel left, in which nothing can be reflected.
    """
    reflects = any(getattr(module, "padding_mode", "zeros") == "reflect" for module in network.modules())
    least = network.divisor + 1  # padded to twice the divisor
    if reflects and min(size) < least:
        raise ValueError(
            f"an image of {' x '.join(map(str, size))} is too small: this network pads by reflection and needs at "
            f"least {least} voxels along each axis; pad the image, or use a network with zero padding"
        )


def _check_evaluation(network: nn.Module) -> None:
    if network.training:
        raise ValueError("the network is in training mode: its answer would depend on the batch; call .eval() first")


# --- what an answer by blocks needs to know


def halo_of(network: nn.Module) -> tuple[int, ...]:
    """Voxels around a block that its answer depends on, per axis and side; multiples of the network's divisor."""
    return tuple(-(-r // network.divisor) * network.divisor for r in network.reach)


def check_blockwise(network: nn.Module) -> None:
    """Refuse a network whose answer for a voxel depends on the block that it is computed in.

    Raises
    ------
    ValueError
        Normalisation over the image (GroupNorm, InstanceNorm, LayerNorm, or BatchNorm without running statistics), or
        a network that says so of itself (``blockwise``).
    """
    _check_evaluation(network)
    norms = nn.modules.batchnorm._NormBase  # BatchNorm and InstanceNorm
    for name, module in network.named_modules():
        looks = isinstance(module, (nn.GroupNorm, nn.LayerNorm)) or (
            isinstance(module, norms) and module.running_mean is None
        )
        if looks:
            raise ValueError(
                f"layer {name} is {type(module).__name__}, which normalises by what it sees: in blocks it would not "
                "give the answer of the whole image; train with BatchNorm, or predict whole images that fit in memory"
            )
    if getattr(network, "blockwise", True) is not True:
        raise ValueError(
            f"{type(network).__name__} says that its answer depends on the block it is computed in (blockwise is "
            "False); train it with batch normalisation, or predict whole images that fit in memory"
        )


@dataclass(frozen=True)
class Decoding:
    """What a ``decode`` does: how far it looks, how many scores it gives, and between which bounds (None: unbounded).

    ``reach`` is in voxels, per axis and side.
    """

    reach: tuple[int, ...]
    n_classes: int
    bounds: tuple[float, float] | None


@torch.no_grad()
def probe(decode: Callable[[Tensor], Tensor], channels: int, dims: int) -> Decoding:
    """Measure a ``decode`` by what one changed voxel of the output changes: nothing need be declared.

    Raises
    ------
    ValueError
        It looks further than 16 voxels: at the whole image, most likely.
    """
    generator = torch.Generator().manual_seed(0)
    for limit in (2, 4, 8, 17):
        output = torch.randn((1, channels, *(2 * limit + 1,) * dims), generator=generator)
        before = decode(output)
        if before.shape[2:] != output.shape[2:]:
            raise ValueError(f"decode turns size {tuple(output.shape[2:])} into {tuple(before.shape[2:])}")
        output[(..., *(limit,) * dims)] += 1
        changed = (decode(output) != before).flatten(0, 1).any(0).nonzero()
        reach = (changed - limit).abs().amax(0) if len(changed) else torch.zeros(dims, dtype=torch.long)
        if (reach < limit).all():
            extreme = decode(1e4 * output)
            low, high = float(extreme.min()), float(extreme.max())
            bounds = None if low < -1 or high > 1 else (-1.0, 1.0) if low < 0 else (0.0, 1.0)
            return Decoding(tuple(reach.tolist()), before.shape[1], bounds)
    raise ValueError(
        "decode looks further than 16 voxels, at the whole image perhaps: its answer cannot be made block by block"
    )


# --- checkpoints


def load_network(checkpoint: str | Path, device: str | torch.device = "cpu") -> tuple[nn.Module, dict[str, Any]]:
    """The network of a checkpoint, in evaluation mode, and the checkpoint's own account of itself.

    Returns
    -------
    network : nn.Module
    account : dict
        ``step``, ``model`` (the arguments that build the network) and ``task`` (objective, options, classes, spacing in
        nm per axis, data set, reduce, code).

    Raises
    ------
    ValueError
        As :func:`helpers.checkpoints.build_network`.
    """
    network, state = checkpoints.build_network(checkpoint)
    layout = torch.channels_last if network.dims == 2 else torch.contiguous_format
    return network.to(device, memory_format=layout), {key: state[key] for key in ("step", "model", "task")}
