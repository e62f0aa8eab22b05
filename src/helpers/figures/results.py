"""A study's tables as figures: levels, differences with intervals, cuts side by side, reliability, depth."""

from collections.abc import Mapping

import matplotlib.lines
import matplotlib.patches
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from helpers.figures.style import TRIVIAL, bare, legend_of, style
from helpers.statistics import SECOND

CUTS = {"published": "as published", "natural": "natural", "tuned": "tuned"}
BAND = "0.9"


def comparison(
    per_seed: Mapping[str, "object"],
    metric_label: str,
    trivial: Mapping[str, float] | None = None,
    *,
    zoom: bool = False,
) -> Figure:
    """Every seed's value for each objective, lines joining the same seed, a bar at the mean; a panel for each cut.

    Parameters
    ----------
    per_seed : mapping
        Panel title -> DataFrame with the columns objective, seed, ``value`` and, where there are several, split.
    trivial : mapping, optional
        Panel title -> trivial predictor -> its value, drawn as a grey line.
    zoom : bool
        Show the range of the values alone, where all that matters lies close together.
    """
    order = list(dict.fromkeys(o for table in per_seed.values() for o in table["objective"]))
    most = 1 if len(order) > 8 else 3 if len(order) < 6 and len(per_seed) % 3 == 0 else 2
    columns = min(len(per_seed), most)
    rows = -(-len(per_seed) // columns)
    width = max(4.2, 0.42 * len(order) + 1)
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns, 3.6 * rows), sharey=True, squeeze=False, layout="constrained"
    )
    used = {}
    for axis, (title, table) in zip(axes.flat, per_seed.items(), strict=False):
        for _, run in table.groupby([c for c in ("split", "seed") if c in table]):
            axis.plot([order.index(o) for o in run["objective"]], run["value"], color="0.8", lw=0.8, zorder=1)
        for x, objective in enumerate(order):
            own = table.loc[table["objective"] == objective, "value"].dropna()
            _dots(axis, np.full(len(own), x), own, objective, size=6)
            if len(own):
                axis.hlines(own.mean(), x - 0.3, x + 0.3, color="black", lw=1.8, zorder=4)
            else:
                _no_value(axis, x)
        used |= _trivial_lines(axis, (trivial or {}).get(title, {}))
        axis.set(title=title, xlim=(-0.6, len(order) - 0.4))
        _name_ticks(axis, order)
        bare(axis)
    if not zoom:
        _level_limits(axes[0, 0], per_seed.values())
    for axis in axes[:, 0]:
        axis.set_ylabel(metric_label)
    for axis in list(axes.flat)[len(per_seed) :]:
        axis.remove()
    if used:
        figure.legend(handles=list(used.values()), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def differences(units, comparison, metric_label: str, *, higher_is_better: bool = True) -> Figure:
    """Paired differences to the reference: every unit a dot, the mean with its interval above them, the verdict beside.

    Parameters
    ----------
    units : DataFrame
        As :func:`helpers.statistics.paired_differences` makes it.
    comparison : DataFrame
        As :func:`helpers.statistics.compare` makes it, of the same metric.

    Notes
    -----
    Grey is the margin within which a difference does not matter. Where a difference is near thirty margins or more,
    the axis is logarithmic beyond two and a half of them, so that a collapse does not hide everything else; it says so.
    """
    order, classes = list(dict.fromkeys(comparison["objective"])), list(dict.fromkeys(comparison["class"]))
    margin, reference = comparison["margin"].iloc[0], comparison["reference"].iloc[0]
    values = np.abs(np.r_[units["difference"], comparison["low"], comparison["high"]].astype(float))
    reach = 1.15 * max(1.3 * margin, np.nanmax(values, initial=0))
    linear = 2.5 * margin
    folded = reach > 30 * margin > 0
    reach *= 1.5 if folded else 1
    columns = min(len(classes), 2)
    tall = 0.5 if len(order) < 9 else 0.4
    rows = -(-len(classes) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(6.2 * columns, (tall * len(order) + 1.2) * rows), squeeze=False, layout="constrained"
    )
    figure.get_layout_engine().set(wspace=0.08)  # verdicts stand right of a panel, names left of the next
    for axis, name in zip(axes.flat, classes, strict=False):
        axis.axvspan(-margin, margin, color=BAND, lw=0, zorder=0)
        axis.axvline(0, color="0.4", lw=0.8, zorder=1)
        for y, objective in enumerate(order):
            own = units.loc[(units["objective"] == objective) & (units["class"] == name), "difference"].dropna()
            row = comparison[(comparison["objective"] == objective) & (comparison["class"] == name)]
            _dots(axis, own, y + 0.24 + np.zeros(len(own)), objective, size=4.5)
            if row.empty:
                _beside(axis, y, "no runs", "0.45")
                continue
            row = row.iloc[0]
            tint, marker = style(objective)
            if np.isfinite(row["low"]):
                axis.hlines(y - 0.1, row["low"], row["high"], color=tint, lw=2.2, zorder=3)
                axis.plot(row["difference"], y - 0.1, marker, color=tint, mec="black", ms=8, zorder=4)
            elif np.isfinite(row["difference"]):
                axis.vlines(row["difference"], y - 0.3, y + 0.02, color="black", lw=1.8, zorder=4)
            _beside(axis, y, _verdict_text(row), "0.45" if row["verdict"] == "undecided" else "black")
        if folded:
            axis.set_xscale("symlog", linthresh=linear, linscale=1)
            ticks = [linear]
            for tick in np.outer(10.0 ** np.arange(-4, 4), (1, 2, 5)).ravel():
                ticks += [tick] if 3.5 * ticks[-1] < tick <= reach else []  # far enough apart for their labels
            ticks = [-t for t in reversed(ticks)] + [0] + ticks
            axis.set_xticks(ticks, [f"{t:+g}" if t else "0" for t in ticks], fontsize=8)
            axis.minorticks_off()
        better = "better →" if higher_is_better else "← better"
        beyond = f", logarithmic beyond ±{linear:g}" if folded else ""
        axis.set(title=name, xlim=(-reach, reach), ylim=(len(order) - 0.45, -0.55))
        less = "the first less the second" if reference == SECOND else f"to {reference}"
        axis.set_xlabel(f"difference in {metric_label}, {less} ({better}{beyond})", fontsize=9)
        axis.set_yticks(range(len(order)), order)
        bare(axis)
    for axis in list(axes.flat)[len(classes) :]:
        axis.remove()
    handles = [matplotlib.patches.Patch(color=BAND, label=f"margin ±{margin:g}")]
    handles += [_handle("one seed" if units["split"].nunique() < 2 else "one seed of one split", "o", 4.5)]
    if np.isfinite(comparison["low"]).any():
        level = f"mean and {100 * comparison['level'].iloc[0]:g} % interval"
        handles += [matplotlib.lines.Line2D([], [], color="0.3", marker="o", mec="black", lw=2.2, ms=7, label=level)]
    if (np.isnan(comparison["low"]) & np.isfinite(comparison["difference"])).any():
        handles += [_handle("mean, too few seeds for an interval", "|", 10, color="black")]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    return figure


def cuts(values, metric_label: str, trivial: Mapping[str, float] | None = None) -> Figure:
    """The same outputs read at three cuts, a panel for each objective: what the read-out does, apart from the network.

    Parameters
    ----------
    values : DataFrame
        One class: columns objective, split, seed and one for each cut (``published``, ``natural``, ``tuned``; those
        that exist), means over images. NaN where an objective has no such cut.
    trivial : mapping, optional
        Trivial predictor -> its value, drawn as a grey line.
    """
    there = [cut for cut in CUTS if cut in values]
    order = list(dict.fromkeys(values["objective"]))
    rows = -(-len(order) // 5)
    columns = -(-len(order) // rows)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.3 * columns + 0.4, 2.7 * rows + 0.4), sharey=True, squeeze=False, layout="constrained"
    )
    used = {}
    for axis, objective in zip(axes.flat, order, strict=False):
        own = values.loc[values["objective"] == objective, there]
        for _, run in own.iterrows():
            run = run.dropna()
            axis.plot([there.index(c) for c in run.index], run, color="0.75", lw=0.8, zorder=1)
        for x, cut in enumerate(there):
            known = own[cut].dropna()
            _dots(axis, np.full(len(known), x), known, objective, size=5.5)
            if len(known):
                axis.hlines(known.mean(), x - 0.3, x + 0.3, color="black", lw=1.8, zorder=4)
            else:
                _no_value(axis, x)
        used |= _trivial_lines(axis, trivial or {})
        axis.set_title(objective, fontsize=10)
        axis.set_xlim(-0.6, len(there) - 0.4)
        axis.set_xticks(range(len(there)), [CUTS[c].replace(" ", "\n") for c in there], fontsize=9)
        bare(axis)
    _level_limits(axes[0, 0], [values[[c]].rename(columns={c: "value"}) for c in there])
    for axis in axes[:, 0]:
        axis.set_ylabel(metric_label)
    for axis in list(axes.flat)[len(order) :]:
        axis.remove()
    handles = [_handle("one seed", "o", 5), _handle("mean over seeds", "_", 12, color="black"), *used.values()]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 3), frameon=False, fontsize=9)
    return figure


