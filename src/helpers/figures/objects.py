"""Label maps as pictures: objects coloured, and where they touch a dark line."""

import colorsys

import numpy as np

GOLDEN = 0.618034  # of the circle of hues, from one number to the next: neighbours in number differ most


def coloured(labels: np.ndarray, truth: np.ndarray | None = None) -> np.ndarray:
    """Objects of one section in colours, black where two touch and where there is none.

    Parameters
    ----------
    labels : (Y, X) integers
    truth : (Y, X) integers, optional
        Each object takes the colour of the true one that it shares the most pixels with: one colour across several true
        objects is a merge, and a line through one colour a split. By default each has its own.

    Returns
    -------
    (Y, X, 3) float in [0, 1]
    """
    names, inverse = np.unique(labels, return_inverse=True)
    inverse = inverse.reshape(labels.shape)
    numbers = names
    if truth is not None:
        truths, other = np.unique(truth, return_inverse=True)
        shared = np.bincount(inverse.ravel() * len(truths) + other.ravel(), minlength=len(names) * len(truths))
        numbers = truths[shared.reshape(len(names), len(truths)).argmax(1)]
    tints = np.array(
        [_tint(int(number)) if name else (0.0, 0.0, 0.0) for name, number in zip(names, numbers, strict=True)]
    )
    picture = tints[inverse]
    picture[_edges(labels)] = 0
    return picture


def _tint(number: int) -> tuple[float, float, float]:
    """A colour for each number, always the same; three values of light keep objects apart for the colour-blind."""
    return colorsys.hsv_to_rgb(number * GOLDEN % 1, 0.55, (0.95, 0.75, 0.55)[number % 3]) if number else (0.9, 0.9, 0.9)


def _edges(labels: np.ndarray) -> np.ndarray:
    """Pixels whose neighbour to the right or below is of another object."""
    edge = np.zeros(labels.shape, bool)
    edge[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    edge[:-1] |= labels[1:] != labels[:-1]
    return edge
