"""From score maps to a segmentation: the cut."""

from collections.abc import Sequence

import numpy as np


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
        Midway between two neighbouring scores; NaN where no known voxel is foreground (no cut can be chosen).
    """
    k = np.concatenate([x.ravel() for x in known])
    s = np.concatenate([x.ravel() for x in scores])[k].astype(np.float64)
    m = np.concatenate([x.ravel() for x in masks])[k]
    if not m.any():
        return float("nan")
    order = np.argsort(-s, kind="stable")
    s, m = s[order], m[order]
    hits = np.cumsum(m)
    iou = hits / (m.sum() + np.arange(1, len(m) + 1) - hits)
    last = np.append(s[1:] < s[:-1], True)  # equal scores fall on the same side of any cut
    best = int(np.argmax(np.where(last, iou, -1)))
    # Below the lowest score, foreground is everything: any lower value will do.
    return float((s[best] + s[best + 1]) / 2) if best + 1 < len(s) else float(s[best] - 1)
