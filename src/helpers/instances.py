"""Score maps to instances: objects inside a foreground, and neurons between membranes.

One watershed from every maximum of a distance, and then the basins joined by how high their maxima stand: the objects
of a watershed seeded at the h-maxima, for any number of heights h at the cost of one. Needs scikit-image.
"""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

# The search budget of every objective alike, from no splitting at all to hardly any joining.
SEED_HEIGHTS_NM = (math.inf, 160.0, 80.0, 40.0, 20.0, 10.0)


def components(mask: np.ndarray, *, diagonals: bool = True) -> np.ndarray:
    """Connected components of a mask, numbered 1, 2, … in the order of their first voxels.

    Parameters
    ----------
    mask : (*S) bool
    diagonals : bool
        Whether voxels that share an edge or a corner are connected, or those that share a face alone. Objects are
        connected by diagonals; what a membrane leaves is not, because a thin membrane is connected by diagonals
        itself, and would be leaky otherwise.

    Returns
    -------
    (*S) int32, 0 the background.
    """
    _check_bool("mask", mask)
    return ndimage.label(mask, _neighbourhood(mask.ndim, diagonals), np.int32)[0]


def distance_inside(foreground: np.ndarray, spacing: Sequence[float], *, within_sections: bool = False) -> np.ndarray:
    """Distance in nm from each foreground voxel's centre to that of the nearest background voxel; 0 outside.

    What seeds are taken from where a network predicts no distance. The image's edge is no boundary: an object that
    leaves the image is not narrowed there. Where there is no background at all, the distance is infinite.

    Parameters
    ----------
    foreground : (*S) bool
    spacing : sequence of float
        Nanometres per voxel along each axis of S.
    within_sections : bool
        Measure within each section (along the last two axes) of a volume on its own.

    Returns
    -------
    (*S) float32
    """
    _check_bool("foreground", foreground)
    spacing = _check_spacing(spacing, foreground)
    if within_sections and foreground.ndim == 3:
        return np.stack([distance_inside(section, spacing[1:]) for section in foreground])
    if foreground.all():
        return np.full(foreground.shape, np.inf, np.float32)
    return ndimage.distance_transform_edt(foreground, sampling=spacing).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """Basins of a distance's maxima, and how high each maximum stands over the pass to a higher one.

    Attributes
    ----------
    basins : (*S) int32
        0 outside; one basin 1, 2, … for each maximum (a plateau of them is one), in the order of their first voxels.
    passes : (n, 2) int
        Pairs of basins: the maximum spanning forest of the passes between them.
    dynamics : (n,) float64
        Nanometres that the lower of the two maxima joined there stands over the pass. That maximum is the highest of
        all that are joined by higher passes.
    """

    basins: np.ndarray
    passes: np.ndarray
    dynamics: np.ndarray

    def cut(self, height_nm: float) -> np.ndarray:
        """Objects of the seeds that stand at least so high: (*S) int32, in the order of their first voxels.

        Seeds are the maxima with dynamics of at least ``height_nm``: from one, every way to a higher maximum leads
        down by that much. 0 keeps every maximum; infinity one for each connected piece, so nothing is split.
        """
        if not height_nm >= 0:
            raise ValueError(f"seed height is {height_nm}; expected nm, 0 (every maximum) to inf (nothing is split)")
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        size = int(self.basins.max(initial=0)) + 1
        joined = self.passes[(self.dynamics < height_nm) | math.isinf(height_nm)]
        graph = coo_array((np.ones(len(joined), bool), joined.T), (size, size))
        groups = connected_components(graph, directed=False)[1]
        _, first, groups = np.unique(groups, return_index=True, return_inverse=True)
        names = np.argsort(np.argsort(first)).astype(np.int32)  # the background, alone in its group, stays 0
        return names[groups][self.basins]


