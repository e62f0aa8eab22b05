"""Labels to training targets: what a network is asked to predict, and where its answer counts.

Every function takes batched tensors of labels of shape ``(..., *S)``, where ``S`` has one axis per entry of ``spacing``
(2-D or 3-D), on any device, and returns float32 tensors. Distances run from a voxel's centre to the voxelised surface;
they are in nanometres until a target divides them by its unit.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

SCALE_NM = 50.0  # scale of tanh distances
SATURATION = 3.0  # tanh(3) = 0.995: a tanh distance needs no distance beyond three times its scale
UNIT_NM = 50.0  # unit of distances that are regressed as they are


def boundary_distance(
    mask: Tensor, spacing: Sequence[float], radius: float | None = None, annotated: Tensor | None = None
) -> Tensor:
    """Signed distance from each voxel's centre to the object's voxelised surface, positive inside.

    The surface is where a voxel of one phase touches a voxel of the other, so a voxel beside a straight face lies at
    plus or minus half a voxel and zero is the boundary itself. Objects that touch are one object here; see
    :func:`instance_distance` for the distance that sees their contact.

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
    :math:`\\sqrt{\\min_q \\sum_a (\\max(|p_a - q_a| - 1/2, 0)\\, s_a)^2}`, is separable: the lower envelope of
    parabolas along one axis after the other is exact [1]_. Seen from a voxel, whatever lies beyond the first voxel of
    another label along an axis is farther than that voxel, so one array serves both phases, and any number of labels.
    Each envelope is a chain of steps between neighbours [2]_, as many as there are voxels in the radius; on square
    voxels it runs on integers. Without a radius the chain ends when a step changes nothing: its length is the largest
    distance in the image, and in a large image with few objects it is slow.

    References
    ----------
    .. [1] Felzenszwalb and Huttenlocher 2012, doi:10.4086/toc.2012.v008a019
    .. [2] van den Boomgaard, Dorst, Makram-Ebeid and Schavemaker 1996, doi:10.1007/978-1-4613-0469-2_17
    """
    spacing = check_spacing(spacing, mask)
    _check_mask("mask", mask)
    rule = _rule(mask, spacing, radius)
    if annotated is None:
        return _in_nm(_to_other_label(mask, rule), rule) * _sign(mask)
    _check_mask("annotated", annotated)
    _check_shapes("mask", mask, "annotated", annotated)
    phases = torch.stack((mask & annotated, ~mask & annotated))
    to_inside, to_outside = _to_other_label(phases, rule)
    distance = _in_nm(torch.where(mask, to_outside, to_inside), rule) * _sign(mask)
    return torch.where(annotated, distance, 0.0)


def instance_distance(
    instances: Tensor, spacing: Sequence[float], radius: float | None = None, annotated: Tensor | None = None
) -> Tensor:
    """Signed distance to the surface of each instance: where two touch, both lie half a voxel from the contact.

    Inside an instance, the distance to the nearest voxel that is not of it, background or another instance; outside,
    minus the distance to the nearest instance. It costs what :func:`boundary_distance` costs, whatever the number of
    instances.

    Parameters
    ----------
    instances : integer tensor, shape (..., *S)
        0 is background; any other number is one instance, connected or not.
    spacing, radius
        As in :func:`boundary_distance`.
    annotated : bool tensor, same shape, optional
        Voxels that are not annotated count as background for the instances beside them, whose distances are exact
        wherever :func:`trusted`. Their own value is 0.

    Returns
    -------
    float32 tensor, shape (..., *S), in nm.

    Raises
    ------
    TypeError, ValueError
        Instances that are not integers, or negative; the rest as in :func:`boundary_distance`.
    """
    spacing = check_spacing(spacing, instances)
    if instances.dtype == torch.bool or instances.is_floating_point() or instances.is_complex():
        raise TypeError(f"instances has dtype {instances.dtype}; expected integers, 0 for background")
    if instances.numel() and instances.min() < 0:
        raise ValueError(f"instances holds {int(instances.min())}; expected labels of at least 0 (0 is background)")
    rule = _rule(instances, spacing, radius)
    labels = instances
    if annotated is not None:
        _check_mask("annotated", annotated)
        _check_shapes("instances", instances, "annotated", annotated)
        labels = instances * annotated
    distance = _in_nm(_to_other_label(labels, rule), rule) * _sign(instances > 0)
    return distance if annotated is None else torch.where(annotated, distance, 0.0)


def trusted(distance: Tensor, annotated: Tensor, spacing: Sequence[float], radius: float | None = None) -> Tensor:
    """Where a boundary distance cannot be changed by what lies outside the annotation.

    A distance is trusted where it is strictly smaller than the distance to the nearest voxel that is not annotated,
    or where that distance reaches the radius. What lies beyond the tensor's edge counts as not annotated, so
    make targets from a window larger by :func:`halo` and cut it afterwards where the annotation goes on.

    Parameters
    ----------
    distance : float tensor, shape (..., *S)
        From :func:`boundary_distance` or :func:`instance_distance` with the same ``annotated`` and ``radius``, in nm.
    annotated : bool tensor, shape (..., *S)
    spacing, radius
        As in :func:`boundary_distance`. Without a radius, a distance that is NaN is not trusted.

    Returns
    -------
    bool tensor, shape (..., *S). False wherever ``annotated`` is False.
    """
    spacing = check_spacing(spacing, distance)
    _check_mask("annotated", annotated)
    _check_shapes("distance", distance, "annotated", annotated)
    rule = _rule(annotated, spacing, radius)
    unknown = _to_unknown(annotated, rule)
    return annotated & ((distance.abs() < _length(unknown, rule)) | (unknown > rule.far))


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
    return _float(masks & known), _float(known)


def signed_distance(
    masks: Tensor, annotated: Tensor, spacing: Sequence[float], unit: float | str = UNIT_NM
) -> tuple[Tensor, Tensor]:
    """Signed boundary distance without bound, in units of 50 nm.

    Parameters
    ----------
    masks, annotated : bool tensors, shape (B, C, *S)
    spacing : sequence of float
        In nm per voxel.
    unit : float or "voxel"
        Length in nm that counts as 1; "voxel" counts voxels whatever their size, as the published regression does:
        on anisotropic voxels a step along any axis is 1, and the distance is no longer one in the specimen.

    Returns
    -------
    target, weight : float32 tensors, shape (B, C, *S)
        The weight is 1 where the class is annotated and the distance trusted, and 0 for a class that is absent or
        fills the image: it has no boundary, and its target is 0. The target is never NaN.

    Raises
    ------
    TypeError, ValueError
        As :func:`boundary_distance`; a unit that is neither a positive length nor "voxel".

    Notes
    -----
    Trust without a bound ends where the crop's edge is nearer than the boundary: give whole sections.
    """
    check_spacing(spacing, masks)
    if unit == "voxel":
        spacing, unit = (1.0,) * len(spacing), 1.0
    elif isinstance(unit, str) or not 0 < unit < math.inf:
        raise ValueError(f"unit is {unit!r}; expected a length in nm such as 50, or voxel")
    return _signed(masks, annotated, spacing, None, lambda nm: nm.div_(unit), _two_like(masks))


def distance(
    masks: Tensor, annotated: Tensor, spacing: Sequence[float], unit: float | str = UNIT_NM
) -> tuple[Tensor, Tensor]:
    """Boundary distance inside the object and 0 outside, without bound, in units of 50 nm.

    Parameters, returns and weight as in :func:`signed_distance`: both count on the same voxels.
    """
    target, weight = signed_distance(masks, annotated, spacing, unit)
    return target.clamp_(min=0), weight


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
        The target lies in [-0.995, 0.995]. The weight is 1 where the class is annotated and the distance trusted; the
        target is 0 where the class is not annotated, and where it is not trusted inside an object the end of what is
        annotated counts as boundary.

    References
    ----------
    .. [1] Heinrich et al. 2018, doi:10.1007/978-3-030-00934-2_36
    """
    return _tanh_distance(masks, annotated, spacing, scale_nm, _two_like(masks))


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
    _check_mask("masks", masks)
    _check_mask("known", known)
    _check_shapes("masks", masks, "known", known)
    target, weight = torch.empty(2, len(masks), 2, *masks.shape[1:], device=masks.device)
    target[:, 0] = (masks & known).view(torch.uint8)
    weight[:, 0] = known.view(torch.uint8)
    _tanh_distance(masks, annotated, spacing, scale_nm, (target[:, 1], weight[:, 1]))
    return target.flatten(1, 2), weight.flatten(1, 2)


