"""From the scores of a run to its rows: everything chosen on validation, everything judged on the images of the rows.

Cut, seed height and logistic fit of each class are chosen on the validation images alone, with one search budget for
all objectives; then every judged image gives one row for each class.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from helpers import calibration, datasets, instances, metrics, partitions, postprocess, tables

DILATION = 2  # voxels by which the trivial predictor "dilated_truth" enlarges the truth


@dataclass(frozen=True)
class Reading:
    """How the scores of one class are read, as chosen on validation.

    Attributes
    ----------
    cut : float
        Foreground is above it; NaN where none could be chosen.
    logistic : helpers.calibration.Logistic
        From score to probability.
    seed_height_nm : float
        Of the seeded watershed.
    """

    cut: float
    logistic: calibration.Logistic
    seed_height_nm: float


@dataclass(frozen=True)
class Scale:
    """How an objective's scores are to be taken: its natural and its published cut, and the link of its scores."""

    natural_cut: float | None
    published_cut: float | None
    link: str


@dataclass(frozen=True, eq=False)
class Truth:
    """One image with the objects of each class.

    Attributes
    ----------
    image : helpers.datasets.Image
    objects : tuple of int32 arrays
        For each class the truth's instances. Those of a boundary class are what the boundaries part, at the pixels
        that were annotated: ``factor`` times finer in-plane than the image.
    known : tuple of bool arrays
        Where they can be compared, shaped as the objects.
    factor : tuple of int
        For each class.
    """

    image: Any
    objects: tuple[np.ndarray, ...]
    known: tuple[np.ndarray, ...]
    factor: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Ground:
    """What a run is judged against: its classes, and the truth on validation and on the judged images."""

    classes: tuple[str, ...]
    boundaries: tuple[str, ...]
    validation: tuple[Truth, ...]
    judged: tuple[Truth, ...]
    subset: str


@functools.lru_cache(maxsize=2)
def ground(dataset: str, classes: tuple[str, ...], reduce: int, split: int, test: bool) -> Ground:
    """The truth of a data set's split; arguments as :func:`helpers.datasets.load` (reduce 0: the data set's own)."""
    reduce = reduce or datasets.about(dataset)["reduce"]
    data = datasets.load(dataset, classes, reduce=reduce, split=split, test=test)
    boundaries = tuple(name for name in classes if name in data.boundaries)
    fine = {}
    if boundaries and reduce > 1 and not datasets.about(dataset)["made"]:  # what is made has no finer truth
        native = datasets.load(dataset, boundaries, reduce=1, split=split, test=test)
        fine = {image.name: image for image in (*native.validation, *native.test)}
    truths = {
        role: tuple(_truth(image, classes, boundaries, fine.get(image.name), reduce) for image in getattr(data, role))
        for role in ("validation", "test")
    }
    judged = truths["test"] if test else truths["validation"]
    return Ground(classes, boundaries, truths["validation"], judged, "test" if test else "validation")


def _truth(image, classes, boundaries, fine, reduce) -> Truth:
    objects, known, factors = [], [], []
    for index, name in enumerate(classes):
        source, position, factor = image, index, 1
        if name in boundaries and fine is not None:
            source, position, factor = fine, boundaries.index(name), reduce
        # a reduction leaves out what is over at the far edges, where a side is no multiple of it
        inside = (..., *(slice(factor * side) for side in image.masks[index].shape[-2:]))
        mask, certain = source.masks[position][inside], source.known[position][inside]
        objects.append(_objects(mask, certain, name in boundaries))
        known.append(certain)
        factors.append(factor)
    return Truth(image, tuple(objects), tuple(known), tuple(factors))


def _objects(mask: np.ndarray, known: np.ndarray, boundary: bool) -> np.ndarray:
    """Objects are connected by diagonals; what boundaries leave is not, since thin boundaries are.

    Nor is it connected through what is not known, where a boundary may run.
    """
    return instances.components(~mask & known, diagonals=False) if boundary else instances.components(mask)


