"""Two label maps compared: everything that segmentations into objects are judged by, from one sparse contingency table.

A label map holds integers of any shape; 0 is the background, every other value an object (connected or not).
`contingency` counts, once, how many voxels each object of the truth shares with each object of the prediction. Every
metric is a function of that table alone: `foreground` (IoU), `adapted_rand`, `variation_of_information`, `matching`.

Splits and merges are named from the prediction's side: a *split* cuts an object of the truth into several, a *merge*
joins several objects of the truth into one. What is undefined (no object to judge by) is NaN, never 0 or 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from helpers.metrics import Counts

#: Voxels looked at at once: their labels and pairs fit a processor's cache. A power of two.
CHUNK = 2**15

RULES = ("skimage", "snemi")


@dataclass(frozen=True, eq=False)
class Contingency:
    """How many voxels each pair of labels shares; pairs that share none are left out.

    truth_ids, predicted_ids : (T,), (P,) labels that occur, ascending; 0, the background, among them if it occurs.
    truth_sizes, predicted_sizes : (T,), (P,) int64, voxels of each.
    i, j, n : (M,) pair m is `truth_ids[i[m]]` with `predicted_ids[j[m]]`, on n[m] > 0 voxels; ordered by i, then j.
    """

    truth_ids: np.ndarray
    predicted_ids: np.ndarray
    i: np.ndarray
    j: np.ndarray
    n: np.ndarray
    truth_sizes: np.ndarray
    predicted_sizes: np.ndarray

    @property
    def n_voxels(self) -> int:
        """Voxels compared, the background's included."""
        return int(self.truth_sizes.sum())


