"""Surfaces, logit curves and confidence through training as static figures.

Not imported with the other figures: surfaces need torch, and the figures of a study's tables do not.
"""

from collections.abc import Mapping, Sequence

import matplotlib.colors
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from helpers.figures.pictures import tiles
from helpers.figures.style import DASHES, LINES, STYLES, bare, colour
from helpers.pixel_view import Curve, Moment
from helpers.surfaces import Surfaces

_PATH, _BEST = LINES[1], LINES[3]
_TITLES = {"random": "random directions", "pca": "the path's principal directions"}


def contours(surfaces: Surfaces, plane: str, quantities: Sequence[str], *, side: float = 2.1) -> Figure:
    """A panel for each quantity (row) and moment (column): values in colour, the path, its moment, the best point.

    Each row has one scale, logarithmic where it spans a factor of 30. Points that are not finite are hatched.
    """
    surface = surfaces.planes[plane]
    rows, columns = len(quantities), len(surfaces.steps)
    figure, axes = plt.subplots(
        rows, columns, figsize=(side * columns + 1.2, side * rows + 0.5), squeeze=False, layout="constrained"
    )
    for row, (axis_row, quantity) in enumerate(zip(axes, quantities, strict=True)):
        q = surfaces.quantities.index(quantity)
        values = surface.values[:, q]
        norm, shown = _norm(values), None
        for m, axis in enumerate(axis_row):
            shown = _panel(axis, surface, m, values[m], norm, surfaces.better[quantity]) or shown
            if m == 0:
                axis.set_ylabel(quantity, fontsize=9)
            if row == 0:
                axis.set_title(f"step {surfaces.steps[m]}", fontsize=9)
        if shown is not None:
            bar = figure.colorbar(shown, ax=axis_row.tolist(), fraction=0.05, pad=0.01)
            bar.ax.tick_params(labelsize=7)
    shares = surface.explained[-1]
    figure.supxlabel(
        f"{_TITLES[plane]}: {shares[0]:.2g} and {shares[1]:.2g} of the path's variance lie along them", fontsize=9
    )
    return figure


def _norm(values: np.ndarray):
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    low, high = float(finite.min()), float(finite.max())
    logarithmic = low > 0 and high > 30 * low
    return (matplotlib.colors.LogNorm if logarithmic else matplotlib.colors.Normalize)(low, high)


def _panel(axis, surface, m: int, values: np.ndarray, norm, better: str):
    x, y = surface.x[m], surface.y[m]
    axis.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    axis.tick_params(labelsize=7)
    axis.patch.set(hatch="xx", edgecolor="0.7")
    finite = np.isfinite(values)
    shown = None
    if finite.any():
        shown = axis.pcolormesh(
            x, y, np.ma.masked_invalid(values), norm=norm, cmap="viridis", shading="nearest", rasterized=True
        )
        if finite.all() and np.ptp(values) > 0:
            axis.contour(x, y, values, 8, colors="white", linewidths=0.4, alpha=0.6, norm=norm)
        best = np.nanargmin(values) if better == "lower" else np.nanargmax(values)
        row, column = np.unravel_index(best, values.shape)
        axis.plot(x[column], y[row], "D", ms=5, color=_BEST, mec="white", mew=0.8, zorder=4)
    axis.plot(*surface.path[m].T, "o-", ms=2.5, lw=1.2, color=_PATH, zorder=3)
    i, j = surface.centre[m]
    if i >= 0:
        axis.plot(x[i], y[j], "o", ms=6, color=_PATH, mec="white", mew=0.8, zorder=5)
    return shown


