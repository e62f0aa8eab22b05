"""From a network's output to a segmentation: the consensus of occupancy votes, and the cut."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor


def consensus(votes: Tensor, offsets: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Occupancy of each voxel as its neighbours see it, and how far they disagree.

    Channel k at x is a vote on the voxel at x + o_k; the consensus at x is the mean of the votes cast for it, channel
    k at x - o_k, over the voters that lie inside the tensor.

    Parameters
    ----------
    votes : float tensor, shape (B, C K, *S)
        Class-major: channel c K + k. Masked votes are not known here: pass a whole prediction.
    offsets : sequence of K offsets
        As in :func:`helpers.targets.local_occupancy`, voxels along each axis of S.

    Returns
    -------
    mean, spread : float tensors, shape (B, C, *S)
        The spread is the standard deviation of the votes; both are NaN where a voxel has no voter at all.

    Raises
    ------
    ValueError
        Channels that are no multiple of the number of offsets; offsets of another dimension.
    """
    size, dims = votes.shape[2:], votes.ndim - 2
    if not len(offsets) or votes.shape[1] % len(offsets):
        raise ValueError(f"votes have {votes.shape[1]} channels; expected a multiple of the {len(offsets)} offsets")
    if any(len(offset) != dims for offset in offsets):
        raise ValueError(f"offsets {list(offsets)!r} for {dims} spatial axes; expected {dims} entries each")
    votes = votes.unflatten(1, (-1, len(offsets)))
    total, squares = (votes.new_zeros(votes.shape[0], votes.shape[1], *size) for _ in range(2))
    count = votes.new_zeros(size)
    for k, offset in enumerate(offsets):
        to = tuple(slice(max(o, 0), n + min(o, 0)) for o, n in zip(offset, size, strict=True))
        by = tuple(slice(max(-o, 0), n - max(o, 0)) for o, n in zip(offset, size, strict=True))
        if any(abs(o) >= n for o, n in zip(offset, size, strict=True)):
            continue  # nobody that far away is inside
        vote = votes[:, :, k][(..., *by)]
        total[(..., *to)] += vote
        squares[(..., *to)] += vote.square()
        count[to] += 1
    mean = total / count
    return mean, (squares / count - mean.square()).clamp(min=0).sqrt()


def best_cut(scores: Sequence[np.ndarray], masks: Sequence[np.ndarray], known: Sequence[np.ndarray]) -> float:
    """The cut with the highest pooled IoU: exact, over every cut that the scores allow.

    Every objective is given the same search (all of it), so no objective gains by a finer grid. A voxel is foreground
    where its score is greater than the cut.

    Parameters
    ----------
    scores : sequence of float arrays
        One per image, of one class.
    masks, known : sequences of bool arrays of the same shapes
        Voxels that are not known do not count.

    Returns
    -------
    float
        Midway between two neighbouring scores, or the lower of them where their type has no number between; NaN
        where no known voxel is foreground (no cut can be chosen, and no score is greater than NaN).

    Raises
    ------
    TypeError, ValueError
        Masks that are not boolean, scores that are not floating point; numbers of images or shapes that differ; known
        scores that are NaN or infinite.
    """
    inside, outside = [], []
    for score, mask, where in zip(scores, masks, known, strict=True):
        for name, array in {"mask": mask, "known": where}.items():
            if array.dtype != bool:
                raise TypeError(f"{name} has dtype {array.dtype}; expected bool")
            if array.shape != score.shape:
                raise ValueError(f"{name} has shape {array.shape} and score {score.shape}; expected the same")
        if not np.issubdtype(score.dtype, np.floating):
            raise TypeError(f"scores have dtype {score.dtype}; expected floating point")
        inside.append(score[mask & where])
        outside.append(score[~mask & where])
        for values in (inside[-1], outside[-1]):
            if not np.isfinite(values).all():
                raise ValueError(f"{int((~np.isfinite(values)).sum())} of the known scores are NaN or infinite")
    if not sum(values.size for values in inside):
        return float("nan")
    f, b = np.concatenate(inside), np.concatenate(outside)
    del inside, outside
    f.sort()
    b.sort()
    # The best cut lies just under a foreground score: to lower it further, short of the next, only adds background.
    first = np.flatnonzero(np.append(True, f[1:] > f[:-1]))  # equal scores fall on the same side of any cut
    lowest = f[first]
    background = np.searchsorted(b, lowest)  # how many background scores are lower
    iou = (f.size - first) / (f.size + b.size - background)
    best = len(iou) - 1 - int(np.argmax(iou[::-1]))  # of equal cuts the highest
    lower = [values[n - 1] for values, n in ((f, first[best]), (b, background[best])) if n]
    above = lowest[best]
    if not lower:  # below the lowest score, foreground is everything: any lower value will do
        return float(np.nextafter(above, above.dtype.type(-np.inf)))
    below = max(lower)
    middle = below / 2 + above / 2  # in the scores' own type, in which the cut will be compared
    return float(middle if below <= middle < above else below)