def hierarchy(foreground: np.ndarray, distance_nm: np.ndarray, *, diagonals: bool = True) -> Hierarchy:
    """Watershed of minus the distance, within the foreground, from each of its maxima.

    Parameters
    ----------
    foreground : (*S) bool
        2-D or 3-D.
    distance_nm : (*S) float
        Large in the middle of objects; positive infinity is allowed. Read in the foreground alone.
    diagonals : bool
        As in :func:`components`.

    Raises
    ------
    TypeError, ValueError
        A foreground that is not boolean; shapes that differ; a distance in the foreground that is no number.

    Notes
    -----
    The dynamics of a maximum are its height over the highest pass to a higher maximum [1]_; the h-maxima of
    morphology are the maxima whose dynamics are at least h. When each maximum floods its own basin, a voxel is reached
    over voxels at least as high as itself, so the highest pair of neighbours across two basins is the pass between
    their maxima [2]_. The passes' maximum spanning forest holds the dynamics of all maxima, and joining the basins of
    those under h over it leaves one object for each of the rest. Flooding anew from the rest alone gives the same
    objects, but for voxels where a joined basin's foot meets a third basin.

    References
    ----------
    .. [1] Grimaud 1992, doi:10.1117/12.60650
    .. [2] Najman and Schmitt 1996, doi:10.1109/34.546254
    """
    from skimage.morphology import local_maxima
    from skimage.segmentation import watershed

    _check_bool("foreground", foreground)
    if distance_nm.shape != foreground.shape:
        raise ValueError(f"distance has shape {distance_nm.shape} and foreground {foreground.shape}; expected the same")
    if not foreground.any():
        return Hierarchy(np.zeros(foreground.shape, np.int32), np.zeros((0, 2), np.intp), np.zeros(0))
    height = np.where(foreground, distance_nm, -np.inf)
    if not (height[foreground] > -np.inf).all():
        wrong = int((~(height[foreground] > -np.inf)).sum())
        raise ValueError(f"the distance of {wrong} foreground voxels is NaN or minus infinity; expected numbers in nm")
    ring = np.pad(height, 1, constant_values=-np.inf)  # without it, an image that is one plateau has no maximum
    inner = (slice(1, -1),) * height.ndim
    maxima = local_maxima(ring, connectivity=height.ndim if diagonals else 1)[inner] & foreground
    del ring
    seeds = components(maxima, diagonals=diagonals)
    peaks = np.full(int(seeds.max()) + 1, -np.inf)
    peaks[seeds[maxima]] = height[maxima]
    np.negative(height, out=height)
    basins = watershed(height, seeds, connectivity=height.ndim if diagonals else 1, mask=foreground)
    np.negative(height, out=height)
    names = _by_first_voxel(basins, len(peaks))
    basins, peaks[names] = names[basins], peaks.copy()
    return Hierarchy(basins, *_dynamics(*_passes(basins, height, diagonals), peaks))


def instances(
    foreground: np.ndarray,
    distance_nm: np.ndarray | None,
    seed_height_nm: float,
    spacing: Sequence[float] | None = None,
) -> np.ndarray:
    """Objects of a foreground by seeded watershed.

    Seeds are the maxima of the distance that stand at least ``seed_height_nm`` over the pass to any higher maximum
    (its h-maxima: small bumps, and the plateaus where a tanh has saturated, seed nothing of their own); minus the
    distance is flooded from them, within the foreground. Every connected piece of the foreground is at least one
    object; a piece of constant distance is exactly one.

    Parameters
    ----------
    foreground : (*S) bool
        2-D or 3-D.
    distance_nm : (*S) float, or None
        Predicted distance to the boundary, positive inside; None: the foreground's own (:func:`distance_inside`).
    seed_height_nm : float
        0 or more; infinity: nothing is split, and instances are connected components.
    spacing : sequence of float, optional
        Nanometres per voxel along each axis; needed where no distance is given.

    Returns
    -------
    (*S) int32, 0 the background, objects 1, 2, … without a gap.

    Raises
    ------
    TypeError, ValueError
        As in :func:`hierarchy`; a negative height; neither a distance nor a spacing.
    """
    return _hierarchy_of(foreground, distance_nm, spacing).cut(seed_height_nm)


def neurons(
    boundary: np.ndarray,
    cut: float,
    spacing: Sequence[float],
    seed_height_nm: float,
    *,
    fill: bool = True,
    within_sections: bool = False,
) -> np.ndarray:
    """What a boundary leaves, as objects: membranes to neurons.

    Membrane is where the score is greater than the cut. The rest is cut into neurons by :func:`hierarchy` on its own
    distance to the membrane, so that a neuron seen through a gap in a membrane is another neuron, if both are wider
    than the gap by the seed height. Voxels are connected by faces: diagonals lead through thin membranes.

    Parameters
    ----------
    boundary : (*S) float
        Score, high on membranes.
    cut : float
        NaN: no voxel is membrane.
    spacing : sequence of float
        Nanometres per voxel along each axis of S.
    seed_height_nm : float
        As in :func:`instances`; infinity: connected components of what the membrane leaves.
    fill : bool
        Give each membrane voxel to the nearest neuron, or leave it 0. The default is right for the variation of
        information and Rand scores that ignore the truth's membrane: left at 0, all membrane that is drawn too thick
        is one more segment which runs through every neuron, and thickness (the IoU's matter) is counted as merging.
    within_sections : bool
        Measure the distance to the membrane within each section of a volume alone (for sections that are thick, or
        segmented one by one); objects still go through sections.

    Returns
    -------
    (*S) int32
        Neurons 1, 2, …; 0 is membrane that was not filled, or everything where there is nothing but membrane.

    Raises
    ------
    ValueError
        Scores that are NaN; spacing of the wrong length, zero or negative; a negative height.
    """
    return _neuron_hierarchy(boundary, cut, spacing, fill, within_sections).cut(seed_height_nm)


