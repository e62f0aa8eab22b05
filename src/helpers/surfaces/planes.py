"""Planes through a network's weights: which directions they are spanned by, and where the training's path lies on them.

A plane is the set of weights theta + x d1 + y d2. Random directions are made comparable between networks by filter
normalisation [1]_: a Gaussian direction, each filter of it scaled to the length of the weights' own filter; biases and
normalisations stay where they are. x = 1 is then a change as large as the weights themselves, and networks that compute
the same function by other weights (a ReLU network's layers scaled up and down) have the same plane. The directions of
the path are the first two principal components of the checkpoints' weights; x and y are Euclidean lengths there.

References
----------
.. [1] Li et al. 2018, Visualizing the loss landscape of neural nets, arXiv:1712.09913
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

RESOLUTIONS = (5, 201)  # fewer points show no surface, more take hours and cannot be told apart on a page
FARTHEST = 5.0  # random directions: at 1 the perturbation is as large as the weights
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True, eq=False)
class Plane:
    """One kind of plane, through each of M moments of a training with T checkpoints.

    Attributes
    ----------
    name : str
        "random" or "pca".
    directions : float32 tensor, shape (M, 2, P)
    x, y : float64 arrays, shape (M, n)
        Coordinates of the grid's columns and rows.
    centre : int array, shape (M, 2)
        Column and row of the moment itself, exactly on the grid; -1 where its weights are not finite.
    origin : float64 array, shape (M, 2)
        Coordinates of the moment: weights at (x, y) are those of the moment + (x - origin) d1 + (y - origin) d2.
    path : float64 array, shape (M, T, 2)
        Coordinates of every checkpoint, projected onto the plane; NaN where its weights are not finite.
    explained : float64 array, shape (M, 2)
        Share of the path's variance along the first direction, and along what the second adds to it.
    """

    name: str
    directions: Tensor
    x: np.ndarray
    y: np.ndarray
    centre: np.ndarray
    origin: np.ndarray
    path: np.ndarray
    explained: np.ndarray


def filter_normalised(direction: Tensor, network: nn.Module, weights: Tensor) -> Tensor:
    """Each filter of the direction scaled to the length of the same filter of the weights; vectors and scalars to 0.

    Parameters
    ----------
    direction, weights : float tensors, shape (P,)
        Of all trainable parameters, in the network's order.
    network : nn.Module
        Says which parameter is what: a filter is all that makes one output channel.

    Returns
    -------
    Tensor of shape (P,). A filter of zeros (in weights or direction) gives zeros.
    """
    swapped = {id(module.weight) for module in network.modules() if isinstance(module, _TRANSPOSED)}
    parts, start = [], 0
    for parameter in network.parameters():
        if not parameter.requires_grad:
            continue
        d, w = (v[start : start + parameter.numel()].view(parameter.shape) for v in (direction, weights))
        start += parameter.numel()
        if parameter.ndim < 2:
            parts.append(torch.zeros_like(d).flatten())
            continue
        axis = 1 if id(parameter) in swapped else 0
        others = [a for a in range(d.ndim) if a != axis]
        length = d.double().square().sum(others, keepdim=True).sqrt()
        wanted = w.double().square().sum(others, keepdim=True).sqrt()
        parts.append((d * (wanted / torch.where(length > 0, length, 1.0)).to(d.dtype)).flatten())
    return torch.cat(parts)


def random_directions(network: nn.Module, weights: Tensor, seed: int) -> Tensor:
    """Two filter-normalised Gaussian directions at these weights, shape (2, P); one seed, one pair of draws."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(2, weights.numel(), generator=generator)
    return torch.stack([filter_normalised(d, network, weights) for d in drawn])


def principal_directions(weights: Sequence[Tensor]) -> tuple[Tensor, np.ndarray]:
    """The first two principal components of a path, and the share of its variance along each.

    Parameters
    ----------
    weights : sequence of T float tensors, shape (P,)
        T >= 3; those that are not finite are left out.

    Returns
    -------
    directions : float32 tensor, shape (2, P)
        Orthonormal; each points to the side on which the path ends.
    explained : float64 array, shape (2,)

    Raises
    ------
    ValueError
        Fewer than three finite checkpoints; a path that does not span a plane.

    Notes
    -----
    From the eigenvectors of the T x T matrix of inner products of the centred checkpoints: T is a dozen and P a
    million. Log-spaced checkpoints count alike, so the early ones have their say.
    """
    kept = [w for w in weights if bool(torch.isfinite(w).all())]
    if len(kept) < 3:
        raise ValueError(
            f"{len(kept)} of {len(weights)} checkpoints are finite; the path's directions need at least 3 (train "
            "longer, or ask for random directions alone)"
        )
    path = torch.stack(kept).double()
    path -= path.mean(0)
    values, vectors = torch.linalg.eigh(path @ path.T)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    if not values[1] > 1e-12 * values[0] or not values[0] > 0:
        raise ValueError("the path lies on a line or does not move: no plane goes along it; ask for random directions")
    directions = (vectors[:, :2].T @ path) / values[:2].sqrt()[:, None]
    ends = directions @ path[-1]
    sign = torch.where(ends < 0, -1.0, 1.0).double()
    return (directions * sign[:, None]).float(), (values[:2] / values.sum()).numpy()