def curves(table, ylabel: str) -> Figure:
    """A validation metric through training, a panel for each objective: thin lines are runs, the thick one their mean.

    Parameters
    ----------
    table : DataFrame
        Columns objective, run, step and ``value``: one row for each run and moment. The mean is drawn where all runs of
        the objective has a value. In every panel but the first, the first objective's mean is a grey line.
    """
    order = list(dict.fromkeys(table["objective"]))
    means = {}
    for objective, own in table.groupby("objective"):
        at = own.pivot(index="step", columns="run", values="value")
        means[objective] = at.mean(axis=1)[at.notna().all(axis=1)]
    columns = min(len(order), 3 if len(order) in (3, 5, 6, 9) else 4)
    rows = -(-len(order) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.6 * columns + 0.4, 2.2 * rows + 0.6), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for position, (axis, objective) in enumerate(zip(axes.flat, order, strict=False)):
        own, tint = table[table["objective"] == objective], style(objective)[0]
        for _, run in own.groupby("run"):
            axis.plot(run["step"], run["value"], color=tint, lw=0.7, alpha=0.45, zorder=2)
        if position:
            axis.plot(means[order[0]].index, means[order[0]], color="0.6", lw=1.4, ls="--", zorder=1)
        axis.plot(means[objective].index, means[objective], color=tint, lw=2, zorder=3)
        axis.set_title(objective, fontsize=10)
        axis.set(ylim=(min(0, table["value"].min()), 1 if table["value"].min() >= 0 else None))
        bare(axis)
        if position >= len(order) - columns:  # the lowest of its column
            axis.set_xlabel("step")
            axis.tick_params(labelbottom=True)
    for axis in list(axes.flat)[len(order) :]:
        axis.remove()
    for axis in axes[:, 0]:
        axis.set_ylabel(ylabel)
    handles = [
        matplotlib.lines.Line2D([], [], color="0.3", lw=0.7, label="one run"),
        matplotlib.lines.Line2D([], [], color="0.3", lw=2, label="mean over runs"),
    ]
    if len(order) > 1:
        handles.append(matplotlib.lines.Line2D([], [], color="0.6", lw=1.4, ls="--", label=f"mean of {order[0]}"))
    legend_of(figure, [], handles)
    return figure