def choose(truth: Ground, scale: Scale, scores: Sequence, distances: Sequence | None) -> dict[str, Reading]:
    """Cut, logistic fit and seed height of each class, on validation.

    Parameters
    ----------
    truth : Ground
    scale : Scale
    scores : sequence of float arrays, shape (C, *S)
        One for each validation image.
    distances : sequence of float arrays, same shapes, or None
        Predicted distances in nm.
    """
    readings = {}
    for index, name in enumerate(truth.classes):
        mine = [score[index] for score in scores]
        masks = [t.image.masks[index] for t in truth.validation]
        known = [t.image.known[index] for t in truth.validation]
        cut = postprocess.best_cut(mine, masks, known)
        height = float("nan")
        if not np.isnan(cut):  # NaN: nothing of this class on validation
            height = _best_height(truth, index, cut, mine, distances)
        readings[name] = Reading(cut, calibration.fit_logistic(mine, masks, known, scale.link), height)
    return readings


def _best_height(truth: Ground, index: int, cut: float, scores: Sequence, distances: Sequence | None) -> float:
    """The seed height with the best instances on validation: highest pooled F1, of boundaries the lowest VOI."""
    boundary = truth.classes[index] in truth.boundaries
    objects = [t.objects[index] for t in truth.validation]
    known = [t.known[index] for t in truth.validation]
    spacings = [t.image.spacing for t in truth.validation]
    factor = truth.validation[0].factor[index]

    def compared(labels, objects, known):
        return partitions.contingency(instances.enlarge(labels, factor), objects, known)

    if boundary:
        return instances.best_neuron_height(
            *(scores, cut, objects, known, spacings),
            lambda *maps: partitions.variation_of_information(compared(*maps)).total,
        )
    foregrounds = [score > cut for score in scores]
    mine = [None] * len(scores) if distances is None else [distance[index] for distance in distances]
    return instances.best_seed_height(
        foregrounds, mine, objects, known, spacings, lambda *maps: partitions.matching(compared(*maps))
    )


def segment(
    score: np.ndarray,
    cut: float,
    seed_height_nm: float,
    spacing: Sequence[float],
    distance: np.ndarray | None = None,
    boundary: bool = False,
) -> np.ndarray:
    """Instance map, int32 (*S), of one class's scores (*S): its objects or, of boundaries, what they part."""
    if boundary:
        return instances.neurons(score, cut, spacing, seed_height_nm)
    return instances.instances(score > cut, distance, seed_height_nm, spacing)


def rows(
    truth: Ground,
    scale: Scale,
    readings: Mapping[str, Reading],
    scores: Sequence[np.ndarray],
    distances: Sequence[np.ndarray] | None,
    **run,
) -> tuple[list[dict], list[dict]]:
    """One row for each class and judged image, and their reliability curves.

    Parameters
    ----------
    truth, scale, readings
        As in :func:`choose`, and what it gave.
    scores, distances
        Of the judged images.
    **run
        The rows' other columns, the same for all.

    Returns
    -------
    rows : list of dict
        With the keys ``tables.COLUMNS``. Images without a known voxel of a class give no row for it. Metrics at a cut
        that does not exist, and those that are undefined, are NaN, and counts then None.
    curves : list of dict
        With the keys ``tables.CURVE_COLUMNS``.
    """
    found, curves = [], []
    for (index, name), (position, t) in _pairs(truth):
        image, reading, score = t.image, readings[name], scores[position][index]
        row = run | {"class": name, "image": image.name, "subset": truth.subset}
        row |= {"cut": reading.cut, "seed_height_nm": reading.seed_height_nm}
        cuts = (scale.natural_cut, reading.cut, scale.published_cut)
        for label, cut in zip(tables.CUTS, cuts, strict=True):
            usable = cut is not None and not np.isnan(cut)
            row |= _columns(score > cut if usable else None, image.masks[index], image.known[index], label)
        labels = None
        if not (np.isnan(reading.cut) or np.isnan(reading.seed_height_nm)):
            distance = None if distances is None else distances[position][index]
            boundary = name in truth.boundaries
            labels = segment(score, reading.cut, reading.seed_height_nm, image.spacing, distance, boundary)
        row |= _instance_columns(labels, t, index)
        fitted = reading.logistic(score) if reading.logistic.defined else None
        for kind, probability in (("raw", _probability(score, scale.link)), ("fitted", fitted)):
            columns, curve = _calibration_columns(probability, image.masks[index], image.known[index], kind)
            row |= columns
            curves += [{c: (row | point)[c] for c in tables.CURVE_COLUMNS} for point in curve]
        found.append({column: row[column] for column in tables.COLUMNS})
    return found, curves