def enlarge(labels: np.ndarray, reduce: int) -> np.ndarray:
    """Labels at native pixels: each one repeated in-plane (along the last two axes), `reduce` × `reduce` times.

    Undoes the size of :func:`helpers.datasets.reduce_image`, so that reduced neurons can be judged on the native truth.

    Parameters
    ----------
    labels : (..., H, W) array
    reduce : int
        1 or more.

    Returns
    -------
    (..., H * reduce, W * reduce) array of the same type
    """
    if reduce != int(reduce) or reduce < 1:
        raise ValueError(f"reduce is {reduce!r}; expected a whole number of at least 1")
    return labels.repeat(int(reduce), -2).repeat(int(reduce), -1)


def best_seed_height(
    foregrounds: Sequence[np.ndarray],
    distances: Sequence[np.ndarray | None],
    truths: Sequence[np.ndarray],
    known: Sequence[np.ndarray],
    spacings: Sequence[Sequence[float]],
    judge: Callable[[np.ndarray, np.ndarray, np.ndarray], Any],
    heights: Sequence[float] = SEED_HEIGHTS_NM,
) -> float:
    """The seed height of the highest instance F1, over all validation images at once.

    Parameters
    ----------
    foregrounds, distances, truths, known, spacings : sequences, one entry per image
        As in :func:`instances`; truths are (*S) integer instances, known (*S) bool.
    judge : callable
        (prediction, truth, known) -> a result with an attribute ``f1``; results of several images add up.
    heights : sequence of float
        The budget, the same for every objective.

    Returns
    -------
    float
        Nanometres. Of equal heights the largest: the fewest splits. So also where the F1 is undefined (NaN) for
        all, because there is no object in any truth nor in any prediction. Images without a known voxel are left out.
    """
    trees = ((_hierarchy_of, image) for image in zip(foregrounds, distances, spacings, strict=True))
    return _search(trees, truths, known, judge, heights, lambda total: total.f1)


def best_neuron_height(
    boundaries: Sequence[np.ndarray],
    cut: float,
    truths: Sequence[np.ndarray],
    known: Sequence[np.ndarray],
    spacings: Sequence[Sequence[float]],
    judge: Callable[[np.ndarray, np.ndarray, np.ndarray], float],
    heights: Sequence[float] = SEED_HEIGHTS_NM,
    *,
    fill: bool = True,
    within_sections: bool = False,
) -> float:
    """The seed height of the lowest variation of information, over all validation images at once.

    Parameters
    ----------
    boundaries, truths, known, spacings : sequences, one entry per image
        As in :func:`neurons`; truths are integer neurons, 0 the membrane, known bool of the same shape. They may be
        finer than the scores, where the judge brings the two together (:func:`enlarge`).
    cut : float
    judge : callable
        (prediction, truth, known) -> the variation of information on the truth's neurons, in bits per voxel. Images
        are averaged by how many known voxels their truth's neurons have; those without one are left out.
    heights : sequence of float
        The budget, the same for every objective.

    Returns
    -------
    float
        Nanometres. Of equal heights the largest: the fewest splits; so also where there is nothing to judge.
    """

    def bits_and_voxels(prediction, truth, where):
        voxels = int(np.count_nonzero(truth[where]))
        return np.array([voxels * judge(prediction, truth, where) if voxels else 0.0, voxels])

    trees = (
        (_neuron_hierarchy, (boundary, cut, spacing, fill, within_sections))
        for boundary, spacing in zip(boundaries, spacings, strict=True)
    )
    return _search(trees, truths, known, bits_and_voxels, heights, lambda t: -t[0] / t[1] if t[1] else math.nan)


def _search(trees, truths, known, judge, heights, value) -> float:
    """The height of the greatest value; one image's hierarchy at a time, cut at every height."""
    heights = sorted(heights, reverse=True)
    if not heights:
        raise ValueError("no seed heights to choose from; give at least one, in nm")
    totals = [None] * len(heights)
    for (make, arguments), truth, where in zip(trees, truths, known, strict=True):
        if not where.any():
            continue
        tree = make(*arguments)
        for i, height in enumerate(heights):
            result = judge(tree.cut(height), truth, where)
            totals[i] = result if totals[i] is None else operator.add(totals[i], result)
    values = [-math.inf if total is None or math.isnan(value(total)) else value(total) for total in totals]
    return heights[values.index(max(values))]


