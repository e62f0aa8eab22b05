"""Images, score maps and errors side by side."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import matplotlib.patheffects
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from helpers.figures.style import CLASS_COLOURS, legend

FALSE_POSITIVE, FALSE_NEGATIVE, OUTLINE = "#D55E00", "#0072B2", "#E69F00"


def tiles(rows: Sequence[Sequence[Mapping]], *, height: float = 2.6) -> Figure:
    """A grid of pictures of one height.

    Parameters
    ----------
    rows : sequence of rows of tiles
        A tile is a mapping with ``image`` (Y, X) or (Y, X, 3), ``title``, and optionally ``cmap``, ``vmin``,
        ``vmax``, ``colorbar`` (its label), ``outline`` (bool array drawn as a contour), ``frame`` (a border, for
        pictures that are white) and ``bar`` (nm per pixel:
        draws a scale bar).
    """
    columns = max(map(len, rows))
    # A colour bar takes its width from the picture beside it, which is then as much lower.
    tall = height * (0.8 if any(tile.get("colorbar") for row in rows for tile in row) else 1) + 0.35
    size = (height * columns, tall * len(rows))
    figure, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for axis_row, row in zip(axes, rows, strict=True):
        for axis, tile in zip(axis_row, row, strict=False):
            shown = axis.imshow(
                tile["image"],
                cmap=tile.get("cmap", "gray"),
                vmin=tile.get("vmin"),
                vmax=tile.get("vmax"),
                interpolation="nearest",
            )
            axis.set_title(tile["title"], fontsize=9)
            if tile.get("frame"):
                axis.axis("on")
                axis.set(xticks=[], yticks=[])
            if tile.get("outline") is not None and tile["outline"].any():
                axis.contour(tile["outline"], [0.5], colors=OUTLINE, linewidths=0.8)
            if tile.get("colorbar"):
                bar = figure.colorbar(shown, ax=axis, fraction=0.046, pad=0.02)
                bar.set_label(tile["colorbar"], fontsize=8)
                bar.ax.tick_params(labelsize=7)
            if tile.get("bar"):
                _scale_bar(axis, tile["image"].shape[:2], tile["bar"])
    return figure


def overlay(raw: np.ndarray, masks: np.ndarray, classes: Sequence[str]) -> tuple[np.ndarray, dict[str, str]]:
    """Raw (Y, X) in [0, 1] with each class's mask (C, Y, X) tinted; and class -> colour for a legend."""
    picture = np.repeat(raw[..., None].clip(0, 1), 3, -1)
    used = {}
    for mask, name, tint in zip(masks, classes, itertools.cycle(CLASS_COLOURS), strict=False):
        rgb = np.array(matplotlib.colors.to_rgb(tint))
        picture[mask] = 0.55 * picture[mask] + 0.45 * rgb
        used[name] = tint
    return picture, used