def local_occupancy(masks: Tensor, known: Tensor, offsets: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """For each neighbour offset: is the neighbour occupied?

    Parameters
    ----------
    masks, known : bool tensors, shape (B, C, *S)
    offsets : sequence of K sequences of int
        In voxels, one entry per axis of S; see :func:`offsets`.

    Returns
    -------
    target, weight : float32 tensors, shape (B, C K, *S)
        Channel c K + k at x is the label of class c at x + offsets[k]. The weight is 1 where that neighbour lies
        inside the crop and is known; elsewhere target and weight are 0. Spatial augmentation must come before.

    Raises
    ------
    TypeError, ValueError
        Masks that are not boolean; shapes that differ; no offsets, or offsets that are not whole numbers of voxels
        along each axis.
    """
    occupied, valid = one_hot(masks, known)
    shape = masks.shape[2:]
    offsets = _check_offsets(offsets, len(shape))
    target, weight = (torch.zeros(*masks.shape[:2], len(offsets), *shape, device=masks.device) for _ in range(2))
    for k, offset in enumerate(offsets):
        if all(abs(o) < n for o, n in zip(offset, shape, strict=True)):
            pairs = list(zip(offset, shape, strict=True))
            here = (..., *(slice(max(0, -o), n - max(0, o)) for o, n in pairs))
            there = (..., *(slice(max(0, o), n - max(0, -o)) for o, n in pairs))
            target[:, :, k][here] = occupied[there]
            weight[:, :, k][here] = valid[there]
    return target.flatten(1, 2), weight.flatten(1, 2)


def offsets(kernel: int, dims: int, shape: str = "square") -> tuple[tuple[int, ...], ...]:
    """Offsets of the voxels under a kernel, the centre included, in row-major order.

    Parameters
    ----------
    kernel : int
        Odd side of the kernel, in voxels.
    dims : 2 or 3
    shape : "square" or "disc"
        All kernel**dims voxels, or those within kernel // 2 voxels of the centre (a ball in 3-D).

    Returns
    -------
    tuple of K tuples of ``dims`` integers, for :func:`local_occupancy`.
    """
    if not isinstance(kernel, int) or kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"kernel is {kernel!r}; expected an odd number of voxels such as 3: an even one has no centre")
    if dims not in (2, 3):
        raise ValueError(f"dims is {dims!r}; expected 2 or 3")
    if shape not in ("square", "disc"):
        raise ValueError(f"shape is {shape!r}; expected square or disc")
    radius = kernel // 2
    cube = itertools.product(range(-radius, radius + 1), repeat=dims)
    return tuple(o for o in cube if shape == "square" or sum(v * v for v in o) <= radius**2)