def trivial_rows(truth: Ground, **run) -> list[dict]:
    """Rows of predictors that look at no image: all background, all foreground, and the truth itself dilated.

    The dilation is by DILATION voxels, in-plane. Each prediction is judged as one mask and as its connected components,
    and as a probability of 0 or 1; the columns of the natural and of the tuned cut are the same.
    """
    found = []
    blank = dict.fromkeys(tables.COLUMNS, float("nan")) | {"options": "{}", "seed": 0}
    for (index, name), (_, t) in _pairs(truth):
        mask, known = t.image.masks[index], t.image.known[index]
        predictors = {
            "all_background": np.zeros_like(mask),
            "all_foreground": np.ones_like(mask),
            "dilated_truth": _dilated(mask),
        }
        for predictor, prediction in predictors.items():
            row = blank | run | {"objective": predictor, "class": name, "image": t.image.name, "subset": truth.subset}
            for label in ("natural", "tuned"):
                row |= _columns(prediction, mask, known, label)
            row |= _columns(None, mask, known, "published")
            alone = segment(
                prediction.astype(np.float32), 0.5, np.inf, t.image.spacing, boundary=name in truth.boundaries
            )
            row |= _instance_columns(alone, t, index)
            row |= _calibration_columns(prediction.astype(np.float32), mask, known, "raw")[0]
            found.append({column: row[column] for column in tables.COLUMNS})
    return found


def _pairs(truth: Ground) -> Iterator:
    """Every class with every judged image that knows it; both with their position."""
    for position, t in enumerate(truth.judged):
        for index, name in enumerate(truth.classes):
            if t.image.known[index].any():
                yield (index, name), (position, t)


def _columns(prediction: np.ndarray | None, mask: np.ndarray, known: np.ndarray, label: str) -> dict:
    if prediction is None:
        values = dict.fromkeys(tables.METRICS, float("nan")) | dict.fromkeys(tables.COUNTS)
    else:
        counted = metrics.counts(prediction, mask, known)
        values = {name: getattr(counted, name) for name in (*tables.METRICS, *tables.COUNTS)}
    return {f"{name}_{label}": value for name, value in values.items()}


def _instance_columns(labels: np.ndarray | None, truth: Truth, index: int) -> dict:
    if labels is None or not truth.known[index].any():
        return dict.fromkeys(tables.INSTANCES, float("nan"))
    contingency = partitions.contingency(
        instances.enlarge(labels, truth.factor[index]), truth.objects[index], truth.known[index]
    )
    matched = partitions.matching(contingency)
    information = partitions.variation_of_information(contingency)
    pairs = [partitions.adapted_rand(contingency, rule) for rule in ("skimage", "snemi")]
    values = (
        *(matched.n_true, matched.n_predicted, matched.n_matched, matched.precision, matched.recall, matched.f1),
        matched.panoptic_quality,
        *(counted.f_score for counted in pairs),
        *(information.split, information.merge, information.total),
        matched.matched_iou,
        int(contingency.truth_sizes[contingency.truth_ids != 0].sum()),
        *(count for counted in pairs for count in (counted.both, counted.predicted, counted.true)),
    )
    return dict(zip(tables.INSTANCES, values, strict=True))


def _probability(score: np.ndarray, link: str) -> np.ndarray | None:
    """The score read as a probability without any fit; None where it is no such thing."""
    if link != "logit":
        return None
    within = (score >= -calibration.ROUNDING) & (score <= 1 + calibration.ROUNDING)
    return score.clip(0, 1) if within.all() else score  # a mean of votes is out of it by rounding; more is an error


def _calibration_columns(probability, mask, known, kind: str) -> tuple[dict, list[dict]]:
    names = [f"{name}_{kind}" for name in tables.CALIBRATION]
    if probability is None:
        return dict.fromkeys(names, float("nan")), []
    found = calibration.reliability(probability, mask, known)
    values = {name: getattr(found, short) for name, short in zip(names, tables.CALIBRATION, strict=True)}
    curve = [
        {"kind": kind, "bin": number, "count": count, "probability": p, "positive": positive}
        for number, (p, positive, count) in enumerate(zip(*found.curve(), strict=True))
        if count
    ]
    return values, curve


def _dilated(mask: np.ndarray) -> np.ndarray:
    """All within DILATION voxels in-plane."""
    from scipy import ndimage

    y, x = np.mgrid[-DILATION : DILATION + 1, -DILATION : DILATION + 1]
    disc = (y**2 + x**2 <= DILATION**2).reshape((1,) * (mask.ndim - 2) + y.shape)
    return ndimage.binary_dilation(mask, disc)
