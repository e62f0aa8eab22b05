"""Scores to probabilities, and how far probabilities can be believed.

Targets differ in what their scores mean: a probability, a tanh distance, a distance without bound. A logistic fit on
validation turns any of them into a probability of foreground, so that calibration compares across targets. Whatever is
said of calibration here is said of the positive class's probability.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

LINKS = ("logit", "atanh", "identity")
BINS = 15  # of equal width
CLOSEST = 2.0**-24  # how close a score comes to the end of its range: the last step of a float32 below 1
ROUNDING = 1e-6  # scores this far out of their range are in it but for rounding (a mean of float32 votes)


def regressor(score: np.ndarray, link: str) -> np.ndarray:
    """The number without bound that a score stands for: what its logistic fit is linear in.

    Parameters
    ----------
    score : float array
    link : str
        ``"logit"`` for probabilities (the network's own logit comes back), ``"atanh"`` for scores in [-1, 1], or
        ``"identity"``.

    Returns
    -------
    float64 array of the same shape
        Finite: scores at an end of their range are taken as 2**-24 of a probability away from it, the last step of
        a float32 below 1. So logits are within 16.7, and atanh within 8.4.

    Raises
    ------
    ValueError
        Another link; scores outside their range by more than rounding (1e-6), NaN or infinite.
    """
    if link not in LINKS:
        raise ValueError(f"link is {link!r}; expected one of {', '.join(LINKS)}")
    score = np.asarray(score, np.float64)
    lowest, highest = {"logit": (0.0, 1.0), "atanh": (-1.0, 1.0), "identity": (-np.inf, np.inf)}[link]
    outside = ~((score >= lowest - ROUNDING) & (score <= highest + ROUNDING) & np.isfinite(score))
    if outside.any():
        expected = "finite numbers" if link == "identity" else f"scores in [{lowest:g}, {highest:g}]"
        raise ValueError(
            f"{int(outside.sum())} of {score.size} scores do not fit the link {link!r}, the first of them "
            f"{score[outside][0]:g}; expected {expected}"
        )
    if link == "identity":
        return score
    probability = score if link == "logit" else (score + 1) / 2
    z = logit(probability.clip(CLOSEST, 1 - CLOSEST))
    return z if link == "logit" else z / 2


@dataclass(frozen=True)
class Logistic:
    """Probability of foreground, 1 / (1 + exp(-(slope * regressor(score) + intercept))).

    NaN slope and intercept: there was nothing to fit, and every probability is NaN.
    """

    slope: float
    intercept: float
    link: str

    @property
    def defined(self) -> bool:
        """Whether there was anything to fit: ask before judging the probabilities."""
        return math.isfinite(self.slope) and math.isfinite(self.intercept)

    def __call__(self, score: np.ndarray) -> np.ndarray:
        """Score of any shape -> float64 probabilities; errors as in :func:`regressor`."""
        return expit(self.slope * regressor(score, self.link) + self.intercept)


def fit_logistic(
    scores: Sequence[np.ndarray], masks: Sequence[np.ndarray], known: Sequence[np.ndarray], link: str
) -> Logistic:
    """Platt scaling [1]_: the logistic regression of one class's truth on its score, over all known voxels at once.

    The targets are Platt's, (n1 + 1) / (n1 + 2) and 1 / (n0 + 2) for n1 voxels of foreground and n0 of background, so
    that the fit is finite where a cut separates the two.

    Parameters
    ----------
    scores : sequence of float arrays
        One per image (validation's), of one class.
    masks, known : sequences of bool arrays of the same shapes
    link : str
        As in :func:`regressor`.

    Returns
    -------
    Logistic
        NaN where the known voxels hold no foreground, or no background: there is nothing to tell apart, and a study
        goes on. Where all scores are one number the slope is 0 and the probability is the share of foreground.

    Raises
    ------
    TypeError, ValueError
        Masks that are not boolean; numbers of images or shapes that differ; scores that do not fit the link.

    Notes
    -----
    Newton's method with step halving, as in [2]_, on the standardised regressor.

    References
    ----------
    .. [1] Platt 1999, Probabilistic outputs for support vector machines, in: Advances in Large Margin Classifiers
    .. [2] Lin, Lin and Weng 2007, doi:10.1007/s10994-007-5018-6
    """
    xs, ys = [], []
    for score, mask, where in zip(scores, masks, known, strict=True):
        _check_labels(score, {"mask": mask, "known": where}, "score")
        xs.append(regressor(score[where], link))
        ys.append(mask[where])
    positive, size = sum(int(y.sum()) for y in ys), sum(y.size for y in ys)
    if positive in (0, size):
        return Logistic(math.nan, math.nan, link)
    high, low = (positive + 1) / (positive + 2), 1 / (size - positive + 2)
    share = (positive * high + (size - positive) * low) / size
    mean = sum(float(x.sum()) for x in xs) / size
    deviation = math.sqrt(sum(float(np.square(x - mean).sum()) for x in xs) / size)
    if deviation <= 1e-12 * abs(mean):  # alike, but for the rounding of the mean
        return Logistic(0.0, float(logit(share)), link)
    standardised = [(x - mean) / deviation for x in xs]
    slope, intercept = _newton(standardised, ys, high, low, float(logit(share))) / (deviation, 1.0)
    return Logistic(float(slope), float(intercept - slope * mean), link)


def _newton(xs, ys, high: float, low: float, start: float) -> np.ndarray:
    """Slope and intercept of least mean cross entropy against the targets `high` and `low`."""
    size, parameters = sum(x.size for x in xs), np.array([0.0, start])

    def losses(slope: float, intercept: float) -> float:
        total = 0.0
        for x, y in zip(xs, ys, strict=True):
            z = slope * x + intercept
            wrong = np.where(y, -z, z)
            total += float((np.maximum(wrong, 0) + np.log1p(np.exp(-np.abs(wrong)))).sum())
            total += (1 - high) * float(z[y].sum()) - low * float(z[~y].sum())
        return total / size

    loss = losses(*parameters)
    for _ in range(100):
        gradient, hessian = np.zeros(2), np.zeros((2, 2))
        for x, y in zip(xs, ys, strict=True):
            p = expit(parameters[0] * x + parameters[1])
            w = p * (1 - p)
            p -= np.where(y, high, low)
            gradient += float(p @ x), float(p.sum())
            wx = w * x
            hessian += [[float(wx @ x), float(wx.sum())], [float(wx.sum()), float(w.sum())]]
        # the ridge only matters where all weights have died away
        step = np.linalg.solve(hessian / size + 1e-12 * np.eye(2), gradient / size)
        decrease = float(step @ gradient) / size
        # What a full step would still gain is below the last digit of the loss: the step is the last.
        if decrease <= 1e-15 * loss or np.abs(step).max() <= 1e-10 * (1 + np.abs(parameters).max()):
            return parameters - step
        scale, found = 1.0, losses(*(parameters - step))
        # so near to the minimum that the loss cannot tell any more, a whole step is right
        while decrease > 1e-10 * loss and found > loss - 1e-4 * scale * decrease:
            scale /= 2
            found = losses(*(parameters - scale * step))
        parameters, loss = parameters - scale * step, found
    raise RuntimeError(f"the logistic fit of {size} voxels did not converge in 100 steps; it stands at {parameters}")


@dataclass(frozen=True)
class Reliability:
    """Probabilities of the positive class against the truth, in 15 bins of equal width; images add up.

    Bin b holds the probabilities p with floor(15 p) = b, and the last one p = 1 too. Made by :func:`reliability`;
    ``sum(parts, Reliability.nothing())`` pools images. A property is NaN where it is undefined.

    Attributes
    ----------
    counts, positives : tuples of 15 int
        Voxels of each bin, and those of the positive class among them.
    sums : tuple of 15 float
        Sum of the probabilities of each bin.
    squares : float
        Sum of squared differences from the truth.
    sum_foreground, sum_background : float
        Sums of the probability given to the true class.
    """

    counts: tuple[int, ...]
    positives: tuple[int, ...]
    sums: tuple[float, ...]
    squares: float
    sum_foreground: float
    sum_background: float

    @classmethod
    def nothing(cls) -> "Reliability":
        """No voxel at all: where a sum over images starts."""
        return cls((0,) * BINS, (0,) * BINS, (0.0,) * BINS, 0.0, 0.0, 0.0)

    def __add__(self, other: "Reliability") -> "Reliability":
        def add(mine, yours):
            return tuple(a + b for a, b in zip(mine, yours, strict=True))

        return Reliability(
            add(self.counts, other.counts),
            add(self.positives, other.positives),
            add(self.sums, other.sums),
            self.squares + other.squares,
            self.sum_foreground + other.sum_foreground,
            self.sum_background + other.sum_background,
        )

    @property
    def ece(self) -> float:
        """Expected calibration error: mean over voxels of their bin's |mean probability - share of positives|."""
        return _ratio(sum(abs(s - p) for s, p in zip(self.sums, self.positives, strict=True)), sum(self.counts))

    @property
    def mce(self) -> float:
        """Maximum calibration error: that difference in the worst bin that holds a voxel."""
        filled = zip(self.sums, self.positives, self.counts, strict=True)
        return max((abs(s - p) / n for s, p, n in filled if n), default=math.nan)

    @property
    def brier(self) -> float:
        """Brier score: mean squared difference of probability and truth; 0 is perfect."""
        return _ratio(self.squares, sum(self.counts))

    @property
    def confidence_foreground(self) -> float:
        """Mean probability of the positive class on the truth's foreground."""
        return _ratio(self.sum_foreground, sum(self.positives))

    @property
    def confidence_background(self) -> float:
        """Mean probability of the negative class on the truth's background."""
        return _ratio(self.sum_background, sum(self.counts) - sum(self.positives))

    def curve(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Reliability curve: mean probability, share of positives and count of each bin (empty bins: NaN, NaN, 0)."""
        counts = np.array(self.counts)
        n = np.where(counts, counts, np.nan)
        return np.array(self.sums) / n, np.array(self.positives) / n, counts


def reliability(probability: np.ndarray, truth: np.ndarray, known: np.ndarray | None = None) -> Reliability:
    """Compare the positive class's probabilities with the truth, where ``known`` (everywhere, if None).

    Parameters
    ----------
    probability : float array
        In [0, 1].
    truth, known : bool arrays of the same shape

    Raises
    ------
    TypeError, ValueError
        Truth or known that are not boolean; shapes that differ; no known voxel; known probabilities that are NaN or
        outside [0, 1].
    """
    known = np.ones(np.shape(truth), bool) if known is None else known
    _check_labels(probability, {"truth": truth, "known": known}, "probability")
    if not known.any():
        raise ValueError("no voxel is known: nothing can be judged (leave such an image out)")
    p, y = np.asarray(probability[known], np.float64), truth[known]
    outside = ~((p >= 0) & (p <= 1))
    if outside.any():
        raise ValueError(
            f"{int(outside.sum())} of {p.size} probabilities are NaN or outside [0, 1], the first of them "
            f"{p[outside][0]:g}; make scores into probabilities first, by a logistic fit"
        )
    bins = np.minimum((p * BINS).astype(np.intp), BINS - 1)
    positive = p[y]
    return Reliability(
        tuple(np.bincount(bins, minlength=BINS).tolist()),
        tuple(np.bincount(bins[y], minlength=BINS).tolist()),
        tuple(np.bincount(bins, p, BINS).tolist()),
        float(np.square(p - y).sum()),
        float(positive.sum()),
        float((1 - p[~y]).sum()),
    )


def _check_labels(scores: np.ndarray, labels: dict[str, np.ndarray], name: str) -> None:
    for label, array in labels.items():
        if array.dtype != bool:
            raise TypeError(f"{label} has dtype {array.dtype}; expected bool")
        if array.shape != scores.shape:
            raise ValueError(f"{label} has shape {array.shape} and {name} {scores.shape}; expected the same")


def _ratio(numerator: float, denominator: int) -> float:
    return numerator / denominator if denominator else math.nan
