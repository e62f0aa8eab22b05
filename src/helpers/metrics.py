"""Numbers that judge one segmentation of one class. The positive class is the class itself.

A metric that is undefined (nothing in the truth, nothing predicted) is NaN, never 0 or 1.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Counts:
    """Voxels of a binary segmentation against the truth; counts of several images add up to the pooled ones."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.true_positive + other.true_positive,
            self.false_positive + other.false_positive,
            self.false_negative + other.false_negative,
            self.true_negative + other.true_negative,
        )

    @property
    def iou(self) -> float:
        """Intersection over union, TP / (TP + FP + FN) (Jaccard index)."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive + self.false_negative)

    @property
    def dice(self) -> float:
        """Dice coefficient, 2 TP / (2 TP + FP + FN); the F1 score of the positive class."""
        return _ratio(2 * self.true_positive, 2 * self.true_positive + self.false_positive + self.false_negative)

    @property
    def accuracy(self) -> float:
        """(TP + TN) / all. All background scores 1 minus the foreground fraction: read it beside that."""
        right = self.true_positive + self.true_negative
        return _ratio(right, right + self.false_positive + self.false_negative)

    @property
    def area_ratio(self) -> float:
        """Predicted area over the truth's: far from 1 where a run has collapsed."""
        return _ratio(self.true_positive + self.false_positive, self.true_positive + self.false_negative)


def counts(prediction: np.ndarray, truth: np.ndarray, known: np.ndarray | None = None) -> Counts:
    """Compare boolean arrays of one shape, where ``known`` (all, if None).

    Raises
    ------
    TypeError, ValueError
        Arrays that are not boolean; shapes that differ; no known voxel.
    """
    known = np.ones_like(truth) if known is None else known
    for name, array in {"prediction": prediction, "truth": truth, "known": known}.items():
        if array.dtype != bool:
            raise TypeError(f"{name} has dtype {array.dtype}; expected bool")
        if array.shape != truth.shape:
            raise ValueError(f"{name} has shape {array.shape} and truth {truth.shape}; expected the same")
    if not known.any():
        raise ValueError("no voxel is known: nothing can be scored (leave such an image out)")
    both = int((prediction & truth & known).sum())
    predicted, true, all_known = (int((a & known).sum()) for a in (prediction, truth, known))
    return Counts(both, predicted - both, true - both, all_known - predicted - true + both)


def pooled(predictions: Iterable[np.ndarray], truths: Iterable[np.ndarray], known: Iterable[np.ndarray]) -> Counts:
    """:func:`counts` summed over images; images without a known voxel are left out."""
    total = Counts(0, 0, 0, 0)
    for prediction, truth, where in zip(predictions, truths, known, strict=True):
        if where.any():
            total += counts(prediction, truth, where)
    return total


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else float("nan")