def _hierarchy_of(foreground, distance_nm, spacing) -> Hierarchy:
    if distance_nm is None:
        if spacing is None:
            raise ValueError(
                "neither a distance nor a spacing is given; the foreground's own distance needs its spacing"
            )
        distance_nm = distance_inside(foreground, spacing)
    return hierarchy(foreground, distance_nm)


def _neuron_hierarchy(boundary, cut, spacing, fill, within_sections) -> Hierarchy:
    if np.isnan(boundary).any():
        raise ValueError(f"{int(np.isnan(boundary).sum())} of {boundary.size} boundary scores are NaN")
    inside = ~(boundary > cut)
    found = hierarchy(inside, distance_inside(inside, spacing, within_sections=within_sections), diagonals=False)
    if not fill or inside.all() or not inside.any():
        return found
    nearest = ndimage.distance_transform_edt(
        ~inside, sampling=tuple(spacing), return_distances=False, return_indices=True
    )
    return Hierarchy(found.basins[tuple(nearest)], found.passes, found.dynamics)


def _by_first_voxel(labels: np.ndarray, size: int) -> np.ndarray:
    """Label -> its place in the order of the labels' first voxels; 0 stays 0."""
    backwards = np.flatnonzero(labels)[::-1]
    first = np.full(size, -1)
    first[labels.ravel()[backwards]] = backwards  # of an index that comes again the last value is kept: the first voxel
    return np.argsort(np.argsort(first)).astype(np.int32)


def _passes(basins: np.ndarray, height: np.ndarray, diagonals: bool) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of basins that touch, and the highest pass between the two."""
    size, keys, saddles = int(basins.max()) + 1, [], []
    half = np.argwhere(_neighbourhood(basins.ndim, diagonals)) - 1
    for offset in half[len(half) // 2 + 1 :]:  # of each offset and its opposite, one
        one = tuple(slice(max(-o, 0), n - max(o, 0)) for o, n in zip(offset, basins.shape, strict=True))
        other = tuple(slice(max(o, 0), n - max(-o, 0)) for o, n in zip(offset, basins.shape, strict=True))
        a, b = basins[one], basins[other]
        across = (a != b) & (a > 0) & (b > 0)
        a, b = a[across].astype(np.int64), b[across]
        key, saddle = np.minimum(a, b) * size + np.maximum(a, b), np.minimum(height[one][across], height[other][across])
        key, saddle = _highest(key, saddle)
        keys.append(key)
        saddles.append(saddle)
    key, saddle = _highest(np.concatenate(keys), np.concatenate(saddles))
    return np.stack(np.divmod(key, size), 1), saddle


def _highest(key: np.ndarray, saddle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each key once, ascending, with its greatest saddle."""
    order = np.argsort(key)
    key, saddle = key[order], saddle[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    return key[first], np.maximum.reduceat(saddle, first) if len(first) else saddle


def _dynamics(pairs: np.ndarray, saddle: np.ndarray, peaks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the passes their maximum spanning forest, and the dynamics of the maximum that each one ends."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    order = np.argsort(-saddle, kind="stable")
    pairs, saddle = pairs[order], saddle[order]
    rank = np.arange(1, len(pairs) + 1, dtype=np.float64)  # all different, and 0 would be no edge
    tree = minimum_spanning_tree(coo_array((rank, pairs.T), (len(peaks), len(peaks))))
    kept = np.sort(tree.data).astype(np.intp) - 1
    pairs, saddle = pairs[kept], saddle[kept]
    parent, highest, dynamics = list(range(len(peaks))), peaks.tolist(), []

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = node = parent[parent[node]]
        return node

    for (a, b), s in zip(pairs.tolist(), saddle.tolist(), strict=True):
        a, b = root(a), root(b)
        if highest[a] < highest[b]:
            a, b = b, a
        dynamics.append(highest[b] - s)
        parent[b] = a
    return pairs, np.array(dynamics)


def _neighbourhood(dims: int, diagonals: bool) -> np.ndarray:
    return ndimage.generate_binary_structure(dims, dims if diagonals else 1)


def _check_bool(name: str, array: np.ndarray) -> None:
    if array.dtype != bool:
        raise TypeError(f"{name} has dtype {array.dtype}; expected bool")
    if array.ndim not in (2, 3):
        raise ValueError(f"{name} has shape {array.shape}; expected two or three axes")


def _check_spacing(spacing: Sequence[float], array: np.ndarray) -> tuple[float, ...]:
    spacing = tuple(float(s) for s in spacing)
    if len(spacing) != array.ndim or not all(0 < s < math.inf for s in spacing):
        raise ValueError(f"spacing is {spacing} for {array.ndim} axes; expected as many positive numbers of nm")
    return spacing
