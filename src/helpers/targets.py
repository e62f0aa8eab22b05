"""Labels to training targets: what a network is asked to predict, and where its answer counts.

Every function takes batched boolean tensors of shape ``(..., *S)``, where ``S`` has one axis per entry of ``spacing``
(2-D or 3-D), on any device, and returns float32 tensors of the same shape. Distances are in nanometres.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

SCALE_NM = 50.0  # scale of tanh distances
SATURATION = 3.0  # tanh(3) = 0.995: a tanh distance needs no distance beyond three times its scale


def boundary_distance(
    mask: Tensor, spacing: Sequence[float], radius: float | None = None, annotated: Tensor | None = None
) -> Tensor:
    """Signed distance from each voxel's centre to the object's voxelised surface, positive inside.

    The surface is where a voxel of one phase touches a voxel of the other, so a voxel beside a straight face lies at
    plus or minus half a voxel and zero is the boundary itself.

    Parameters
    ----------
    mask : bool tensor, shape (..., *S)
        True inside the object.
    spacing : sequence of float
        Size of a voxel along each axis of S, in nm.
    radius : float, optional
        In nm. Distances are exact up to it and clipped to plus or minus it beyond; a voxel that sees no boundary
        within it gets plus or minus the radius. Without a radius distances are exact everywhere, and NaN where the
        image holds no voxel of the other phase: there is no boundary to be distant from.
    annotated : bool tensor, same shape, optional
        Voxels that are not annotated belong to neither phase; their own value is 0.

    Returns
    -------
    float32 tensor, shape (..., *S), in nm.

    Raises
    ------
    TypeError, ValueError
        Mask that is not boolean; spacing of the wrong length, zero or negative; shapes that differ.

    Notes
    -----
    The distance to the nearest voxel *box* of the other phase,
    :math:`\\sqrt{\\min_q \\sum_a (\\max(|p_a - q_a| - 1/2, 0)\\, s_a)^2}`, is separable: a running minimum over one
    axis after the other is exact [1]_. Without a radius the running minimum spans the axis, which is slow on large
    images.

    References
    ----------
    .. [1] Felzenszwalb and Huttenlocher 2012, doi:10.4086/toc.2012.v008a019
    """
    spacing = check_spacing(spacing, mask)
    _check_mask("mask", mask)
    if radius is not None and not radius > 0:
        raise ValueError(f"radius is {radius!r}; expected a positive distance in nm, or None for no bound")
    if annotated is None:
        inside, outside = mask, ~mask
    else:
        _check_mask("annotated", annotated)
        _check_shapes("mask", mask, "annotated", annotated)
        inside, outside = mask & annotated, ~mask & annotated
    squared = _squared_box_distance(torch.stack((outside, inside)), spacing, radius)
    distance = torch.where(inside, squared[0], squared[1]).sqrt()
    if radius is not None:
        distance = distance.clamp(max=radius)
    distance = torch.where(torch.isinf(distance), torch.nan, distance)
    distance = torch.where(inside, distance, -distance)
    return torch.where(inside | outside, distance, 0.0)


def trusted(distance: Tensor, annotated: Tensor, spacing: Sequence[float], radius: float) -> Tensor:
    """Where a boundary distance cannot be changed by what lies outside the annotation.

    A distance is trusted where it is strictly smaller than the distance to the nearest voxel that is not annotated,
    or where that distance reaches the radius. What lies beyond the tensor's edge counts as not annotated, so
    make targets from a window larger by :func:`halo` and cut it afterwards where the annotation goes on.

    Parameters
    ----------
    distance : float tensor, shape (..., *S)
        From :func:`boundary_distance` with the same ``annotated`` and ``radius``, in nm.
    annotated : bool tensor, shape (..., *S)
    spacing, radius
        As in :func:`boundary_distance`.

    Returns
    -------
    bool tensor, shape (..., *S). False wherever ``annotated`` is False.
    """
    spacing = check_spacing(spacing, distance)
    _check_mask("annotated", annotated)
    _check_shapes("distance", distance, "annotated", annotated)
    outside = torch.nn.functional.pad(~annotated, (1, 1) * len(spacing), value=True)
    to_unknown = _squared_box_distance(outside, spacing, radius).sqrt()
    to_unknown = to_unknown[(..., *(slice(1, -1),) * len(spacing))]
    return annotated & ((distance.abs() < to_unknown) | (to_unknown >= radius))


def halo(reach: float, spacing: Sequence[float]) -> tuple[int, ...]:
    """Voxels to add on each side of a crop, per axis, so that targets of that reach (nm) are right inside it."""
    return tuple(max(0, math.ceil(reach / s - 0.5)) for s in spacing)


def one_hot(masks: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Occupancy 0/1 of each class, weighted by where presence and absence of the class are known.

    Parameters
    ----------
    masks, known : bool tensors, shape (B, C, *S)

    Returns
    -------
    target, weight : float32 tensors, shape (B, C, *S)
    """
    _check_mask("masks", masks)
    _check_mask("known", known)
    _check_shapes("masks", masks, "known", known)
    # A voxel that is not known teaches nothing; its target is 0 so that no label can leak through it.
    return (masks & known).float(), known.float()


