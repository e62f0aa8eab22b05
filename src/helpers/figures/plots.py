"""Line and dot plots of one run or of the data."""

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from helpers.figures.style import CLASS_COLOURS, PALETTE, bare, colour


def training_curve(history: Sequence[Mapping[str, float]], objective: str, metric: str = "IoU") -> Figure:
    """Loss (its own scale) and a validation metric against the step."""
    steps = [entry["step"] for entry in history]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
    left.plot(steps, [entry["loss"] for entry in history], "o-", ms=4, color=colour(objective))
    left.set(xlabel="step", ylabel=f"{objective} loss (mean of interval)", ylim=(0, None))
    right.plot(steps, [entry[metric] for entry in history], "o-", ms=4, color=colour(objective))
    right.set(xlabel="step", ylabel=f"validation {metric}, natural cut", ylim=(0, 1))
    for axis in (left, right):
        bare(axis)
    return figure


def shares(table) -> Figure:
    """Foreground share of each image (rows) and class (columns), on a logarithmic axis where it spans a decade."""
    spread = table[table > 0].max().max() / table[table > 0].min().min()
    figure, axis = plt.subplots(figsize=(6.5, 0.5 + 0.45 * table.shape[1]), layout="constrained")
    for position, (name, tint) in enumerate(zip(table.columns, itertools.cycle(CLASS_COLOURS), strict=False)):
        values = table[name][table[name] > 0]
        axis.plot(values, np.full(len(values), position), "o", ms=5, alpha=0.6, mec="none", color=tint)
    axis.set(
        xscale="log" if spread > 10 else "linear",
        xlabel="share of the image's pixels",
        ylim=(table.shape[1] - 0.5, -0.5),
    )
    axis.set_yticks(range(table.shape[1]), table.columns)
    bare(axis)
    return figure


def profiles(panels: Mapping[str, tuple], xlabels: Sequence[str], ylabel: str) -> Figure:
    """Line plots side by side.

    Parameters
    ----------
    panels : mapping
        Title -> (x, label -> y, bool array shaded in grey or None).
    xlabels : sequence of str
        One per panel.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(3.2 * len(panels), 3.6), layout="constrained")
    for axis, (title, (x, lines, shade)), xlabel in zip(axes, panels.items(), xlabels, strict=True):
        for (label, y), tint, line in zip(lines.items(), PALETTE.values(), ("o-", "s--", "^:"), strict=False):
            axis.plot(x, y, line, ms=4, lw=1.2, color=tint, label=label)
        if shade is not None:
            axis.fill_between(x, 0, 1, where=shade, step="mid", color="0.88", transform=axis.get_xaxis_transform())
        axis.axhline(0, color="0.6", lw=0.8, zorder=0)
        axis.set(title=title, xlabel=xlabel)
        axis.legend(frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.22))
        bare(axis)
    axes[0].set_ylabel(ylabel)
    return figure