def contingency(prediction: np.ndarray, truth: np.ndarray, known: np.ndarray | None = None) -> Contingency:
    """Count the pairs of labels of two maps in one pass.

    Labels seldom change from one voxel to the next, so the maps are read as runs in which neither does. Nothing as
    large as the maps is copied, also where they are not contiguous. Working memory: about 4 MiB, and up to 90 bytes for
    every pair that occurs, which matters only for maps close to noise.

    Parameters
    ----------
    prediction, truth : (*S) integers of any kind, 0 or more; 0 is the background.
    known : (*S) bool, optional
        Voxels to compare; what the maps hold elsewhere is never looked at. An object that it cuts is what it leaves.

    Raises
    ------
    TypeError, ValueError
        Maps that are not integers (a boolean mask is no label map), known that is not boolean; shapes that differ; a
        negative label where known; no known voxel.
    """
    maps = {"prediction": np.asarray(prediction), "truth": np.asarray(truth)}
    known = None if known is None else np.asarray(known)
    _check(maps, known)

    # One integer names a pair: truth * width + prediction. Labels too large for that are replaced by their ranks.
    width, height = (max(int(array.max()) + 1, 1) for array in maps.values())
    ids = None
    if width * height > 2**63 - 1:
        ids = _occurring(maps, known)
        width, height = (len(values) for values in ids.values())
    counter = _Counter()
    for runs, lengths in _runs(list(maps.values()), known):
        columns, rows = (
            _not_negative(run, name).astype(np.int64) if ids is None else np.searchsorted(ids[name], run)
            for name, run in zip(maps, runs, strict=True)
        )
        counter.add(rows * width + columns, lengths)

    pairs, n = counter.result()
    truth_ids, i = _ranked(pairs // width, height)
    predicted_ids, j = _ranked(pairs % width, width)
    if ids is None:
        truth_ids = truth_ids.astype(maps["truth"].dtype.newbyteorder("="))
        predicted_ids = predicted_ids.astype(maps["prediction"].dtype.newbyteorder("="))
    else:  # every rank occurs
        truth_ids, predicted_ids = ids["truth"], ids["prediction"]
    return Contingency(truth_ids, predicted_ids, i, j, n, _totals(i, n), _totals(j, n))


def foreground(table: Contingency) -> Counts:
    """Voxels in any object against voxels in none: `foreground(table).iou`, `.dice`; counts of images add up."""
    true, predicted = (ids[k] != 0 for ids, k in ((table.truth_ids, table.i), (table.predicted_ids, table.j)))
    both, extra, missed, neither = (
        int(table.n[where].sum())
        for where in (true & predicted, ~true & predicted, true & ~predicted, ~(true | predicted))
    )
    return Counts(both, extra, missed, neither)


@dataclass(frozen=True)
class AdaptedRand:
    """Ordered pairs of voxels in one segment: of both maps, of the prediction, of the truth. They add up over images.

    Named by what lowers them (scikit-image's function returns the same two numbers the other way round: its
    "precision" is divided by the truth's pairs, against its own text, and is the recall here).

    precision : both / predicted, of the pairs that the prediction joins, those that belong together; **merges** lower
        it.
    recall : both / true, of the pairs that belong together, those that the prediction joins; **splits** lower it.
    f_score : 2 both / (predicted + true), their harmonic mean. error : 1 - f_score.
    """

    rule: str
    both: int
    predicted: int
    true: int

    def __add__(self, other: AdaptedRand) -> AdaptedRand:
        if self.rule != other.rule:
            raise ValueError(f"pairs counted by the rules {self.rule!r} and {other.rule!r}: expected one rule")
        return AdaptedRand(self.rule, self.both + other.both, self.predicted + other.predicted, self.true + other.true)

    @property
    def precision(self) -> float:
        return _ratio(self.both, self.predicted)

    @property
    def recall(self) -> float:
        return _ratio(self.both, self.true)

    @property
    def f_score(self) -> float:
        return _ratio(2 * self.both, self.predicted + self.true)

    @property
    def error(self) -> float:
        return 1 - self.f_score


def adapted_rand(table: Contingency, rule: str = "skimage") -> AdaptedRand:
    """Adapted Rand index: do the same pairs of voxels share a segment? The truth's background is left out.

    Parameters
    ----------
    table : of :func:`contingency`.
    rule : what the prediction's 0 is on objects of the truth. "skimage": one segment like any other, and a voxel is no
        pair with itself, as in scikit-image's `adapted_rand_error`. "snemi": every voxel of it is a segment of its own,
        and a voxel is a pair with itself (without which such segments would count for nothing), as in the SNEMI3D
        challenge [1]_.

    Notes
    -----
    With n_ij voxels shared by object i > 0 of the truth and segment j of the prediction, t_i and p_j their sums over j
    and over i > 0, N = Σ t_i and c = Σ_i n_i0:

    - skimage: both = Σ n_ij² - N, predicted = Σ p_j² - N, true = Σ t_i² - N;
    - snemi: both = Σ_{j>0} n_ij² + c, predicted = Σ_{j>0} p_j² + c, true = Σ t_i².

    Python versions of the SNEMI3D script, the one behind the published VNC table among them, add c / (all voxels) to
    sums that are not divided by (all voxels)², and so lose all but a trace of c. With c in full, as here, the F-score
    is higher, by less than 2 / (mean voxels of an object of the truth).

    Neither sees what is predicted outside the truth's objects: on sparse classes it is blind to false positives.

    References
    ----------
    .. [1] Arganda-Carreras I, et al. (2015) Crowdsourcing the creation of image segmentation algorithms for
           connectomics. Front. Neuroanat. 9:142. :DOI:`10.3389/fnana.2015.00142`
    """
    if rule not in RULES:
        raise ValueError(f"rule is {rule!r}, expected one of {RULES}: the prediction's 0 is one segment, or many")
    counted = table.truth_ids[table.i] != 0
    n, j = table.n[counted], table.j[counted]
    truth = table.truth_sizes[table.truth_ids != 0]
    predicted = _totals(j, n, len(table.predicted_ids))
    if rule == "skimage":
        total = int(n.sum())
        return AdaptedRand(rule, _squares(n) - total, _squares(predicted) - total, _squares(truth) - total)
    objects = table.predicted_ids != 0
    alone = int(predicted[~objects].sum())
    return AdaptedRand(rule, _squares(n[objects[j]]) + alone, _squares(predicted[objects]) + alone, _squares(truth))


class VariationOfInformation(NamedTuple):
    """Bits per voxel: split is H(prediction | truth), merge is H(truth | prediction)."""

    split: float
    merge: float

    @property
    def total(self) -> float:
        """split + merge, a metric on partitions."""
        return self.split + self.merge


def variation_of_information(
    table: Contingency, ignore_truth_background: bool = True, ignore_predicted_background: bool = False
) -> VariationOfInformation:
    """Variation of information [1]_ in bits (logarithms to base 2), splits and merges apart; 0 is perfect.

    Parameters
    ----------
    table : of :func:`contingency`.
    ignore_truth_background : leave out the truth's 0. True for neurites: membranes between the truth's objects are
        nobody's, and where exactly they are drawn is no error of the reconstruction (the convention of the CREMI
        challenge). The same as scikit-image's `variation_of_information(truth, prediction, ignore_labels=(0,))`;
        False is its default, `ignore_labels=()`, where the 0 is one object more.
    ignore_predicted_background : leave out the prediction's 0. False: on objects of the truth the prediction's 0 is
        one segment, which costs a split where it takes a part of an object, and a merge where it takes parts of
        several. True forgives all that is left out, and a prediction of a few sure voxels scores perfectly.

    Returns
    -------
    VariationOfInformation
        (split, merge), NaN if no voxel is left. Of several images, take means weighted by the voxels counted: by
        default those of the truth's objects, `table.truth_sizes[table.truth_ids != 0].sum()`.

    Notes
    -----
    With n_ij shared voxels, t_i = Σ_j n_ij, p_j = Σ_i n_ij and N = Σ n_ij over what is not left out,
    split = Σ n_ij log2(t_i / n_ij) / N and merge = Σ n_ij log2(p_j / n_ij) / N.

    References
    ----------
    .. [1] Meilă M. (2007) Comparing clusterings: an information based distance. Journal of Multivariate Analysis 98,
           873-895. :DOI:`10.1016/j.jmva.2006.11.013`
    """
    counted = np.ones(len(table.n), bool)
    if ignore_truth_background:
        counted &= table.truth_ids[table.i] != 0
    if ignore_predicted_background:
        counted &= table.predicted_ids[table.j] != 0
    if not counted.any():
        return VariationOfInformation(float("nan"), float("nan"))
    i, j, n = table.i[counted], table.j[counted], table.n[counted]
    split, merge = (float((n * np.log2(_totals(k, n)[k] / n)).sum() / n.sum()) for k in (i, j))
    return VariationOfInformation(split, merge)


@dataclass(frozen=True)
class Matching:
    """Objects of the truth, of the prediction, and those matched one to one. Matchings of images add up.

    matched_iou : the sum of the intersections over union of the matched pairs.
    """

    n_true: int
    n_predicted: int
    n_matched: int
    matched_iou: float

    def __add__(self, other: Matching) -> Matching:
        return Matching(
            self.n_true + other.n_true,
            self.n_predicted + other.n_predicted,
            self.n_matched + other.n_matched,
            self.matched_iou + other.matched_iou,
        )

    @property
    def precision(self) -> float:
        """Of the predicted objects, those matched."""
        return _ratio(self.n_matched, self.n_predicted)

    @property
    def recall(self) -> float:
        """Of the truth's objects, those matched."""
        return _ratio(self.n_matched, self.n_true)

    @property
    def f1(self) -> float:
        """2 matched / (true + predicted): TP / (TP + FP/2 + FN/2)."""
        return _ratio(2 * self.n_matched, self.n_true + self.n_predicted)

    @property
    def panoptic_quality(self) -> float:
        """Σ IoU of the matched / (TP + FP/2 + FN/2): f1 times the mean IoU of what is matched."""
        return _ratio(2 * self.matched_iou, self.n_true + self.n_predicted)


def matching(table: Contingency, threshold: float = 0.5) -> Matching:
    """Match the objects of the two maps one to one, where their intersection over union is larger than `threshold`.

    Above one half no object can have two partners, and all pairs over the threshold are the matching; an IoU of exactly
    one half is not matched, for that reason (as in panoptic quality [1]_; stardist's matching takes it in). Below,
    partners compete: as many pairs as possible are matched, and among such matchings the one with the largest sum of
    IoU is taken, as stardist does. Overlap with the background counts in every union.

    Parameters
    ----------
    table : of :func:`contingency`.
    threshold : in [0, 1).

    References
    ----------
    .. [1] Kirillov A, et al. (2019) Panoptic segmentation. CVPR, 9396-9405. :DOI:`10.1109/CVPR.2019.00963`
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold is {threshold!r}, expected a number in [0, 1): no IoU is larger than 1")
    objects = (table.truth_ids[table.i] != 0) & (table.predicted_ids[table.j] != 0)
    i, j, n = table.i[objects], table.j[objects], table.n[objects]
    iou = n / (table.truth_sizes[i] + table.predicted_sizes[j] - n)
    over = iou > threshold
    i, j, iou = i[over], j[over], iou[over]
    if threshold < 0.5:
        iou = iou[_assigned(i, j, iou)]
    n_true, n_predicted = (int((ids != 0).sum()) for ids in (table.truth_ids, table.predicted_ids))
    return Matching(n_true, n_predicted, len(iou), float(iou.sum()))


def _assigned(i: np.ndarray, j: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """Which pairs make up the largest one-to-one matching; of the largest, the one of the largest sum."""
    from scipy import sparse
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    rows, i = np.unique(i, return_inverse=True)
    columns, j = np.unique(j, return_inverse=True)
    if not len(iou):
        return np.empty(0, int)
    # Each row may also take a column of its own, at weight 1: any pair more outweighs all sums of IoU.
    worth = min(len(rows), len(columns)) + 2 + iou
    own = np.arange(len(rows))
    weights = np.concatenate([worth, np.ones(len(rows))])
    graph = sparse.csr_array((weights, (np.concatenate([i, own]), np.concatenate([j, len(columns) + own]))))
    row, column = min_weight_full_bipartite_matching(graph, maximize=True)
    real = column < len(columns)
    return np.flatnonzero(np.isin(i * len(columns) + j, row[real].astype(int) * len(columns) + column[real]))


def _check(maps: dict[str, np.ndarray], known: np.ndarray | None) -> None:
    shape = maps["truth"].shape
    for name, array in maps.items():
        if array.dtype.kind not in "iu":
            hint = "label its objects first (skimage.measure.label)" if array.dtype == bool else "pass integer labels"
            raise TypeError(f"{name} has dtype {array.dtype}, expected integers: {hint}")
        if array.shape != shape:
            raise ValueError(f"prediction has shape {array.shape} and truth {shape}: expected the same")
    if known is not None:
        if known.dtype != bool:
            raise TypeError(f"known has dtype {known.dtype}, expected bool: pass a mask, such as known > 0")
        if known.shape != shape:
            raise ValueError(f"known has shape {known.shape} and truth {shape}: expected the same")
    if not (maps["truth"].size if known is None else known.any()):
        raise ValueError(f"no voxel of shape {shape} is known: nothing can be compared (leave such an image out)")


def _runs(arrays: list[np.ndarray], known: np.ndarray | None) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
    """The values of all arrays and the length of every run in which none of them changes, chunk by chunk."""
    operands = arrays if known is None else [*arrays, known]
    chunks = np.nditer(
        operands,
        flags=["external_loop", "buffered"],
        op_flags=[["readonly"]] * len(operands),
        op_dtypes=[a.dtype.newbyteorder("=") for a in operands],
        casting="equiv",
        buffersize=CHUNK,
    )
    change = np.empty(CHUNK, bool)
    differs = np.empty(CHUNK, bool)
    for chunk in chunks:
        size = len(chunk[0])
        change[0], change[1:size] = True, False
        for values in chunk:
            np.not_equal(values[1:], values[:-1], out=differs[1:size])
            change[1:size] |= differs[1:size]
        starts = np.flatnonzero(change[:size])
        lengths = np.diff(starts, append=size)
        if known is not None:
            keep = chunk[-1][starts]
            starts, lengths = starts[keep], lengths[keep]
        if len(starts):
            yield [values[starts] for values in chunk[: len(arrays)]], lengths


def _not_negative(labels: np.ndarray, name: str) -> np.ndarray:
    """The same labels, unless one is negative."""
    if labels.dtype.kind == "i" and (least := labels.min()) < 0:
        raise ValueError(f"{name} has the label {least}, expected 0 (the background) or more: leave it out by known")
    return labels


def _occurring(maps: dict[str, np.ndarray], known: np.ndarray | None) -> dict[str, np.ndarray]:
    """The labels of each map that occur where known, ascending."""
    found = {name: np.empty(0, array.dtype.newbyteorder("=")) for name, array in maps.items()}
    waiting = {name: [] for name in maps}
    for runs, _ in _runs(list(maps.values()), known):
        for name, run in zip(maps, runs, strict=True):
            waiting[name].append(np.unique(_not_negative(run, name)))
            if sum(map(len, waiting[name])) > max(CHUNK, len(found[name])):
                found[name] = np.unique(np.concatenate([found[name], *waiting[name]]))
                waiting[name].clear()
    return {name: np.unique(np.concatenate([found[name], *waiting[name]])) for name in maps}


class _Counter:
    """Sums by integer key: a hash table with linear probing, every step of it for all keys of a chunk at once."""

    def __init__(self):
        self._allocate(4 * CHUNK)  # when half are taken it grows: at most three quarters are, after the next chunk

    def _allocate(self, slots: int) -> None:
        self.keys, self.sums = np.full(slots, -1), np.zeros(slots, np.int64)
        self.filled = 0  # slots taken, or more

    def add(self, keys: np.ndarray, amounts: np.ndarray) -> None:
        if 2 * self.filled > len(self.keys):
            self._make_room()
        # All copies of a key walk together from the same slot on, until it is theirs, or free and they win it.
        mixed = keys.astype(np.uint64)
        mixed ^= mixed >> np.uint64(32)
        mixed *= np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: the high bits depend on all others
        slots = (mixed >> np.uint64(65 - len(self.keys).bit_length())).astype(np.int64)
        while len(keys):
            free = np.flatnonzero(self.keys[slots] < 0)
            self.keys[slots[free]] = keys[free]
            self.filled += len(free)
            own = self.keys[slots] == keys
            if own.all():
                np.add.at(self.sums, slots, amounts)
                return
            np.add.at(self.sums, slots[own], amounts[own])
            lost = np.flatnonzero(~own)
            keys, amounts, slots = keys[lost], amounts[lost], (slots[lost] + 1) & (len(self.keys) - 1)

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Keys, ascending, and the sum of each; the table is given up."""
        taken = np.flatnonzero(self.keys >= 0)
        keys, sums = self.keys[taken], self.sums[taken]
        del self.keys, self.sums, taken
        order = np.argsort(keys)
        return keys[order], sums[order]

    def _make_room(self) -> None:
        taken = np.flatnonzero(self.keys >= 0)
        self.filled = len(taken)
        if 2 * self.filled > len(self.keys):
            keys, sums, slots = self.keys[taken], self.sums[taken], 2 * len(self.keys)
            del self.keys, self.sums, taken
            self._allocate(slots)
            for start in range(0, len(keys), CHUNK):
                self.add(keys[start : start + CHUNK], sums[start : start + CHUNK])


def _ranked(codes: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct codes below size, ascending, and which of them each code is."""
    if size > max(CHUNK, len(codes)):
        return np.unique(codes, return_inverse=True)
    occurs = np.zeros(size, bool)
    occurs[codes] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[codes]


def _totals(index: np.ndarray, n: np.ndarray, size: int | None = None) -> np.ndarray:
    """Sum of n for each index 0, 1, …"""
    totals = np.zeros(int(index.max()) + 1 if size is None else size, np.int64)
    np.add.at(totals, index, n)
    return totals


def _squares(n: np.ndarray) -> int:
    """Σ n², exactly, also where it is larger than an int64."""
    return int(n @ n) if int(n.sum()) < 2**31 else sum(k * k for k in n.tolist())


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else float("nan")
