"""Crops of the judged images as the book's error browser reads them: truth, scores and errors as small pictures.

The script ``error_browser.js`` in ``book/_static`` draws them.
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from helpers.figures.pictures import Crop

FORMAT = 1
# Grey of a voxel in an outcome's picture; the script gives them colours.
OUTCOMES = {"true negative": 0, "true positive": 1, "false positive": 2, "false negative": 3, "unknown": 4}
LEVELS = 64  # greys of a score: enough for the eye, and half the bytes of 256


def crop_data(
    crop: Crop,
    raw: np.ndarray,
    truth: np.ndarray,
    known: np.ndarray,
    results: Mapping[str, tuple[np.ndarray, float]],
    spacing_nm: float | None,
) -> dict[str, Any]:
    """One crop with what each objective makes of it, in JSON's types.

    Parameters
    ----------
    crop : helpers.figures.Crop
        Which it is, and how much of it is wrong.
    raw : (Y, X) in [0, 1]
    truth, known : (Y, X) bool
    results : mapping
        Objective -> its score (Y, X) and the cut, NaN where none could be chosen (then nothing is foreground).
    spacing_nm : float or None
        nm per pixel, for a scale bar.

    Returns
    -------
    dict
        ``image``, ``section`` (of a volume, else None), ``corner``, ``size``, ``spacing_nm``, ``wrong`` (the mean share
        over objectives), ``raw``, ``truth`` and ``objectives``: name, ``wrong``, ``score`` and ``outcome``. Pictures
        are PNG in base64: greys of the image and of a score (from its least to its greatest value here), 0 and 1 of the
        truth, OUTCOMES of an outcome.

    Raises
    ------
    ValueError
        Shapes that differ; no known voxel; no objective.
    """
    if not results:
        raise ValueError(f"no objective's score of {crop.image}; expected at least one")
    shapes = {"raw": raw.shape, "truth": truth.shape, "known": known.shape}
    shapes |= {f"the score of {o}": score.shape for o, (score, _) in results.items()}
    if len(set(shapes.values())) > 1 or raw.ndim != 2:
        listed = ", ".join(f"{what} {shape}" for what, shape in shapes.items())
        raise ValueError(f"crop of {crop.image}: {listed}; expected one shape (Y, X)")
    if not known.any():
        raise ValueError(f"no known voxel in the crop of {crop.image}; choose one with truth")
    objectives = []
    for name, (score, cut) in results.items():
        found = score > cut
        outcome = np.select(
            [~known, found & truth, found & ~truth, ~found & truth],
            [OUTCOMES[o] for o in ("unknown", "true positive", "false positive", "false negative")],
            OUTCOMES["true negative"],
        )
        wrong = float(np.mean((found != truth)[known]))
        objectives.append({"name": name, "wrong": round(wrong, 5), "score": _grey(score), "outcome": _png(outcome)})
    *section, y, x = (s.start for s in crop.window)
    return {
        "image": crop.image,
        "section": section[0] if section else None,
        "corner": [y, x],
        "size": list(raw.shape),
        "spacing_nm": spacing_nm,
        "wrong": round(crop.share, 5),
        "raw": _png(np.rint(np.clip(raw, 0, 1) * 255)),
        "truth": _png(truth),
        "objectives": objectives,
    }


def part_data(title: str, classes: Mapping[str, Sequence[Mapping]], *, described: str) -> dict[str, Any]:
    """The crops of a part of a study: ``classes`` maps each class to its crops, of :func:`crop_data`."""
    return {
        "format": FORMAT,
        "title": title,
        "described": described,
        "classes": {k: list(v) for k, v in classes.items()},
    }


def _grey(score: np.ndarray) -> str:
    finite = np.isfinite(score)
    low, high = (float(f(score[finite])) if finite.any() else math.nan for f in (np.min, np.max))
    share = (np.nan_to_num(score, nan=low, posinf=high, neginf=low) - low) / ((high - low) or 1.0)
    return _png(np.rint(np.rint(np.nan_to_num(share) * (LEVELS - 1)) * (255 / (LEVELS - 1))))


def _png(grey: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.asarray(grey).astype(np.uint8)).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
