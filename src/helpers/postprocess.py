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
    masks, known : sequences of bool arrays of the same shapes
        One class; voxels that are not known do not count.

    Returns
    -------
    float
        Midway between two neighbouring scores, or the lower of them where their type has no number between; NaN
        where no known voxel is foreground (no cut can be chosen).
    """
    k = np.concatenate([x.ravel() for x in known])
    s = np.concatenate([x.ravel() for x in scores])[k]
    m = np.concatenate([x.ravel() for x in masks])[k]
    if not m.any():
        return float("nan")
    order = np.argsort(-s, kind="stable")
    s, m = s[order], m[order]
    hits = np.cumsum(m)
    iou = hits / (m.sum() + np.arange(1, len(m) + 1) - hits)
    last = np.append(s[1:] < s[:-1], True)  # equal scores fall on the same side of any cut
    best = int(np.argmax(np.where(last, iou, -1)))
    if best + 1 == len(s):  # below the lowest score, foreground is everything: any lower value will do
        return float(np.nextafter(s[best], s.dtype.type(-np.inf)))
    above, below = s[best], s[best + 1]
    middle = below + (above - below) / 2  # in the scores' own type, in which the cut will be compared
    return float(middle if middle < above else below)