def tanh_distance(
    masks: Tensor, annotated: Tensor, spacing: Sequence[float], scale_nm: float = SCALE_NM
) -> tuple[Tensor, Tensor]:
    """Signed boundary distance, squashed: tanh(clip(d, -R, R) / scale) with R = 3 scale.

    Parameters
    ----------
    masks, annotated : bool tensors, shape (B, C, *S)
    spacing : sequence of float
        In nm per voxel.
    scale_nm : float
        In nm.

    Returns
    -------
    target, weight : float32 tensors, shape (B, C, *S)
        The target lies in [-0.995, 0.995]. The weight is 1 where the class is annotated and the distance trusted.

    References
    ----------
    .. [1] Heinrich et al. 2018, doi:10.1007/978-3-030-00934-2_36
    """
    if not scale_nm > 0:
        raise ValueError(f"scale_nm is {scale_nm!r}; expected a positive distance in nm")
    radius = SATURATION * scale_nm
    distance = boundary_distance(masks, spacing, radius, annotated)
    weight = trusted(distance, annotated, spacing, radius).float()
    return torch.tanh(distance / scale_nm), weight


def hot_distance(
    masks: Tensor, annotated: Tensor, known: Tensor, spacing: Sequence[float], scale_nm: float = SCALE_NM
) -> tuple[Tensor, Tensor]:
    """One-hot channels followed by tanh-distance channels, each half with its own weight.

    Parameters
    ----------
    masks, annotated, known : bool tensors, shape (B, C, *S)
    spacing, scale_nm
        As in :func:`tanh_distance`.

    Returns
    -------
    target, weight : float32 tensors, shape (B, 2C, *S)

    References
    ----------
    .. [1] Zouinkhi, Rhoades and Weigel 2024, Hot-Distance
    """
    hot = one_hot(masks, known)
    far = tanh_distance(masks, annotated, spacing, scale_nm)
    return torch.cat((hot[0], far[0]), 1), torch.cat((hot[1], far[1]), 1)


def check_spacing(spacing: Sequence[float], tensor: Tensor) -> tuple[float, ...]:
    """The spacing as floats; ValueError unless it has 2 or 3 positive entries that fit the tensor."""
    values = tuple(float(s) for s in spacing)
    if len(values) not in (2, 3) or len(values) > tensor.ndim:
        raise ValueError(
            f"spacing is {tuple(spacing)!r} for a tensor of shape {tuple(tensor.shape)}; expected 2 or 3 entries, "
            "one for each spatial axis"
        )
    if not all(0 < s < math.inf for s in values):
        raise ValueError(f"spacing is {values!r}; expected positive, finite sizes in nm")
    return values


def _squared_box_distance(phase: Tensor, spacing: Sequence[float], radius: float | None) -> Tensor:
    """Squared distance (nm) to the nearest box of ``phase``: 0 in it, inf beyond the radius or where it is absent."""
    squared = torch.where(phase, 0.0, torch.inf)
    for axis, size in zip(range(-len(spacing), 0), spacing, strict=True):
        extent = squared.shape[axis]
        reach = extent - 1
        if radius is not None:
            reach = min(reach, math.floor(radius / size + 0.5))
        nearest = squared.clone()
        for step in range(1, reach + 1):
            cost = ((step - 0.5) * size) ** 2
            left, right = nearest.narrow(axis, 0, extent - step), nearest.narrow(axis, step, extent - step)
            torch.minimum(left, squared.narrow(axis, step, extent - step) + cost, out=left)
            torch.minimum(right, squared.narrow(axis, 0, extent - step) + cost, out=right)
        squared = nearest
    return squared


def _check_mask(name: str, mask: Tensor) -> None:
    if mask.dtype != torch.bool:
        raise TypeError(f"{name} has dtype {mask.dtype}; expected torch.bool (for grey values: {name} > 0)")


def _check_shapes(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    if tensor.shape != other.shape:
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)} and {other_name} {tuple(other.shape)}; expected the same"
        )
