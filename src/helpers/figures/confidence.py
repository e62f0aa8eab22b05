"""A study's confidence through training: curves, levels at the end, and maps of several losses side by side."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from helpers.figures.pictures import OUTLINE, tiles
from helpers.figures.style import bare
from helpers.statistics import METRICS, THROUGH

_LOG = {"accuracy": "1 − accuracy", "ece": "ECE"}  # drawn on a logarithmic axis, accuracy as what it lacks of 1
_NAMES = {
    "iou": "IoU, natural cut",
    "confidence_foreground": "confidence,\nforeground",
    "confidence_background": "confidence,\nbackground",
}
_REFERENCE = "#000000"
_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)), "-.")


def families(losses: Mapping[str, str], reference: str) -> dict[str, list[str]]:
    """Objectives in panels: those whose losses' names begin alike, ``focal`` and ``focal_detached`` say.

    Parameters
    ----------
    losses : mapping
        Objective -> the registry's name of its loss.

    Returns
    -------
    dict, from the shared beginning to the objectives; the reference is in all panels, and so in none of these lists.
    """
    found: dict[str, list[str]] = {}
    for objective, loss in losses.items():
        if objective != reference:
            found.setdefault(loss.partition("_")[0], []).append(objective)
    return found or {reference: []}


def through_training(
    table, levels, groups: Mapping[str, Sequence[str]], reference: str, empty: Mapping[str, float]
) -> Figure:
    """A column for each family, a row for each measure: runs are thin lines, means thick ones with their intervals.

    Parameters
    ----------
    table : DataFrame
        One class of :func:`helpers.surfaces.tabulate`.
    levels : DataFrame
        Of :func:`helpers.statistics.over_seeds`, of the same class.
    groups : mapping
        Of :func:`families`.
    reference : str
        Drawn in black in all columns.
    empty : mapping
        Measure -> value of the answer that calls everything background; grey.
    """
    looks = _looks(table, groups, reference)
    figure, axes = plt.subplots(
        len(THROUGH), len(groups), figsize=(2.9 * len(groups) + 0.6, 1.75 * len(THROUGH) + 0.9), squeeze=False,
        sharex=True, sharey="row", layout="constrained",
    )  # fmt: skip
    for column, (family, members) in enumerate(groups.items()):
        for measure, axis in zip(THROUGH, axes[:, column], strict=True):
            for objective in (reference, *members):
                own = levels[(levels["objective"] == objective) & (levels["measure"] == measure)]
                if own.empty:
                    continue
                tint, dashes = looks[objective]
                for _, run in table[table["objective"] == objective].groupby(["split", "seed"]):
                    axis.plot(run["step"], _drawn(run[measure], measure), color=tint, lw=0.5, alpha=0.3, zorder=1)
                label = objective if measure == THROUGH[0] else None
                axis.plot(own["step"], _drawn(own["mean"], measure), color=tint, ls=dashes, lw=1.5, label=label)
                ends = [_drawn(own[end], measure) for end in ("low", "high")]
                axis.fill_between(own["step"], *ends, color=tint, alpha=0.18, lw=0, zorder=0)
            if measure in empty and np.isfinite(empty[measure]):
                line = _drawn(np.array([empty[measure]]), measure)[0]
                label = "an empty mask" if measure == THROUGH[0] else None
                axis.axhline(line, color="0.5", ls="--", lw=1, zorder=0, label=label)
            axis.set(xscale="log", yscale="log" if measure in _LOG else "linear")
            if measure not in _LOG:
                axis.set_ylim(-0.02, 1.02)
            axis.tick_params(labelsize=8)
            bare(axis)
        axes[0, column].set_title(family, fontsize=10)
        axes[-1, column].set_xlabel("step", fontsize=9)
        axes[-1, column].legend(
            *axes[0, column].get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, -0.42), fontsize=8,
            frameon=False, ncols=2 if len(members) > 3 else 1,
        )  # fmt: skip
    for measure, axis in zip(THROUGH, axes[:, 0], strict=True):
        axis.set_ylabel(_LOG.get(measure, _NAMES.get(measure)), fontsize=9)
        if measure in _LOG:
            _decades(axis)
    return figure


def at_the_end(end, levels, order: Sequence[str], empty: Mapping[str, float]) -> Figure:
    """A panel for each measure and a row for each objective: every run a dot, the mean a bar with its interval.

    Parameters
    ----------
    end : DataFrame
        One class of :func:`helpers.statistics.at_the_end`.
    levels : DataFrame
        Of :func:`helpers.statistics.over_seeds`, by objective and class.
    order : sequence of str
        Objectives, the reference first; its mean is a line through all rows.
    empty : mapping
        Measure -> value of the answer that calls everything background; grey.
    """
    figure, axes = plt.subplots(
        1, len(THROUGH), figsize=(2.1 * len(THROUGH) + 1, 0.3 * len(order) + 1.3), sharey=True, layout="constrained"
    )
    for measure, axis in zip(THROUGH, axes, strict=True):
        for y, objective in enumerate(order):
            values = end.loc[end["objective"] == objective, measure].dropna()
            own = levels[(levels["objective"] == objective) & (levels["measure"] == measure)]
            if values.empty or own.empty:
                axis.text(0.5, y, "none", transform=axis.get_yaxis_transform(), ha="center", va="center", fontsize=8)
                continue
            row = own.iloc[0]
            axis.plot(values, y + np.linspace(-0.2, 0.2, len(values)), "o", ms=3, color="#56B4E9", mec="none")
            axis.vlines(row["mean"], y - 0.32, y + 0.32, color="black", lw=1.6)
            axis.hlines(y, row["low"], row["high"], color="black", lw=1.2)
            if y == 0:
                axis.axvline(row["mean"], color="0.8", lw=1, zorder=0)
        if measure in empty and np.isfinite(empty[measure]):
            axis.axvline(empty[measure], color="0.5", ls="--", lw=1, zorder=0)
        axis.set_xlabel(METRICS[measure][0].replace("confidence on", "confidence,\n"), fontsize=9)
        axis.tick_params(labelsize=8)
        axis.locator_params(axis="x", nbins=4)
        bare(axis)
    axes[0].set_yticks(range(len(order)), order, fontsize=9)
    axes[0].set_ylim(len(order) - 0.4, -0.6)
    return figure


def maps_side_by_side(
    image: np.ndarray,
    mask: np.ndarray,
    moments: Mapping[str, Sequence],
    what: str,
    *,
    bar: float | None = None,
    height: float = 1.35,
) -> Figure:
    """A row for each objective, a column for each moment: what each pixel is told, with the truth outlined.

    Parameters
    ----------
    image : (Y, X) in [0, 1]
    mask : (Y, X) bool
    moments : mapping
        Objective -> its :class:`helpers.pixel_view.Moment` at each step, cut to the image.
    what : str
        "confidence", on one scale from 0 to 1, or "loss", each row on a scale of its own, from 0 to the 99th
        percentile of its first moment.
    bar : float, optional
        nm per pixel, for a scale bar.
    """
    rows = []
    for k, (objective, own) in enumerate(moments.items()):
        first = {"image": image, "title": objective, "outline": mask, "vmin": 0, "vmax": 1}
        row = [first | ({"bar": bar} if k == 0 else {})]
        scale = {"cmap": "cividis", "vmin": 0, "vmax": 1}
        if what == "loss":
            known = [m.loss[np.isfinite(m.loss)] for m in own if m.loss is not None]
            top = next((float(np.percentile(values, 99)) for values in known if values.size), 1.0)
            scale = {"cmap": "magma", "vmin": 0, "vmax": top or 1.0}
        for position, moment in enumerate(own):
            values = moment.confidence if what == "confidence" else moment.loss
            shown = np.full(mask.shape, np.nan) if values is None else values
            title = f"step {moment.step}" if values is not None else f"step {moment.step}: none"
            label = "of the truth" if what == "confidence" else "loss"
            last = {"colorbar": label} if position == len(own) - 1 else {}
            row.append({"image": shown, "title": title, "outline": mask} | scale | last)
        rows.append(row)
    figure = tiles(rows, height=height)
    figure.legend(
        handles=[plt.Line2D([], [], color=OUTLINE, lw=1.2, label="outline: the truth")],
        loc="outside lower center", frameon=False, fontsize=8,
    )  # fmt: skip
    return figure


def _drawn(values, measure: str):
    """Accuracy as what it lacks of 1; what has no logarithm is left out."""
    values = np.asarray(values, float)
    values = 1 - values if measure == "accuracy" else values
    if measure not in _LOG:
        return values
    with np.errstate(invalid="ignore"):
        return np.where(values > 0, values, np.nan)


def _decades(axis) -> None:
    """Labels that can be read where the axis spans less than a decade, too."""
    low, high = axis.get_ylim()
    if high < 30 * low:
        marks = [m * 10.0**e for e in range(-7, 1) for m in (1, 2, 5) if low <= m * 10.0**e <= high]
        axis.set_yticks(marks, [f"{mark:g}" for mark in marks])
        axis.minorticks_off()


def _looks(table, groups: Mapping[str, Sequence[str]], reference: str) -> dict[str, tuple]:
    """Within a family, colours from dark to light in the order of the study; dashes tell its losses apart."""
    loss = dict(zip(table["objective"], table["loss"], strict=True))
    looks = {reference: (_REFERENCE, "-")}
    for members in groups.values():
        kinds = list(dict.fromkeys(loss.get(objective, objective) for objective in members))
        for k, objective in enumerate(members):
            tint = plt.colormaps["plasma"](0.1 + 0.75 * k / max(1, len(members) - 1))
            looks[objective] = (tint, _DASHES[kinds.index(loss.get(objective, objective)) % len(_DASHES)])
    return looks