def project(weights: Sequence[Tensor], origin: Tensor, directions: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares coordinates (T, 2) of a path about an origin, and the shares of its variance on the plane, (2,).

    The first share is the variance along the first direction, the second what the second direction adds. What is not
    finite has NaN coordinates and no part in the shares.
    """
    d = directions.double()
    finite = [bool(torch.isfinite(w).all()) for w in weights]
    coordinates = np.full((len(weights), 2), np.nan)
    if not bool(torch.isfinite(d).all()) or not bool(torch.isfinite(origin).all()) or not any(finite):
        return coordinates, np.full(2, np.nan)
    path = torch.stack([w for w, good in zip(weights, finite, strict=True) if good]).double()
    away = path - origin.double()
    coordinates[finite] = torch.linalg.lstsq(d @ d.T, d @ away.T).solution.T.numpy()
    centred = path - path.mean(0)
    basis = torch.linalg.qr(d.T).Q
    total = centred.square().sum()
    shares = (centred @ basis).square().sum(0) / total if total > 0 else torch.full((2,), float("nan"))
    return coordinates, shares.numpy()


def random_plane(
    network: nn.Module, weights: Sequence[Tensor], moments: Sequence[int], *, resolution: int, radius: float, seed: int
) -> Plane:
    """Filter-normalised random directions, the same draws at each moment, from -radius to radius around it.

    Parameters
    ----------
    weights : sequence of float tensors, shape (P,)
        The path.
    moments : sequence of int
        Positions in the path.
    resolution : int
        Points along each axis; odd, so that the moment itself is one.
    radius : float
        In units of the filters' own lengths.

    Raises
    ------
    ValueError
        A grid so coarse, so fine or so large that it would show nothing.
    """
    check_grid(resolution)
    if not 0 < radius <= FARTHEST:
        raise ValueError(
            f"radius is {radius!r}; expected a number above 0 and at most {FARTHEST:g}: at 1 the perturbation is as "
            "large as the weights themselves"
        )
    half = resolution // 2
    axis = radius * np.arange(-half, half + 1) / half
    directions, paths, explained, centres = [], [], [], []
    for moment in moments:
        finite = bool(torch.isfinite(weights[moment]).all())
        directions.append(random_directions(network, weights[moment], seed))
        path, shares = project(weights, weights[moment], directions[-1])
        paths.append(path)
        explained.append(shares)
        centres.append((half, half) if finite else (-1, -1))
    grid = np.tile(axis, (len(moments), 1))
    return Plane(
        "random",
        torch.stack(directions),
        grid,
        grid.copy(),
        np.array(centres),
        np.zeros((len(moments), 2)),
        np.stack(paths),
        np.stack(explained),
    )


def path_plane(weights: Sequence[Tensor], moments: Sequence[int], *, resolution: int, margin: float) -> Plane:
    """The plane of the path's first two principal directions, wide enough for the whole path and a margin around it.

    Coordinates are lengths from the path's last finite point, and the same at every moment but for less than one step
    of the grid, by which it is moved so that the moment itself is one of its points.

    Parameters
    ----------
    margin : float
        Around the path's bounding box, as a share of its size.

    Raises
    ------
    ValueError
        As :func:`principal_directions`; a grid that would show nothing.
    """
    check_grid(resolution)
    if not 0 <= margin <= FARTHEST:
        raise ValueError(f"margin is {margin!r}; expected a share of the path's size, from 0 to {FARTHEST:g}")
    directions, explained = principal_directions(weights)
    last = next(w for w in reversed(weights) if bool(torch.isfinite(w).all()))
    path, _ = project(weights, last, directions)
    low, high = np.nanmin(path, 0), np.nanmax(path, 0)
    low, high = low - margin * (high - low), high + margin * (high - low)
    step = (high - low) / (resolution - 1)
    axes, centres, origins = [], [], []
    for moment in moments:
        here = path[moment]
        known = np.isfinite(here).all()
        column = np.clip(np.rint((here - low) / step), 0, resolution - 1).astype(int) if known else np.full(2, -1)
        start = here - column * step if known else low
        axes.append(start + step * np.arange(resolution)[:, None])
        if known:
            axes[-1][column, (0, 1)] = here  # to the last digit
        centres.append(column)
        origins.append(here if known else low)
    axes = np.stack(axes)
    size = len(moments)
    return Plane(
        "pca",
        directions.expand(size, *directions.shape),
        axes[..., 0].copy(),
        axes[..., 1].copy(),
        np.stack(centres),
        np.stack(origins),
        np.tile(path, (size, 1, 1)),
        np.tile(explained, (size, 1)),
    )


def check_grid(resolution: int) -> None:
    """ValueError unless the number of points along an axis is odd, and neither too few nor too many."""
    lowest, highest = RESOLUTIONS
    whole = isinstance(resolution, int) and not isinstance(resolution, bool)
    if not whole or not lowest <= resolution <= highest or resolution % 2 == 0:
        raise ValueError(
            f"resolution is {resolution!r}; expected an odd number of points from {lowest} to {highest}, such as 41 "
            "(odd, so that the checkpoint itself is a point of the grid)"
        )
