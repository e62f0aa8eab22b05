"""Confidence through training: how right, and how sure, a run was at every checkpoint, and what looks at no image."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from helpers import inference
from helpers.calibration import Reliability, reliability
from helpers.metrics import Counts, counts
from helpers.surfaces.batches import SUBSETS, as_probability
from helpers.surfaces.runs import load_run
from helpers.tables import options_text

_COLUMNS = ("study", "dataset", "objective", "options", "class", "split", "subset", "seed", "step", "images")
CONFIDENCES = ("ece", "mce", "brier", "confidence_foreground", "confidence_background")


def through_training(run_folder: str | Path, *, subset: str = "validation", steps: Sequence[int] = ()):
    """One row for each checkpoint and class of a run, pooled over the images of a subset.

    Parameters
    ----------
    run_folder : path
        As for :func:`helpers.surfaces.load_run`.
    subset : str
        One of "train" and "validation".
    steps : sequence of int
        Of the checkpoints; empty for all.

    Returns
    -------
    pandas.DataFrame with the run's study, dataset, objective, options, class, split, subset and seed, and

    - step, images (how many have a known voxel of the class), finite (are the weights?);
    - accuracy, iou, dice, area_ratio at the natural cut;
    - ece, mce, brier, confidence_foreground and confidence_background (the mean probability given to the true class)
      of the raw score, where that is a probability or lies in [-1, 1] (then (score + 1) / 2).

    What is undefined is NaN: everything of a diverged step; metrics at the cut of a score that has no natural one;
    probabilities of one without bound.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`helpers.surfaces.load_run`; an unknown subset or step.
    """
    import pandas as pd

    if subset not in SUBSETS:  # before anything is read
        raise ValueError(_unknown(subset))
    run = load_run(run_folder)
    images = getattr(run.data, subset)
    said = {
        "study": run.parameters.get("study", ""),
        "dataset": run.dataset,
        "objective": run.objective.name,
        "options": options_text(run.objective.options),
        "split": run.split,
        "subset": subset,
        "seed": run.parameters.get("seed", -1),
    }
    rows = []
    for step in steps or run.steps:
        network = run.at(step)
        finite = run.finite(step)
        scores = inference.scores(network, run.objective.decode, images) if finite else None
        finite = finite and all(np.isfinite(score).all() for score in scores)
        for index, name in enumerate(run.classes):
            judged, labels = _judged(images, index)
            row = said | {"class": name, "step": step, "images": len(judged), "finite": finite}
            found = [scores[i][index] for i in judged] if finite else None
            probabilities = _probabilities(found, run.objective)
            rows.append(
                row | _at_the_cut(found, labels, run.objective.natural_cut) | _calibration(probabilities, labels)
            )
    return pd.DataFrame(rows)[[*_COLUMNS, *(c for c in rows[0] if c not in _COLUMNS)]]


def blind(data, *, subset: str = "validation"):
    """The same numbers for answers that look at no image: what a network's are worth is what they have above these.

    Parameters
    ----------
    data : helpers.datasets.Dataset
        Such as a run's.
    subset : str
        As for :func:`through_training`.

    Returns
    -------
    pandas.DataFrame with the columns class, objective, images, ``known`` (voxels), ``share`` (of foreground among
    them) and the metrics of :func:`through_training`, and three rows for each class: ``all_background`` and
    ``all_foreground`` (a probability of 0 or 1 everywhere), and ``base_rate`` (the share itself everywhere, which is
    calibrated and knows nothing of the image). Without a known voxel all but images is NaN.

    Raises
    ------
    ValueError
        An unknown subset.
    """
    import pandas as pd

    if subset not in SUBSETS:
        raise ValueError(_unknown(subset))
    images, rows = getattr(data, subset), []
    for index, name in enumerate(data.classes):
        judged, labels = _judged(images, index)
        known = sum(int(where.sum()) for _, where in labels)
        share = sum(int((mask & where).sum()) for mask, where in labels) / known if known else math.nan
        for objective, p in {"all_background": 0.0, "all_foreground": 1.0, "base_rate": share}.items():
            found = [np.full(mask.shape, p) for mask, _ in labels]
            row = {"class": name, "objective": objective, "images": len(judged), "known": known, "share": share}
            rows.append(row | _at_the_cut(found, labels, 0.5) | _calibration(found, labels))
    return pd.DataFrame(rows)


def _unknown(subset: str) -> str:
    return f"subset is {subset!r}; expected one of {', '.join(SUBSETS)} (the test block stays closed)"


def _judged(images, index: int) -> tuple[list[int], list[tuple[np.ndarray, np.ndarray]]]:
    """Positions of the images in which something of a class is known, and their masks and known voxels."""
    judged = [i for i, image in enumerate(images) if image.known[index].any()]
    return judged, [(images[i].masks[index], images[i].known[index]) for i in judged]


def _at_the_cut(scores, labels, cut: float | None) -> dict[str, float]:
    names = ("accuracy", "iou", "dice", "area_ratio")
    if scores is None or cut is None or not labels:
        return dict.fromkeys(names, math.nan)
    parts = (counts(score > cut, *pair) for score, pair in zip(scores, labels, strict=True))
    total = sum(parts, Counts(0, 0, 0, 0))
    return {name: getattr(total, name) for name in names}


def _probabilities(scores, objective) -> list[np.ndarray] | None:
    """Of each image; None where the scores are no probabilities, or there are none."""
    found = [as_probability(torch.from_numpy(score), objective) for score in scores or []]
    if not found or found[0] is None:
        return None
    return [p.numpy().clip(0, 1) for p in found]  # a mean of votes is out of [0, 1] by rounding


def _calibration(probabilities, labels) -> dict[str, float]:
    """Over all known voxels of the images at once."""
    if not probabilities:
        return dict.fromkeys(CONFIDENCES, math.nan)
    parts = (reliability(p, *pair) for p, pair in zip(probabilities, labels, strict=True))
    found = sum(parts, Reliability.nothing())
    return {name: getattr(found, name) for name in CONFIDENCES}