def offsets_halo(offsets: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Voxels to add on each side of a crop, per axis, so that all those neighbours of its voxels are seen."""
    return tuple(max(map(abs, along)) for along in zip(*offsets, strict=True))


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


class _Rule(NamedTuple):
    """How squared distances are held: in half voxels as integers where voxels are square, else in nm."""

    dtype: torch.dtype
    far: float  # no distance known: larger than any, or than the radius; twice it fits the type
    unit: float  # square nm of one
    half: tuple[float, ...]  # squared half voxel, per axis
    steps: tuple[int, ...]  # voxels to look ahead, per axis
    radius: float | None


def _rule(labels: Tensor, spacing: tuple[float, ...], radius: float | None) -> _Rule:
    if radius is not None and not 0 < radius < math.inf:
        raise ValueError(f"radius is {radius!r}; expected a positive distance in nm, or None for no bound")
    shape = labels.shape[-len(spacing) :]
    steps = tuple(max(n - 1, 0) for n in shape)
    if radius is not None:
        steps = tuple(min(n, math.floor(radius / s + 0.5)) for n, s in zip(steps, spacing, strict=True))
    unit = (spacing[0] / 2) ** 2
    far = sum(4 * n**2 for n in shape) if radius is None else math.floor(radius**2 / unit) + 2
    if len(set(spacing)) == 1 and far < 10**9:
        return _Rule(torch.int16 if far < 16_000 else torch.int32, far, unit, (1,) * len(spacing), steps, radius)
    # A chain of steps adds up rounding: single precision is right to 1e-5 voxel for a few dozen of them.
    dtype = torch.float32 if radius is not None and max(steps) <= 32 else torch.float64
    return _Rule(dtype, 1e30, 1.0, tuple((s / 2) ** 2 for s in spacing), steps, radius)


def _to_other_label(labels: Tensor, rule: _Rule) -> Tensor:
    """Squared distance to the box of the nearest voxel of another label; far beyond the radius or where none is."""
    dims = len(rule.steps)
    nearest = torch.full(labels.shape, rule.far, dtype=rule.dtype, device=labels.device)
    buffer = torch.empty_like(nearest)
    for axis, (half, steps) in enumerate(zip(rule.half, rule.steps, strict=True), -dims):
        if not steps:
            continue
        extent = labels.shape[axis]
        low, high = nearest.narrow(axis, 0, extent - 1), nearest.narrow(axis, 1, extent - 1)
        buffer_low, buffer_high = buffer.narrow(axis, 0, extent - 1), buffer.narrow(axis, 1, extent - 1)
        for step in range(1, steps + 1):
            # From k - 1/2 to k + 1/2 voxels, squared, in squared half voxels: the costs rise, so a chain of steps
            # finds min_k f(x + k) + c(k) exactly. The first axis has nothing to pass on at the first step.
            if step > 1 or axis > -dims:
                torch.add(nearest, half * max(1, 8 * (step - 1)), out=buffer)
                if rule.radius is None and step % 16 == 0:
                    if not ((buffer_high < low).any() | (buffer_low < high).any()):
                        break
                torch.minimum(low, buffer_high, out=low)
                torch.minimum(high, buffer_low, out=high)
            if step == 1:
                same = labels.narrow(axis, 0, extent - 1) == labels.narrow(axis, 1, extent - 1)
                face = same.view(torch.uint8).to(rule.dtype).mul_(rule.far).add_(half)
                torch.minimum(low, face, out=low)
                torch.minimum(high, face, out=high)
    return nearest


def _to_unknown(annotated: Tensor, rule: _Rule) -> Tensor:
    """Squared distance to what is not annotated, the tensor's edge included; twice far where it reaches the radius."""
    unknown = None
    for axis, half in enumerate(rule.half, -len(rule.half)):
        index = torch.arange(annotated.shape[axis], dtype=torch.float64, device=annotated.device)
        edge = (torch.minimum(index, index.flip(0)) * 2 + 1).square_().mul_(half).clamp_(max=rule.far).to(rule.dtype)
        edge = edge.view(-1, *(1,) * (-axis - 1))
        unknown = edge if unknown is None else torch.minimum(unknown, edge)
    if not _all(annotated):
        unknown = torch.minimum(unknown, _to_other_label(annotated, rule))
    if rule.radius is not None:
        unknown = unknown.masked_fill(unknown >= rule.radius**2 / rule.unit * (1 - 1e-9), 2 * rule.far)
    return unknown


def _tanh_distance(
    masks: Tensor, annotated: Tensor, spacing: Sequence[float], scale_nm: float, out: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    if not scale_nm > 0:
        raise ValueError(f"scale_nm is {scale_nm!r}; expected a positive distance in nm")
    return _signed(masks, annotated, spacing, SATURATION * scale_nm, lambda nm: nm.div_(scale_nm).tanh_(), out)


def _signed(
    masks: Tensor,
    annotated: Tensor,
    spacing: Sequence[float],
    radius: float | None,
    curve: Callable[[Tensor], Tensor],
    out: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """Signed curve of the distance, 0 where not annotated or undefined, and the trust; both written into ``out``.

    What is not annotated counts as outside here: it can only shorten a distance to that of the nearest voxel that is
    not annotated, which is then not trusted. So one transform serves, and a second where annotation has holes.
    """
    spacing = check_spacing(spacing, masks)
    _check_mask("masks", masks)
    _check_mask("annotated", annotated)
    _check_shapes("masks", masks, "annotated", annotated)
    rule = _rule(masks, spacing, radius)
    target, weight = out
    masks = masks & annotated
    squared = _to_other_label(masks, rule)
    # Ones and zeros by arithmetic: comparisons and booleans are several times slower on a CPU.
    weight.copy_((_to_unknown(annotated, rule) - squared).sign_().clamp_(min=0))
    if rule.dtype == torch.int16:  # few values: look the curve up
        table = curve(_in_nm(torch.arange(rule.far + 1, device=masks.device), rule))
        size = table.index_select(0, squared.flatten().int()).view(masks.shape)
    else:
        size = curve(_in_nm(squared, rule))
    torch.mul(size, _sign(masks), out=target)
    if radius is None:
        target.nan_to_num_(nan=0.0)
    if not _all(annotated):
        weight.mul_(annotated.view(torch.uint8))
        target.mul_(annotated.view(torch.uint8))
    return out


def _in_nm(squared: Tensor, rule: _Rule) -> Tensor:
    """Distance: float32, clipped to the radius; NaN where there is none and no radius."""
    if rule.radius is None:
        return _length(squared, rule).masked_fill_(squared == rule.far, torch.nan)
    return _length(squared, rule).clamp_(max=rule.radius)


def _length(squared: Tensor, rule: _Rule) -> Tensor:
    exact = torch.float64 if rule.radius is None else torch.float32
    return squared.to(exact, copy=True).mul_(rule.unit).sqrt_().float()


def _all(mask: Tensor) -> bool:
    return not mask.numel() or bool(mask.view(torch.uint8).min())  # ten times faster than from bool


def _float(mask: Tensor) -> Tensor:
    return mask.view(torch.uint8).float()  # several times faster than from bool


def _sign(mask: Tensor) -> Tensor:
    return mask.view(torch.uint8).to(torch.int8).mul_(2).sub_(1)


def _two_like(masks: Tensor) -> tuple[Tensor, Tensor]:
    return tuple(torch.empty_like(masks, dtype=torch.float32) for _ in range(2))


def _check_offsets(offsets: Sequence[Sequence[int]], dims: int) -> list[tuple[int, ...]]:
    checked = [tuple(offset) for offset in offsets]
    if not checked:
        raise ValueError("offsets is empty; expected at least one offset, such as (0, 0)")
    for offset in checked:
        if len(offset) != dims or not all(isinstance(o, int) for o in offset):
            raise ValueError(f"offset {offset!r}; expected {dims} whole numbers of voxels, one for each spatial axis")
    return checked


def _check_mask(name: str, mask: Tensor) -> None:
    if mask.dtype != torch.bool:
        raise TypeError(f"{name} has dtype {mask.dtype}; expected torch.bool (for grey values: {name} > 0)")


def _check_shapes(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    if tensor.shape != other.shape:
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)} and {other_name} {tuple(other.shape)}; expected the same"
        )