def errors(prediction: np.ndarray, truth: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """Raw (Y, X) in [0, 1] with false positives in vermilion and false negatives in blue, shape (Y, X, 3)."""
    picture = np.repeat((0.35 + 0.65 * raw[..., None]).clip(0, 1), 3, -1)
    picture[prediction & ~truth] = matplotlib.colors.to_rgb(FALSE_POSITIVE)
    picture[~prediction & truth] = matplotlib.colors.to_rgb(FALSE_NEGATIVE)
    return picture


def _scale_bar(axis, shape: tuple[int, ...], nm_per_pixel: float) -> None:
    choices = np.array([50, 100, 200, 500, 1000, 2000, 5000])
    length = choices[np.abs(choices - 0.25 * shape[1] * nm_per_pixel).argmin()]
    x, y = 0.06 * shape[1], 0.94 * shape[0]
    halo = [matplotlib.patheffects.withStroke(linewidth=3, foreground="black")]
    thick = [matplotlib.patheffects.withStroke(linewidth=6, foreground="black")]
    axis.plot([x, x + length / nm_per_pixel], [y, y], color="white", lw=3, solid_capstyle="butt", path_effects=thick)
    label = f"{length / 1000:g} µm" if length >= 1000 else f"{length} nm"
    axis.text(x, y - 0.025 * shape[0], label, color="white", fontsize=8, va="bottom", path_effects=halo)


@dataclass(frozen=True)
class Crop:
    """A window of one image, and how wrong the objectives are in it.

    Attributes
    ----------
    image : str
    window : tuple of slices
        One per spatial axis.
    share : float
        Share of the window's known voxels that is wrong, averaged over the objectives.
    shares : mapping
        Objective -> its own share.
    """

    image: str
    window: tuple[slice, ...]
    share: float
    shares: Mapping[str, float]


def hardest_crops(
    predictions: Mapping[str, Mapping[str, np.ndarray]],
    truths: Mapping[str, np.ndarray],
    known: Mapping[str, np.ndarray],
    size: int,
    most: int = 1,
) -> list[Crop]:
    """The windows in which the objectives are wrong most, on average, one of each image: a choice that favours none.

    Of all windows of that size in an image, at least half of which is known, the one with the highest share of wrong
    known voxels, averaged over the objectives with equal weight; the first of several. In a volume, a window is square
    in one section.

    Parameters
    ----------
    predictions : mapping
        Objective -> image name -> bool array (*S): one class of one run, cut.
    truths, known : mapping
        Image name -> bool array (*S).
    size : int
        Side in voxels of the last two axes; smaller where an image is.
    most : int
        How many images, those with the hardest windows.

    Returns
    -------
    list of Crop
        The hardest first.

    Raises
    ------
    ValueError
        No objective; a size under 1; an objective that lacks an image; shapes that differ; no window half known.
    """
    if not predictions:
        raise ValueError("no objective's prediction to choose a crop by; expected at least one")
    if size < 1:
        raise ValueError(f"size is {size}; expected a side of at least 1 voxel")
    found = []
    for name, truth in truths.items():
        for objective, own in predictions.items():
            if name not in own:
                raise ValueError(f"{objective} has no prediction of {name}; leave out the image or the objective")
            if own[name].shape != truth.shape:
                shapes = f"{own[name].shape} of {objective} and {truth.shape} of the truth"
                raise ValueError(f"{name} has the shapes {shapes}; expected the same")
        sides = (1,) * (truth.ndim - 2) + tuple(min(size, n) for n in truth.shape[-2:])
        count = _window_sums(known[name], sides)
        wrong = {o: _window_sums((own[name] != truth) & known[name], sides) for o, own in predictions.items()}
        usable = 2 * count >= np.prod(sides)
        mean = np.where(usable, sum(wrong.values()) / (len(wrong) * np.maximum(count, 1)), -1)
        at = np.unravel_index(mean.argmax(), mean.shape)
        if usable[at]:
            window = tuple(slice(int(a), int(a) + n) for a, n in zip(at, sides, strict=True))
            found.append(Crop(name, window, float(mean[at]), {o: float(w[at] / count[at]) for o, w in wrong.items()}))
    if not found:
        raise ValueError(
            f"no window of {size} voxels is half known in {', '.join(truths) or 'no image'}; try a smaller"
        )
    return sorted(found, key=lambda crop: -crop.share)[:most]


def panels(
    raw: np.ndarray,
    truth: np.ndarray,
    results: Mapping[str, tuple[np.ndarray, float]],
    *,
    title: str,
    bar: float,
    known: np.ndarray | None = None,
    columns: int = 6,
    height: float = 2.4,
) -> Figure:
    """Image and truth, then for each objective its score above its errors, all of one crop.

    Parameters
    ----------
    raw : (Y, X) in [0, 1]
    truth : (Y, X) bool
    results : mapping
        Objective -> its score (Y, X) and the cut, NaN where none could be chosen (then nothing is foreground). Every
        score has its own grey scale, from its least to its greatest value here; the cut is drawn as a line.
    title : str
        What the image is.
    bar : float
        nm per pixel.
    known : (Y, X) bool, optional
        Where the truth is known (all, if None); no error is drawn or counted elsewhere.
    """
    known = np.ones_like(truth) if known is None else known
    both = [
        (
            {"image": raw, "title": title, "vmin": 0, "vmax": 1, "bar": bar},
            {"image": raw, "title": "truth outlined", "vmin": 0, "vmax": 1, "outline": truth},
        )
    ]
    for objective, (score, cut) in results.items():
        found = score > cut
        wrong = f"{objective}: {np.mean((found != truth)[known]):.1%} wrong"
        both.append(
            (
                {"image": score, "title": f"{objective}: score", "outline": found, "frame": True},
                {"image": errors(found & known, truth & known, raw), "title": wrong, "frame": True},
            )
        )
    rows = []
    columns = -(-len(both) // -(-len(both) // columns))  # as many a row as leaves the fewest gaps
    for start in range(0, len(both), columns):
        rows += [list(row) for row in zip(*both[start : start + columns], strict=True)]
    figure = tiles(rows, height=height)
    tints = {"false positive": FALSE_POSITIVE, "false negative": FALSE_NEGATIVE, "outline: truth, or the cut": OUTLINE}
    legend(figure, tints)
    return figure


def _window_sums(array: np.ndarray, sides: Sequence[int]) -> np.ndarray:
    """Sum over every window of those sides, at the window's first corner."""
    total = array.astype(np.int64)
    for axis, side in enumerate(sides):
        total = np.insert(np.cumsum(total, axis), 0, 0, axis)
        n = total.shape[axis]
        total = np.take(total, range(side, n), axis) - np.take(total, range(n - side), axis)
    return total
