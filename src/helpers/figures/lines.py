"""A number against another, single runs thin and their mean thick; and ours beside what others published."""

from collections.abc import Mapping

import matplotlib.lines
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from helpers.figures.style import DASHES, LINES, bare, legend_of, style

PUBLISHED, BOUND = "0.55", "0.3"
ASIDE = 1.12  # factor between two lines, on a logarithmic axis


def against(
    table, xlabel: str, ylabel: str, *, columns: int | None = None, ticks: Mapping[float, str] | None = None
) -> Figure:
    """A panel for each group of runs, in it a line for each reading.

    Parameters
    ----------
    table : DataFrame
        Columns panel, line, split, seed, x and value: one value for each run, line and x.
    columns : int, optional
        Panels side by side; three, but of four panels two.
    ticks : mapping, optional
        Values of x -> their names, of an axis that is logarithmic; runs are dots then and no thin lines, and lines
        stand a little aside of each other.
    """
    panels, lines = (list(dict.fromkeys(table[name])) for name in ("panel", "line"))
    columns = min(columns or (2 if len(panels) == 4 else 3), len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.5 * columns + 0.3, 2.9 * rows + 0.3), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axis, panel in zip(axes.flat, panels, strict=False):
        for k, line in enumerate(lines):
            own = table[(table["panel"] == panel) & (table["line"] == line)]
            look = {"color": LINES[k % len(LINES)], "ls": DASHES[k % len(DASHES)]}
            aside = ASIDE ** (k - (len(lines) - 1) / 2) if ticks else 1
            for _, run in own.groupby(["split", "seed"]):
                run = run.sort_values("x")
                if ticks:
                    axis.plot(run["x"] * aside, run["value"], "o", ms=3.5, alpha=0.5, mew=0, color=look["color"])
                else:
                    axis.plot(run["x"], run["value"], lw=0.6, alpha=0.3, zorder=1, **look)
            mean = own.groupby("x")["value"].mean()
            axis.plot(mean.index * aside, mean, lw=2, marker="o", ms=3.5, zorder=2, **look)
        axis.set_title(panel, fontsize=10)
        if ticks:
            axis.set_xscale("log")
            axis.set_xticks(list(ticks), list(ticks.values()))
            axis.minorticks_off()
        bare(axis)
    for axis in list(axes.flat)[len(panels) :]:
        axis.remove()
    for axis in axes[:, 0]:
        axis.set_ylabel(ylabel)
    for position, axis in enumerate(axes.flat):
        if position < len(panels) <= position + columns:  # the lowest of its column
            axis.set_xlabel(xlabel)
            axis.tick_params(labelbottom=True)
    handles = [
        matplotlib.lines.Line2D([], [], color=LINES[k % len(LINES)], ls=DASHES[k % len(DASHES)], lw=2, label=line)
        for k, line in enumerate(lines)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(lines), 4), frameon=False, fontsize=9)
    return figure


def beside(units, published, bounds: Mapping[str, Mapping[str, float]], ylabel: str) -> Figure:
    """Ours beside published means, a panel for each class, a column for each loss.

    Parameters
    ----------
    units : DataFrame
        Columns objective, class and ``value``: one for each run, its mean over images.
    published : DataFrame
        Columns objective, class, mean and sd (NaN where unknown).
    bounds : mapping
        What a line says -> class -> where it is drawn.
    """
    classes = list(dict.fromkeys([*published["class"], *units["class"]]))
    order = list(dict.fromkeys([*published["objective"], *units["objective"]]))
    figure, axes = plt.subplots(
        1, len(classes), figsize=((0.42 * len(order) + 1) * len(classes), 3.9), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axis, name in zip(axes[0], classes, strict=True):
        for x, objective in enumerate(order):
            theirs = published[(published["objective"] == objective) & (published["class"] == name)]
            for row in theirs.itertuples():
                axis.errorbar(
                    x - 0.2, row.mean, yerr=0 if np.isnan(row.sd) else row.sd, fmt="s", color=PUBLISHED, ms=6, capsize=3
                )
            own = units.loc[(units["objective"] == objective) & (units["class"] == name), "value"].dropna()
            tint, marker = style(objective)
            axis.plot(np.full(len(own), x + 0.15), own, marker, color=tint, ms=5, mec="white", mew=0.4, alpha=0.9)
            if len(own):
                axis.hlines(own.mean(), x - 0.05, x + 0.4, color="black", lw=1.8, zorder=4)
        for values, dashes in zip(bounds.values(), DASHES[1:], strict=False):
            if name in values:
                axis.axhline(values[name], color=BOUND, lw=1, ls=dashes, zorder=0)
        axis.set(title=name, xlim=(-0.6, len(order) - 0.4), ylim=(0, 1.02))
        axis.set_xticks(range(len(order)), order, fontsize=9, rotation=40, ha="right", rotation_mode="anchor")
        bare(axis)
    axes[0, 0].set_ylabel(ylabel)
    line = matplotlib.lines.Line2D
    extra = [
        line([], [], color=PUBLISHED, marker="s", ms=6, lw=1.5, label="published: mean and SD"),
        line([], [], color="black", lw=1.8, label="mean of our runs"),
        *(line([], [], color=BOUND, lw=1, ls=d, label=b) for b, d in zip(bounds, DASHES[1:], strict=False)),
    ]
    legend_of(figure, [o for o in order if o in set(units["objective"])], extra, columns=4)
    return figure