def reliability(pooled, per_seed=None) -> Figure:
    """Reliability of one class before and after the logistic fit, a panel for each objective.

    Parameters
    ----------
    pooled : DataFrame
        As :func:`helpers.statistics.pooled_reliability` makes it: objective, kind (``raw`` or ``fitted``), bin, count,
        probability, positive.
    per_seed : DataFrame, optional
        The same with a column seed (and split, where there are several): a thin line for each.
    """
    order = list(dict.fromkeys(pooled["objective"]))
    rows = -(-len(order) // 5)
    columns = -(-len(order) // rows)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.6 * columns + 0.3, 2.75 * rows + 0.5), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axis, objective in zip(axes.flat, order, strict=False):
        axis.plot([0, 1], [0, 1], color="0.7", lw=1, ls="--", zorder=0)
        tint, marker = style(objective)
        for kind, line, shade in (("raw", ":", "0.45"), ("fitted", "-", tint)):
            if per_seed is not None:
                own = per_seed[(per_seed["objective"] == objective) & (per_seed["kind"] == kind)]
                for _, run in own.groupby([c for c in ("split", "seed") if c in own]):
                    run = run.sort_values("bin")
                    axis.plot(run["probability"], run["positive"], color=shade, lw=0.6, alpha=0.3, zorder=1)
            own = pooled[(pooled["objective"] == objective) & (pooled["kind"] == kind)].sort_values("bin")
            face = "white" if kind == "raw" else shade
            axis.plot(own["probability"], own["positive"], ls=line, color=shade, lw=1.5, zorder=2)
            axis.plot(own["probability"], own["positive"], marker, color=shade, mfc=face, ms=4.5, zorder=3)
        axis.set_title(objective, fontsize=10)
        axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        bare(axis)
    for axis in list(axes.flat)[len(order) :]:
        axis.remove()
    for axis in axes[:, 0]:
        axis.set_ylabel("share that is foreground")
    for position, axis in enumerate(axes.flat):
        if position < len(order) <= position + columns:  # the lowest of its column
            axis.set_xlabel("mean probability of the bin")
            axis.tick_params(labelbottom=True)
    line = matplotlib.lines.Line2D
    handles = [
        line([], [], color="0.45", ls=":", marker="o", mfc="white", lw=1.5, ms=5, label="raw score"),
        line([], [], color="black", marker="o", lw=1.5, ms=5, label="after the logistic fit (objective's colour)"),
        line([], [], color="0.7", ls="--", lw=1, label="calibrated"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def depth_curve(points, fits, x: str, metric: str, metric_label: str) -> Figure:
    """A metric against a number that runs differ in, every run a dot, with the quadratic fit of each objective.

    Parameters
    ----------
    points, fits : DataFrames
        As :func:`helpers.statistics.depth_curve` makes them.
    x, metric : str
        Columns of ``points``.
    """
    order, classes = list(dict.fromkeys(points["objective"])), list(dict.fromkeys(points["class"]))
    figure, axes = plt.subplots(
        1, len(classes), figsize=(5.6 * len(classes), 3.9), sharey=True, squeeze=False, layout="constrained"
    )
    levels = np.sort(points[x].unique())
    step = np.diff(levels).min() if len(levels) > 1 else 1
    for axis, name in zip(axes[0], classes, strict=True):
        for k, objective in enumerate(order):
            tint, marker = style(objective)
            own = points[(points["objective"] == objective) & (points["class"] == name)]
            aside = 0.3 * step * ((k + 0.5) / len(order) - 0.5)  # side by side, not on top of each other
            axis.plot(own[x] + aside, own[metric], marker, color=tint, ms=5, mec="white", mew=0.5, alpha=0.85)
            fit = fits[(fits["objective"] == objective) & (fits["class"] == name)]
            if len(fit) and np.isfinite(fit["square"].iloc[0]):
                at = np.linspace(own[x].min(), own[x].max(), 100)
                constant, slope, square = fit.iloc[0][["constant", "slope", "square"]].astype(float)
                axis.plot(at + aside, constant + slope * at + square * at**2, color=tint, lw=1.6, zorder=1)
        axis.set(title=name, xlabel=x)
        axis.set_xticks(levels)
        bare(axis)
    axes[0, 0].set_ylabel(metric_label)
    fitted = matplotlib.lines.Line2D([], [], color="0.4", lw=1.6, label="line: quadratic fit")
    legend_of(figure, order, [fitted], columns=min(len(order) + 1, 5))
    return figure


def _no_value(axis, x: float) -> None:
    """A word where a column has no dot, above the lines of predictors that score next to nothing."""
    axis.text(x, 0.1, "none", ha="center", fontsize=8, color="0.4", transform=axis.get_xaxis_transform())


def _dots(axis, x, y, objective: str, *, size: float) -> None:
    tint, marker = style(objective)
    size *= {"^": 1.3, "v": 1.3, "P": 1.4, "X": 1.4, "D": 0.85, "*": 1.8}.get(marker, 1)  # alike in area
    axis.plot(x, y, marker, color=tint, ms=size, mec="white", mew=0.4, alpha=0.9, zorder=3)


def _handle(label: str, marker: str, size: float, color: str = "0.5"):
    return matplotlib.lines.Line2D([], [], ls="", marker=marker, ms=size, mew=2, color=color, label=label)


def _beside(axis, y: float, text: str, color: str) -> None:
    axis.text(1.02, y, text, transform=axis.get_yaxis_transform(), va="center", fontsize=9, color=color)


def _verdict_text(row) -> str:
    if np.isnan(row["low"]):
        text = f"{row['reason'].partition(';')[0]}: no interval"
    else:
        text = row["verdict"]
    return text + (f"\n{row['collapsed']:.0f} collapsed" if row["collapsed"] > 0 else "")


def _trivial_lines(axis, values: Mapping[str, float]) -> dict:
    """A grey line for each trivial predictor that has a value; handles by name, for one legend."""
    handles = {}
    for name, value in values.items():
        if np.isfinite(value):
            handles[name] = axis.axhline(value, color="0.5", ls=TRIVIAL[name], lw=1.2, zorder=0)
            handles[name].set_label(name.replace("_", " "))
    return handles


def _name_ticks(axis, order) -> None:
    rotated = len(order) > 4 or max(map(len, order)) * len(order) > 40
    turn = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if rotated else {}
    axis.set_xticks(range(len(order)), order, fontsize=9, **turn)


def _level_limits(axis, tables) -> None:
    """0 to 1 for what lies there, which is most metrics; else from 0 to what there is."""
    greatest = np.nanmax(np.concatenate([t["value"].to_numpy(float) for t in tables] or [[0.0]]), initial=0)
    axis.set_ylim(0, 1 if greatest <= 1 else 1.08 * greatest)
