"""The published comparison of classic losses on the VNC stack: its table, and its way to score, repeated as found.

What it scored, read in its public scripts [1]_: the adapted Rand F of a class mask's connected components (for
membranes, those of what the mask leaves), by SNEMI's rule, image by image in native pixels. Components are connected by
diagonals, and nothing parts them further. The script cuts at 0.5, but the images it reads are 8-bit, 0 to 255: a pixel
is foreground wherever the probability that was written is not black.

References
----------
.. [1] https://github.com/MarvinLavechin/daem, tools/evaluate.py and publication/classic_loss_function/aggregate.py;
   the images are written by translate.py of https://github.com/tbullmann/imagetranslation-tensorflow
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helpers import datasets, instances, judging, partitions
from helpers.index import Run

CUTS = ("script", "natural", "tuned")
PREDICTORS = ("perfect mask", "all foreground", "all background")
METRICS = ("RAND", "precision", "recall", "F_score", "adapted_RAND_error")
# The columns of the published summary_long.csv, and what tells our runs and cuts apart.
LONG = ("classic_loss", "label", "run", "sample", "split", "seed", "image", "cut", *METRICS)


def read_table():
    """The published means and standard deviations, one row for each loss and class, as a pandas DataFrame.

    Columns loss (their name), objective (ours), class, mean, sd (NaN where none was published), n (3 trainings of one
    split x 4 images) and source.
    """
    import pandas as pd

    return pd.read_csv(Path(__file__).with_name("published_vnc.csv"))


def as_written(score: np.ndarray, link: str) -> np.ndarray:
    """A score as the published study wrote it to a picture: uint8, 255 times the probability and a half, rounded down.

    Parameters
    ----------
    score : float array
    link : str
        ``"logit"``: the score is a probability. ``"atanh"``: it is in [-1, 1], and (score + 1) / 2 is written.

    Raises
    ------
    ValueError
        Another link: such a score cannot be written as a picture.
    """
    if link not in ("logit", "atanh"):
        raise ValueError(f"link is {link!r}; expected logit or atanh: other scores are no grey value")
    grey = score if link == "logit" else (score + 1) / 2
    return (grey * 255.5).clip(0, 255).astype(np.uint8)


def objects(mask: np.ndarray, boundary: bool) -> np.ndarray:
    """Components of a mask, or of what a boundary leaves, connected by diagonals; int32, 0 elsewhere."""
    return instances.components(~mask if boundary else mask)


def score(mask: np.ndarray, truth: np.ndarray, boundary: bool, known: np.ndarray) -> dict[str, float]:
    """METRICS of a mask against the truth's objects.

    Parameters
    ----------
    mask : (Y, X) bool
        The size of the truth, or smaller by a whole factor: then each pixel is repeated.
    truth : (Y, X) int32
        Of :func:`objects`.
    boundary : bool
        Whether the class is one of boundaries.
    known : (Y, X) bool
        As the truth.

    Returns
    -------
    dict
        Precision falls with merges, recall with splits, as :class:`helpers.partitions.AdaptedRand` has them. All are
        NaN where the truth has no object.
    """
    found = instances.enlarge(objects(mask, boundary), truth.shape[0] // mask.shape[0])
    table = partitions.contingency(found, truth, known)
    rand = partitions.adapted_rand(table, "snemi")
    if not rand.true:
        return dict.fromkeys(METRICS, math.nan)
    agreed = 1 - (rand.true + rand.predicted - 2 * rand.both) / table.n_voxels**2
    values = (agreed, rand.precision, rand.recall, rand.f_score, rand.error)
    return dict(zip(METRICS, values, strict=True))


@dataclass(frozen=True, eq=False)
class Truth:
    """One judged image in native pixels, with a perfect mask at the runs' pixels.

    objects, known : (C, Y, X) int32 and bool, native.
    masks : (C, Y', X') bool, as the runs are trained on them.
    """

    image: str
    objects: np.ndarray
    known: np.ndarray
    masks: np.ndarray


def truths(dataset: str, classes: tuple[str, ...], reduce: int, split: int, test: bool) -> tuple[Truth, ...]:
    """The judged images of a split; arguments as :func:`helpers.judging.ground`."""
    said = datasets.about(dataset)
    coarse = [t.image for t in judging.ground(dataset, classes, reduce, split, test).judged]
    fine = coarse
    if not said["made"]:  # what is made has no finer truth
        native = datasets.load(dataset, classes, reduce=1, split=split, test=test)
        fine = native.test if test else native.validation
    return tuple(
        Truth(
            image.name,
            np.stack([objects(m, c in said["boundaries"]) for c, m in zip(classes, image.masks, strict=True)]),
            image.known,
            small.masks,
        )
        for image, small in zip(fine, coarse, strict=True)
    )


def rows(run: Run, number: int, members: Iterable[Truth]) -> list[dict[str, Any]]:
    """One row with the keys LONG for each judged image, class and cut that a run has.

    Parameters
    ----------
    run : helpers.index.Run
        With scores.npz and decoding.json in its folder.
    number : int
        Of the run, as the published table numbers them.
    members : sequence of Truth
        Of its split.
    """
    subset = "test" if run.parameters["test"] else "validation"
    scale, chosen = run.facts["scale"], json.loads((run.folder / "decoding.json").read_text())
    boundaries, found = datasets.about(run.parameters["dataset"])["boundaries"], []
    with np.load(run.folder / "scores.npz") as stored:
        scores = {t.image: stored[f"{subset}/{t.image}"] for t in members}
    for sample, t in enumerate(members):
        for c, name in enumerate(run.classes):
            known = t.known[c]
            if not known.any():
                continue
            masks = _masks(scores[t.image][c], scale, chosen[name]["cut"])
            for cut, mask in masks.items():
                row = {"classic_loss": run.objective, "label": name, "run": number, "sample": sample, "cut": cut}
                row |= {"split": run.parameters["split"], "seed": run.seed, "image": t.image}
                row |= score(mask, t.objects[c], name in boundaries, known)
                found.append({column: row[column] for column in LONG})
    return found


def _masks(values: np.ndarray, scale: Mapping[str, Any], tuned: float) -> dict[str, np.ndarray]:
    """The mask at each of CUTS that the score has."""
    found = {}
    if scale["link"] in ("logit", "atanh"):
        found["script"] = as_written(values, scale["link"]) > 0.5
    if scale["natural_cut"] is not None:
        found["natural"] = values > scale["natural_cut"]
    if not np.isnan(tuned):
        found["tuned"] = values > tuned
    return found


def bounds(dataset: str, classes: tuple[str, ...], members: Iterable[Truth]) -> list[dict[str, Any]]:
    """METRICS of a perfect mask at the runs' pixels, and of masks that look at no image.

    Returns
    -------
    list of dict
        For each image and class one row for each of PREDICTORS, with the keys ``predictor``, ``label`` and ``image``.
    """
    boundaries, found = datasets.about(dataset)["boundaries"], []
    for t in members:
        for c, name in enumerate(classes):
            if not t.known[c].any():
                continue
            masks = (t.masks[c], np.ones_like(t.masks[c]), np.zeros_like(t.masks[c]))
            for predictor, mask in zip(PREDICTORS, masks, strict=True):
                row = {"predictor": predictor, "label": name, "image": t.image}
                found.append(row | score(mask, t.objects[c], name in boundaries, t.known[c]))
    return found


def wide(long):
    """Rows as LONG in the form of the published summary_wide.csv: a row for each loss, run, sample and cut."""
    index = ["classic_loss", "run", "sample", "cut"]
    table = long.pivot_table(index=index, columns="label", values=list(METRICS), sort=False, dropna=False)
    table.columns = [f"{label}_{metric}" for metric, label in table.columns]
    order = [f"{label}_{metric}" for label in dict.fromkeys(long["label"]) for metric in METRICS]
    return table.dropna(how="all")[order].reset_index()