def logit_curves(curves: Mapping[str, tuple[Curve, Curve]], *, height: float = 4.6) -> Figure:
    """Loss (above) and gradient (below) against the logit, of a true pixel (left) and of a false one (right)."""
    figure, axes = plt.subplots(2, 2, figsize=(8, height + 0.16 * len(curves)), sharex=True, sharey="row")
    figure.set_layout_engine("constrained")
    for (label, pair), (tint, dashes) in zip(curves.items(), _looks(list(curves)), strict=True):
        style = {"color": tint, "ls": dashes, "lw": 1.4}
        for column, curve in enumerate(pair):
            name = label + (" (in its surrounding)" if curve.others else "")
            axes[0, column].plot(curve.logits, curve.loss, **style, label=name)
            axes[1, column].plot(curve.logits, curve.gradient, **style)
    for column, title in enumerate(("a true pixel", "a false pixel")):
        axes[0, column].set_title(title, fontsize=10)
        axes[1, column].set_xlabel("logit")
    axes[0, 0].set_ylabel("loss above its least")
    axes[1, 0].set_ylabel("gradient by the logit")
    for axis in axes.flat:
        axis.axhline(0, color="0.6", lw=0.8, zorder=0)
        axis.axvline(0, color="0.85", lw=0.8, zorder=0)
        bare(axis)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def _looks(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Colour and dashes of each label: an objective's name, and options where they matter.

    Different objectives have their own colours, and dashes tell apart those that share one. Where losses share their
    options, an option has a colour and a loss its dashes. Else the labels are one loss with many options.
    """
    names, options = zip(*(label.partition(" ")[::2] for label in labels), strict=True)
    if len(set(names)) == len(names) and set(names) <= set(STYLES):
        tints = [colour(name) for name in names]
        return [(tint, DASHES[tints[:k].count(tint) % len(DASHES)]) for k, tint in enumerate(tints)]
    if any(options) and len(set(options)) < len(options) and len(set(names)) > 1:
        told, lines = list(dict.fromkeys(options)), list(dict.fromkeys(names))
        pairs = [(told.index(option), lines.index(name)) for name, option in zip(names, options, strict=True)]
    else:
        pairs = [(k, k // len(LINES)) for k in range(len(labels))]
    return [(LINES[k % len(LINES)], DASHES[line % len(DASHES)]) for k, line in pairs]


def through_training(tables: Mapping[str, object], measures: Sequence[str]) -> Figure:
    """A panel for each measure against the step, a line for each table (a run, by its label) and class.

    Parameters
    ----------
    tables : mapping
        Label -> DataFrame of :func:`helpers.surfaces.through_training`.
    """
    columns = min(4, len(measures))
    rows = -(-len(measures) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.6 * columns, 2.3 * rows + 0.4), squeeze=False)
    figure.set_layout_engine("constrained")
    for axis, measure in zip(axes.flat, measures, strict=False):
        for (label, table), tint in zip(tables.items(), _tints(list(tables)), strict=True):
            for k, (name, one) in enumerate(table.groupby("class", sort=False)):
                line = {
                    "ls": DASHES[k % len(DASHES)],
                    "lw": 1.2,
                    "color": tint,
                    "clip_on": False,
                }  # dots at 0 are whole
                axis.plot(one["step"], one[measure], "o", ms=3, label=f"{label}: {name}", **line)
        axis.set_xscale("log")
        axis.set_title(measure.replace("_", " "), fontsize=9)
        axis.set(ylim=(0, None))
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=7)
        bare(axis)
    for axis in axes.flat[len(measures) :]:
        axis.axis("off")
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=8
    )
    return figure


def _tints(labels: Sequence[str]) -> list[str]:
    """A colour for each label: its objective's, where those differ. (Dashes are the classes'.)"""
    names = [label.partition(" ")[0] for label in labels]
    own = [colour(name) for name in names if name in STYLES]
    return own if len(set(own)) == len(labels) else [LINES[k % len(LINES)] for k in range(len(labels))]


def curvature(surfaces: Surfaces) -> Figure:
    """Largest and smallest eigenvalues of the Hessian, and the gradient's length, against the step."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
    for k, values in enumerate(surfaces.eigenvalues.T):
        label = "largest" if k == 0 else f"largest, {k + 1}."
        left.plot(surfaces.steps, values, "o-", ms=4, color=LINES[0], alpha=1 / (k + 1), label=label)
    left.plot(surfaces.steps, surfaces.smallest, "s--", ms=4, color=LINES[1], label="smallest")
    left.axhline(0, color="0.6", lw=0.8, zorder=0)
    left.set_yscale("symlog", linthresh=0.1)
    left.set(ylabel="eigenvalue of the Hessian")
    left.legend(frameon=False, fontsize=8)
    right.plot(surfaces.steps, surfaces.gradient_norm, "o-", ms=4, color=LINES[2])
    right.set(ylabel="length of the gradient", ylim=(0, None))
    for axis in (left, right):
        axis.set(xscale="log", xlabel="step")
        bare(axis)
    return figure


def maps(
    image,
    mask: np.ndarray,
    moments: Sequence[Moment],
    objective: str,
    *,
    bar: float | None = None,
    height: float = 2.1,
) -> Figure:
    """The image, then confidence (above) and the loss's share (below) of every pixel at each step.

    Loss maps have one scale, its 99th percentile over all steps at the top. What is not known is blank. ``bar`` is the
    side of a pixel in nm, for a scale bar.
    """
    above = [{"image": image.raw[0], "title": image.name, "outline": mask, "bar": bar}]
    below = [{"image": mask, "title": "truth", "frame": True}]
    losses = [m.loss[np.isfinite(m.loss)] for m in moments if m.loss is not None]
    top = max((float(np.percentile(values, 99)) for values in losses if values.size), default=1.0)
    for k, moment in enumerate(moments):
        last = k == len(moments) - 1
        scale = {"colorbar": "probability of the true class"} if last else {}
        title = {"title": f"step {moment.step}: confidence"}
        above.append({"image": moment.confidence, "cmap": "cividis", "vmin": 0, "vmax": 1} | title | scale)
        if moment.loss is not None:
            scale = {"colorbar": objective} if last else {}
            title = {"title": f"step {moment.step}: loss"}
            below.append({"image": moment.loss, "cmap": "magma", "vmin": 0, "vmax": top} | title | scale)
    return tiles([above, below], height=height)
